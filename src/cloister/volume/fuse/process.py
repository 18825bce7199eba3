"""A volume's server as the launcher sees it: a process of its own that it starts, feeds and ends.

Order matters. `start` forks before any secret exists; `open` hands over configuration and key;
`serve` hands over a mounted device; `finish` returns only when everything written is committed
and anchored. A server that dies leaves a mount on which every call fails with ENOTCONN.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final, NoReturn, Self

from cloister.errors import (
    CloisterError,
    LocalProtocolError,
    MalformedError,
    UnavailableError,
    WorkloadError,
    error_from_wire,
)
from cloister.volume.filesystem import Filesystem
from cloister.volume.fuse.channel import Channel, Message
from cloister.volume.fuse.session import SessionOptions
from cloister.volume.fuse.worker import harden, work

__all__ = ["VolumeServerProcess"]

_KILLED_WAIT_S: Final = 5.0


class VolumeServerProcess:
    """One forked volume server. Make it with `start`; end it with `finish` or `kill`."""

    def __init__(self, pid: int, channel: Channel) -> None:
        """Take over a child that `start` forked."""
        self._pid = pid
        self._channel = channel
        self._status: int | None = None
        self._ended: Message | CloisterError | None = None
        self.troubles: list[CloisterError] = []

    @classmethod
    def start(
        cls,
        *,
        open_filesystem: Callable[[bytes], Filesystem],
        describe: Callable[[Filesystem], bytes],
    ) -> Self:
        """Fork the server. Call this before secrets are in memory and before threads exist.

        Args:
            open_filesystem: Called in the child with the configuration given to `open`.
            describe: Called in the child after opening and after the last commit; what it
                returns is what `open` and `finish` return here.
        """
        ours, theirs = Channel.pair()
        parent = os.getpid()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _child(theirs, parent, open_filesystem, describe)
        theirs.close()
        return cls(pid, ours)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._pid

    def fileno(self) -> int:
        """Return a descriptor that is readable when `check` has something to say."""
        return self._channel.fileno()

    def open(self, config: bytes, *, timeout_s: float) -> bytes:
        """Let the server open its file system; return what `describe` says of it.

        Args:
            config: Store, key, mode and anchor, in a form that `open_filesystem` knows. Secret.
            timeout_s: How long to wait.

        Raises:
            CloisterError: Whatever opening raised there, by its code.
            UnavailableError: Code `volume.busy`: not in time.
            WorkloadError: Code `workload.volume-server`: the server died.
        """
        self._channel.send("open", config=config)
        return self._await("open", timeout_s=timeout_s).fields.octets("state")

    def serve(self, descriptor: int, *, options: SessionOptions, timeout_s: float) -> None:
        """Let the server serve a mounted device; return when the mount answers.

        Args:
            descriptor: `Mounted.descriptor`. Close it here afterwards: the server has its own.
            options: How to serve.
            timeout_s: How long to wait for the kernel's first request.
        """
        owner = (
            {} if options.owner is None else dict(zip(("uid", "gid"), options.owner, strict=True))
        )
        self._channel.send("serve", descriptor=descriptor, writeback=options.writeback, **owner)
        self._await("ready", timeout_s=timeout_s)

    def check(self) -> bool:
        """Take in what the server reported, without waiting; tell whether it still serves.

        `troubles` then lists failures of the store so far, each kind once.

        Raises:
            WorkloadError: Code `workload.volume-server`: it died without a report.
        """
        while self._ended is None and self._channel.waiting(0):
            self._take()
        if isinstance(self._ended, CloisterError):
            raise self._ended
        return self._ended is None

    def finish(self, *, grace_s: float, timeout_s: float) -> bytes:
        """End the server in order and return what `describe` says of the last committed state.

        Args:
            grace_s: How long the mount may take to go by itself (it goes with its last user, and
                the kernel first writes back what it holds) before the server is told to stop.
            timeout_s: How long the last commit may take after that.

        Raises:
            CloisterError: The failure that stopped the server from serving or committing.
            UnavailableError: Code `volume.busy`: not in time; the server was killed.
            WorkloadError: Code `workload.volume-server`: the server died.
        """
        try:
            if not self._await_end(grace_s):
                self._channel.send("stop")
                if not self._await_end(timeout_s):
                    raise UnavailableError(
                        f"the volume could not be committed within {timeout_s:g} s",
                        code="volume.busy",
                    )
            return self._result()
        finally:
            self.kill()

    def kill(self) -> None:
        """End the server at once, if it still runs; the volume keeps its last committed state."""
        self._channel.close()
        if self._status is None:
            deadline = time.monotonic() + (_KILLED_WAIT_S if self._ended is not None else 0.0)
            while not self._reaped() and time.monotonic() < deadline:
                time.sleep(0.005)
            if self._status is None:
                os.kill(self._pid, signal.SIGKILL)
                self._status = os.waitpid(self._pid, 0)[1]

    def _reaped(self) -> bool:
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._status = status
        return pid != 0

    def _await(self, kind: str, *, timeout_s: float) -> Message:
        deadline = time.monotonic() + timeout_s
        while True:
            message = self._receive(max(0.0, deadline - time.monotonic()))
            if message.kind == kind:
                return message
            self._note(message)
            if self._ended is not None:
                self._result()
                raise LocalProtocolError("the server ended early", code="protocol.local")

    def _await_end(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self._ended is None and self._channel.waiting(deadline - time.monotonic()):
            self._take()
        return self._ended is not None

    def _take(self) -> None:
        try:
            self._note(self._receive(0))
        except (WorkloadError, MalformedError) as e:
            self._ended = e

    def _note(self, message: Message) -> None:
        if message.kind == "trouble":
            self.troubles.append(_error(message))
        elif message.kind == "failed":
            self._ended = _error(message)
        elif message.kind == "finished":
            self._ended = message

    def _result(self) -> bytes:
        if isinstance(self._ended, Message):
            return self._ended.fields.octets("state")
        if self._ended is None:
            raise LocalProtocolError("the server has not ended", code="protocol.local")
        raise self._ended

    def _receive(self, timeout_s: float) -> Message:
        return self._channel.receive(timeout_s=timeout_s)


def _error(message: Message) -> CloisterError:
    fields = message.fields
    return error_from_wire(fields.text("code"), fields.text("message", max_length=4096))


def _child(
    channel: Channel,
    parent: int,
    open_filesystem: Callable[[bytes], Filesystem],
    describe: Callable[[Filesystem], bytes],
) -> NoReturn:
    """Be the server; never return into the launcher's code, whatever happens."""
    status = 1
    try:
        harden(channel, parent=parent)
        try:
            work(channel, open_filesystem=open_filesystem, describe=describe)
            status = 0
        except WorkloadError:
            # The launcher ended the conversation, or ended: nobody is left to be told.
            status = 1
    except BaseException:  # noqa: BLE001 the outermost frame of this process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
