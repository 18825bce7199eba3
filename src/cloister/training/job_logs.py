"""The logs of a job's instances, as files of bounded size in its folder, and how to follow them.

One file for each instance, `logs/worker-0.log`, and the one before it, `logs/worker-0.log.1`. Each
line begins with its time, so that those of several instances can be told in order. They hold what
the policy lets the operator see, and nothing in them can move a terminal's cursor (`lines.py`).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.training.supervision import Task

__all__ = ["LogFollower", "LogWriter", "log_path"]

MAX_FILE_BYTES: Final = 8 << 20
_READ_BYTES: Final = 1 << 16
_STAMP_CHARS: Final = len("2026-01-01T00:00:00.000Z")


def log_path(folder: Path, task: Task) -> Path:
    """Return where an instance's log is."""
    return folder / f"{task.name}.log"


class LogWriter:
    """Writes one instance's log; once it is too large, a second file is begun."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        """Open the log, which is made where there is none, for its owner only."""
        self._path = path
        self._max_bytes = max_bytes
        self._file: IO[bytes] | None = None
        self._size = 0

    def write(self, lines: Iterable[str], at: float) -> None:
        """Add whole lines, said at a time in seconds since the epoch.

        A disk that is full costs lines of a log and never the job.
        """
        stamp = dt.datetime.fromtimestamp(at, dt.UTC).isoformat("T", "milliseconds")[:-6] + "Z "
        data = "".join(f"{stamp}{line}\n" for line in lines).encode("utf-8", "replace")
        if not data:
            return
        with contextlib.suppress(OSError):
            if self._file is None or self._size + len(data) > self._max_bytes:
                self._next_file()
            if self._file is not None:
                self._file.write(data)
                self._size += len(data)

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next_file(self) -> None:
        if self._file is not None:
            self.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "wb", buffering=0)
        self._size = self._path.stat().st_size


class _Tail:
    """Reads one log from its beginning on, over to the file that follows it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._held = b""
        self._older = [path.with_name(path.name + ".1")]

    def read(self) -> list[str]:
        """Return the whole lines that came since the last call."""
        found: list[str] = []
        while True:
            data = b"" if self._file is None else self._file.read(_READ_BYTES)
            if not data and not self._open_next():
                return found
            *lines, self._held = (self._held + data).split(b"\n")
            found += [line.decode("utf-8", "replace") for line in lines]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open_next(self) -> bool:
        """Open the older file once, and then the one at the path, if it is another than ours."""
        try:
            while self._older:
                with contextlib.suppress(FileNotFoundError):
                    self._file = self._older.pop().open("rb")
                    return True
            if self._file is not None and os.path.samestat(
                os.fstat(self._file.fileno()), self._path.stat()
            ):
                return False
            following = self._path.open("rb")
        except FileNotFoundError:
            return False
        except OSError as e:
            raise ConfigError(f"cannot read {self._path}: {e.strerror}", code="config.file") from e
        self.close()
        self._file = following
        return True


class LogFollower:
    """Reads the logs of several instances, in the order of their lines' times."""

    def __init__(self, folder: Path, tasks: Sequence[Task]) -> None:
        """Take the folder and whose logs; one that is not there yet may come."""
        self._tails = {task: _Tail(log_path(folder, task)) for task in tasks}

    def read(self) -> Iterator[tuple[Task, str, str]]:
        """Yield what came since the last call: whose line, its time, and the line."""
        parts = [
            [(line[:_STAMP_CHARS], task, line[_STAMP_CHARS + 1 :]) for line in tail.read()]
            for task, tail in self._tails.items()
        ]
        for stamp, task, text in heapq.merge(*parts, key=lambda part: part[0]):
            yield task, stamp, text

    def close(self) -> None:
        """Close the files."""
        for tail in self._tails.values():
            tail.close()
