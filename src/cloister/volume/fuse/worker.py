"""The volume server's own process: hardened, waits for configuration, serves, commits, reports.

Trusted with the volume's key from the moment it is configured. It was forked before any secret
existed, keeps no descriptor but the channel and standard error, cannot be traced or dumped, and
ends with its parent. Losing the parent starts a grace period in which what was written is
committed; then the kernel ends the process.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from typing import Final

from cloister.errors import CloisterError, LocalProtocolError, UnavailableError, WorkloadError
from cloister.volume.filesystem import Filesystem
from cloister.volume.fuse.channel import Channel, Message, close_descriptor
from cloister.volume.fuse.server import Server
from cloister.volume.fuse.session import Session, SessionOptions

__all__ = ["harden", "work"]

GRACE_S: Final = 30
_FOREVER_S: Final = 1e9
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_STANDARD_ERROR: Final = 2


def harden(channel: Channel, *, parent: int) -> None:
    """Cut this forked process off from everything but the channel and standard error.

    Args:
        channel: Stays open. Its input ends when SIGTERM comes, which is also the kernel's notice
            that the parent died.
        parent: The process id that must still be the parent.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        signal.alarm(GRACE_S)
        channel.end_input()

    signal.signal(signal.SIGTERM, stop)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _close_others(channel.fileno())
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in (
        (_PR_SET_PDEATHSIG, int(signal.SIGTERM)),
        (_PR_SET_DUMPABLE, 0),
        (_PR_SET_NO_NEW_PRIVS, 1),
    ):
        arguments = [ctypes.c_ulong(x) for x in (value, 0, 0, 0)]
        if libc.prctl(option, *arguments):
            raise WorkloadError(
                f"prctl {option} failed: {os.strerror(ctypes.get_errno())}",
                code="workload.volume-server",
            )
    if os.getppid() != parent:
        raise WorkloadError("the parent is gone", code="workload.volume-server")


def work(
    channel: Channel,
    *,
    open_filesystem: Callable[[bytes], Filesystem],
    describe: Callable[[Filesystem], bytes],
) -> None:
    """Open what the parent configures, serve the mount it hands over, then commit and report.

    Reports to the parent: `open`, `ready`, any number of `trouble`, then `finished` or `failed`.

    Raises:
        WorkloadError: The parent is gone.
    """
    try:
        request = _expect(channel, "open")
        with closing(open_filesystem(request.fields.octets("config"))) as filesystem:
            channel.send("open", state=describe(filesystem))
            broken = _serve(channel, filesystem)
        if broken is not None:
            raise broken
        channel.send("finished", state=describe(filesystem))
    except WorkloadError:
        raise
    except CloisterError as e:
        channel.send("failed", code=e.code, message=e.public)
    except OSError as e:
        problem = UnavailableError(f"the volume's store failed: {e.strerror}", code="volume.io")
        channel.send("failed", code=problem.code, message=problem.public)


def _serve(channel: Channel, filesystem: Filesystem) -> CloisterError | None:
    """Serve until the mount ends or the parent says stop; return what broke the store."""
    request = _next(channel)
    if request.kind == "stop":
        return None
    if request.kind != "serve" or request.descriptor is None:
        raise LocalProtocolError("expected a device to serve", code="protocol.local")
    session = Session(filesystem, options=_options(request), on_failure=_Reporter(channel))
    try:
        Server(
            request.descriptor,
            session,
            control=channel.fileno(),
            on_control=lambda: _must_stop(channel),
            on_ready=lambda: channel.send("ready"),
        ).run()
    finally:
        os.close(request.descriptor)
    return session.broken


class _Reporter:
    """Tells the parent each kind of trouble once."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._told: set[str] = set()

    def __call__(self, error: CloisterError) -> None:
        if error.code not in self._told:
            self._told.add(error.code)
            self._channel.send("trouble", code=error.code, message=error.public)


def _options(request: Message) -> SessionOptions:
    owner = None
    if request.fields.has("uid"):
        owner = (
            request.fields.integer("uid", maximum=2**32 - 1),
            request.fields.integer("gid", maximum=2**32 - 1),
        )
    return SessionOptions(writeback=request.fields.boolean("writeback"), owner=owner)


def _must_stop(channel: Channel) -> bool:
    """Any message while serving, and the parent's end, means stop."""
    try:
        close_descriptor(channel.receive(timeout_s=0).descriptor)
    except WorkloadError:
        signal.alarm(GRACE_S)
    return True


def _next(channel: Channel) -> Message:
    return channel.receive(timeout_s=_FOREVER_S)


def _expect(channel: Channel, kind: str) -> Message:
    message = _next(channel)
    if message.kind != kind:
        raise LocalProtocolError(f"expected {kind}, got {message.kind}", code="protocol.local")
    return message


def _close_others(keep: int) -> None:
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    limit = os.sysconf("SC_OPEN_MAX")
    os.closerange(_STANDARD_ERROR + 1, keep)
    os.closerange(keep + 1, limit)
