"""Cells: confined processes for code that nobody has read, each forked from a warm parent.

Example::

    spec = CellSpec(memory_bytes=1 << 30, scratch_bytes=1 << 26, processor_s=60, tasks=16)
    with Warm(spec) as warm:
        warm.start()
        with warm.fork({"recipe.py": source}, "recipe:main") as cell:
            os.write(cell.fileno(), b"...")      # its other end is the cell's descriptor 3
            end = cell.wait(timeout_s=60)

What a cell is, and what it cannot do, stands in the spec: confinement-cell. What it may do is
answer on its pipe: whoever reads from that must take it for hostile.

Trust: this process's own memory never reaches the parent or a cell; what a cell is given travels to
it alone. A `Warm` may be used by several threads.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cloister
from cloister.confinement.cell_spec import CellSpec, require_entry, require_file_name
from cloister.confinement.channel import Channel
from cloister.confinement.diagnosis import explain_failure, observe_limits
from cloister.errors import (
    CloisterError,
    ConfigError,
    ConfinementError,
    LocalProtocolError,
    UnsupportedError,
)
from cloister.wire import Fields, Value

__all__ = ["Cell", "CellEnd", "CellSpec", "Warm"]

_WARM_TIMEOUT_S: Final = 180.0
_UP_TIMEOUT_S: Final = 60.0
_CLOSE_TIMEOUT_S: Final = 5.0
_FILES_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class CellEnd:
    """How a cell ended.

    Attributes:
        status: What its code returned with: 0, or what it left with, or 1 where it raised; 128 + n
            after signal n.
        processor_ms: Its processor time.
        peak_bytes: The most memory that it had, with what it shares with its parent.
    """

    status: int
    processor_ms: int
    peak_bytes: int


class Warm:
    """A warm parent, and the way to fork cells from it."""

    def __init__(self, spec: CellSpec) -> None:
        """Keep what cells are like; nothing happens before `start`."""
        self._spec = spec
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._missing: frozenset[str] = frozenset()

    @property
    def missing(self) -> frozenset[str]:
        """The layers that this machine lacks, all of them accepted by the spec."""
        return self._missing

    def start(self) -> None:
        """Start the parent, and return when it has imported what the spec names.

        Raises:
            UnsupportedError: `machine.layer`, which names what is missing; `machine.namespaces`.
            ConfigError: A module cannot be imported, or cannot be forked.
            ConfinementError: Another step failed.
        """
        if self._channel is not None:
            raise LocalProtocolError("cells have their parent already", code="protocol.local")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # this interpreter, and a module of ours
                [sys.executable, "-P", "-s", "-B", "-m", _PARENT, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": str(Path(cloister.__file__).resolve().parent.parent)},
                cwd="/",
                start_new_session=True,
            )
        self._channel = Channel(ours)
        self._channel.send(self._spec.to_fields())
        reply, _ = self._channel.receive(timeout_s=_WARM_TIMEOUT_S)
        _require(reply, "warm")
        self._missing = frozenset(reply.texts("missing"))

    def fork(self, files: Mapping[str, bytes], entry: str) -> Cell:
        """Make a cell, and return when every layer is up and its code is about to be imported.

        Args:
            files: What lies in its folder `/cell`, the last place that modules are imported from.
            entry: `module:function`; called with the number of the cell's end of the pipe, 3.

        Raises:
            ConfigError: A file or the entry has no usable name, or files are too large.
            ConfinementError: A step failed, or the parent is gone.
        """
        require_entry(entry)
        for name in files:
            require_file_name(name)
        if sum(map(len, files.values())) > _FILES_BYTES:
            problem = f"the files of a cell are larger than {_FILES_BYTES} bytes together"
            raise ConfigError(problem, code="config.value")
        order: dict[str, Value] = {
            "files": [{"name": name, "data": data} for name, data in files.items()],
            "entry": entry,
        }
        pipe, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        setup, their_setup = Channel.pair()
        end, their_end = Channel.pair()
        given = (theirs, their_setup, their_end)
        with contextlib.ExitStack() as stack:
            stack.callback(pipe.close)
            stack.callback(end.close)
            with contextlib.ExitStack() as handed:
                handed.callback(setup.close)
                for item in given:
                    handed.callback(item.close)
                handle = self._ask_for_fork([item.fileno() for item in given])
                stack.callback(os.close, handle)
                for item in given:
                    item.close()
                cell = Cell(pipe, handle, end)
                try:
                    setup.send(order)
                    reply, _ = setup.receive(timeout_s=_UP_TIMEOUT_S)
                    _require(reply, "up")
                except CloisterError:
                    cell.kill()
                    raise
            stack.pop_all()
        return cell

    def close(self) -> None:
        """End the parent, and with it every cell; may be called twice."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(_CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Warm:
        """Use `with` so that `close` is never forgotten."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _ask_for_fork(self, descriptors: list[int]) -> int:
        with self._lock:
            if self._channel is None:
                raise LocalProtocolError("cells have no parent yet", code="protocol.local")
            self._channel.send({"do": "fork"}, descriptors)
            reply, received = self._channel.receive(timeout_s=_UP_TIMEOUT_S)
        _require(reply, "fork")
        (handle,) = received
        return handle


class Cell:
    """One cell: our end of its pipe, and the power to end it."""

    def __init__(self, pipe: socket.socket, handle: int, end: Channel) -> None:
        """Take over what `Warm.fork` made."""
        self._pipe = pipe
        self._handle = handle
        self._end_channel = end
        self._end: CellEnd | None = None
        self._closed = False

    def fileno(self) -> int:
        """Return our end of the pipe: a stream socket, which reads as ended when the cell has."""
        return self._pipe.fileno()

    def kill(self) -> None:
        """End the cell at once, whatever it does; nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    def wait(self, timeout_s: float | None = None) -> CellEnd:
        """Return how the cell ended, as soon as it has.

        Raises:
            ConfinementError: It has not within `timeout_s` seconds, or its parent is gone.
        """
        if self._end is None:
            poll = select.poll()
            poll.register(self._end_channel.fileno(), select.POLLIN)
            if not poll.poll(None if timeout_s is None else timeout_s * 1000):
                raise ConfinementError("a cell has not ended in time", code="confinement.setup")
            reply, _ = self._end_channel.receive(timeout_s=_CLOSE_TIMEOUT_S)
            self._end = CellEnd(
                status=reply.integer("exited", maximum=255 + 128),
                processor_ms=reply.integer("processor_ms"),
                peak_bytes=reply.integer("peak_bytes"),
            )
        return self._end

    def close(self) -> None:
        """Kill it if it has not ended, and let go of everything; may be called twice."""
        if self._closed:
            return
        self._closed = True
        self.kill()
        with contextlib.suppress(CloisterError):
            self.wait(_CLOSE_TIMEOUT_S)
        self._pipe.close()
        self._end_channel.close()
        os.close(self._handle)

    def __enter__(self) -> Cell:
        """Use `with` so that `close` is never forgotten."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


_PARENT: Final = "cloister.confinement.cell_parent"


def _require(reply: Fields, wanted: str) -> None:
    """Raise what a reported failure deserves."""
    if reply.has("failed"):
        step, text = reply.text("failed"), reply.text("text", max_length=8192)
        if step == "layers":
            raise UnsupportedError(
                f"this machine cannot confine a cell with: {text}",
                code="machine.layer",
                hint="a newer kernel, or accept that they are missing, by their names",
            )
        if step == "preload":
            raise ConfigError(
                "cells cannot be prepared with these modules", code="config.value", detail=text
            )
        raise explain_failure(step, reply.integer("errno"), text, observe_limits())
    reply.constant("done", wanted)
