"""One instance's process, `cloister run` with an index: how it starts, what it says, how it ended.

Its standard error carries the program's output and Cloister's notes. Its standard output carries
one JSON object at the end, which no program inside can write to: `cloister run --json` sends the
program's output elsewhere. It dies with whoever started it, by a signal of the kernel.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloister.confinement import syscalls
from cloister.errors import CODES, UnavailableError, WorkloadError, error_from_wire
from cloister.training.job_folder import Process, process_of
from cloister.training.lines import Line, LineReader, clean
from cloister.training.supervision import Task

__all__ = ["CLOISTER", "End", "Instance", "run_arguments"]

CLOISTER: Final = (sys.executable, "-P", "-c", "from cloister.cli.main import main; main()")
"""The command line of this installation; nothing of the current folder is imported."""

_MAX_RESULT_BYTES: Final = 1 << 18
_CHUNK_BYTES: Final = 1 << 16
_LAST_READS: Final = 32  # more than a pipe holds
_BY_SIGNAL: Final = 128
_HINT_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class End:
    """How an instance ended.

    Attributes:
        status: Its exit status; 128 + n after signal n.
        hopeless: Another try would end the same way: it was refused, or misused.
        why: What Cloister said, with its code; empty where the program ended by itself.
        hint: What Cloister says to do next; empty for nothing.
    """

    status: int
    hopeless: bool
    why: str
    hint: str = ""


def run_arguments(
    policy: Path, task: Task, *, peers: Path, receipt: Path, options: Sequence[str]
) -> list[str]:
    """Return the words of `cloister run` for one instance."""
    return [
        "run",
        str(policy),
        "--workload",
        task.role,
        "--index",
        str(task.index),
        "--peers",
        str(peers),
        "--receipt",
        str(receipt),
        "--json",
        *options,
    ]


class Instance:
    """A started process. Its descriptors are watched by the caller, who calls what fits."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it, in a session of its own: a terminal's Ctrl-C is ours to pass on.

        Raises:
            OSError: It could not be started.
        """
        parent = os.getpid()

        def follow_the_parent() -> None:
            syscalls.die_with_parent(signal.SIGTERM)
            if os.getppid() != parent:  # it died before we asked to be told
                os._exit(_BY_SIGNAL + signal.SIGTERM)

        self._process = subprocess.Popen(  # noqa: S603  # our own program, words of our own
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=follow_the_parent,  # noqa: PLW1509  # one system call; we have no threads
            bufsize=0,
        )
        assert self._process.stdout is not None  # noqa: S101  # for mypy: both are pipes
        assert self._process.stderr is not None  # noqa: S101  # likewise
        self.result_fd = self._process.stdout.fileno()
        self.output_fd = self._process.stderr.fileno()
        for descriptor in (self.result_fd, self.output_fd):
            os.set_blocking(descriptor, False)
        self.exit_fd = os.pidfd_open(self._process.pid)
        self.process: Process | None = process_of(self._process.pid)
        self._reader = LineReader()
        self._result = b""

    def read_output(self) -> list[Line] | None:
        """Return what came of its output; None at the end of it."""
        chunk = _read(self.output_fd)
        if chunk is None:
            return []
        return self._reader.feed(chunk) if chunk else None

    def read_result(self) -> bool:
        """Keep what came of its result; tell whether more may come."""
        chunk = _read(self.result_fd)
        if chunk and len(self._result) <= _MAX_RESULT_BYTES:
            self._result += chunk
        return chunk != b""

    def signal(self, number: int) -> None:
        """Send it a signal; one that has ended does not hear it."""
        try:
            signal.pidfd_send_signal(self.exit_fd, number)
        except ProcessLookupError:
            return

    def finish(self) -> tuple[list[Line], End]:
        """It has ended: return what was still to be read, and how.

        A process that it left behind may hold its pipes open, or go on writing; nobody waits for
        that one.
        """
        lines: list[Line] = []
        for _ in range(_LAST_READS):
            if not (chunk := _read(self.output_fd)):
                break
            lines += self._reader.feed(chunk)
        while (chunk := _read(self.result_fd)) and len(self._result) <= _MAX_RESULT_BYTES:
            self._result += chunk
        lines += self._reader.end()
        status = self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        os.close(self.exit_fd)
        return lines, _end(status if status >= 0 else _BY_SIGNAL - status, self._result)


def _read(descriptor: int) -> bytes | None:
    """Return what is there now, nothing at the end, or None where more may come."""
    try:
        return os.read(descriptor, _CHUNK_BYTES)
    except BlockingIOError:
        return None


def _end(status: int, result: bytes) -> End:
    """Read what `cloister run --json` printed last: an error, where there was one."""
    error = _error_in(result) if len(result) <= _MAX_RESULT_BYTES else None
    if status == 0 or error is None:
        return End(status, hopeless=False, why="")
    kind = CODES.get(str(error.get("code")))
    worth_a_try = kind is None or issubclass(kind, (UnavailableError, WorkloadError))
    said = error_from_wire(str(error.get("code")), str(error.get("message")))
    hint = clean(str(error.get("hint") or "")[:_HINT_CHARS].encode("utf-8", "replace"))
    return End(status, hopeless=not worth_a_try, why=str(said), hint=hint)


def _error_in(result: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(result)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
