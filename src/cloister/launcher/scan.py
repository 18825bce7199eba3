"""Listing folders quickly: one line of numbers for each file, enough to see that it changed.

A line holds inode, size, modification time, change time, mode and name. The kernel sets the change
time at every change of content or mode and offers no call to set it back; that is what the cache in
`measure` trusts. Scanning 60,000 files is bound by system calls, so it is shared out to processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from cloister.errors import CloisterError, ConfigError, MalformedError
from cloister.launcher.runtime import MeasuredRoot
from cloister.wire import decode, encode

__all__ = [
    "FILE_ROOT_NAME",
    "SEPARATOR",
    "Listing",
    "ScannedFile",
    "describe_file",
    "parse_line",
    "scan_roots",
]

FILE_ROOT_NAME: Final = "file"
SEPARATOR: Final = "/"  # the one character that no name has
_MAX_PROCESSES: Final = 4
_FEW_TASKS: Final = 64
_MAX_TASKS: Final = 32000  # their 2-byte numbers must fit a pipe's 64 KiB
_MAX_RESULT_BYTES: Final = 512 << 20


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """One line, parsed."""

    name: bytes
    inode: int
    size: int
    ctime_ns: int
    mode: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder on disk, or a file that is a root by itself, and its lines.

    Lines are joined by `SEPARATOR` in the file system's order, which stays while nothing changes.
    """

    path: bytes
    lines: bytes


@dataclass(frozen=True, slots=True)
class _Task:
    """A folder to list with all below it."""

    path: bytes
    label: bytes
    skipped: frozenset[str]


def scan_roots(roots: Sequence[MeasuredRoot]) -> dict[bytes, Listing]:
    """List every root; keys are the manifest's folder paths.

    Raises:
        ConfigError: A root or something below it is missing or unreadable.
    """
    found: dict[bytes, Listing] = {}
    tasks: list[_Task] = []
    for root in roots:
        path, label = os.fsencode(root.path), root.label.encode()
        if root.path.is_dir():
            top = _Task(path, label, root.skipped | root.skipped_at_top)
            for task in _list_one(top, found):
                below = _Task(task.path, task.label, root.skipped)
                tasks += _list_one(below, found)
        else:
            try:
                found[label] = Listing(path, describe_file(FILE_ROOT_NAME, os.lstat(path)).encode())
            except OSError as e:
                raise _unreadable(path, e) from e
    found.update(_scan_shared(tasks))
    return found


def describe_file(name: str, status: os.stat_result) -> str:
    """Return a file's line."""
    return (
        f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} "
        f"{status.st_mode} {name}"
    )


def parse_line(line: bytes) -> ScannedFile:
    """Read a line of ours."""
    inode, size, _mtime, ctime, mode, name = line.split(b" ", 5)
    return ScannedFile(name, int(inode), int(size), int(ctime), int(mode))


def _list_one(task: _Task, found: dict[bytes, Listing]) -> list[_Task]:
    """List one folder into `found`; return its folders. A warm run is mostly this loop."""
    folders: list[str] = []
    lines: list[str] = []
    skipped = task.skipped
    try:
        # By descriptor, so that the kernel resolves one name for each file and not a whole path.
        descriptor = os.open(task.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if name not in skipped:
                            folders.append(name)
                        continue
                    s = entry.stat(follow_symlinks=False)
                    lines.append(
                        f"{s.st_ino} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_mode} {name}"
                    )
        finally:
            os.close(descriptor)
    except OSError as e:
        raise _unreadable(task.path, e) from e
    found[task.label] = Listing(task.path, os.fsencode(SEPARATOR.join(lines)))
    below: list[_Task] = []
    for name in folders:
        tail = b"/" + os.fsencode(name)
        below.append(_Task(task.path + tail, task.label + tail, skipped))
    return below


def _scan_below(task: _Task, found: dict[bytes, Listing]) -> None:
    waiting = [task]
    while waiting:
        waiting += _list_one(waiting.pop(), found)


def _scan_shared(tasks: Sequence[_Task]) -> Iterator[tuple[bytes, Listing]]:
    """Scan with a process for each processor; each takes the next task that nobody has."""
    processes = min(_MAX_PROCESSES, len(os.sched_getaffinity(0)))
    found: dict[bytes, Listing] = {}
    if processes == 1 or not _FEW_TASKS < len(tasks) <= _MAX_TASKS:
        for task in tasks:
            _scan_below(task, found)
        yield from found.items()
        return
    queue, filler = os.pipe2(os.O_CLOEXEC)
    os.write(filler, b"".join(number.to_bytes(2, "big") for number in range(len(tasks))))
    os.close(filler)
    helpers = [_fork_helper(tasks, queue) for _ in range(processes - 1)]
    try:
        _take_tasks(tasks, queue, found)
    finally:
        os.close(queue)
        results = [_collect(pid, pipe) for pid, pipe in helpers]
    yield from found.items()
    for result in results:
        yield from _read_result(result)


def _take_tasks(tasks: Sequence[_Task], queue: int, found: dict[bytes, Listing]) -> None:
    while number := os.read(queue, 2):
        _scan_below(tasks[int.from_bytes(number, "big")], found)


def _fork_helper(tasks: Sequence[_Task], queue: int) -> tuple[int, int]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_helper(tasks, queue, writer)
    os.close(writer)
    return pid, reader


def _be_helper(tasks: Sequence[_Task], queue: int, writer: int) -> NoReturn:
    found: dict[bytes, Listing] = {}
    try:
        try:
            _take_tasks(tasks, queue, found)
            flat = [
                part for label, item in found.items() for part in (label, item.path, item.lines)
            ]
            result = encode(flat)
        except CloisterError as e:
            result = encode(e.public)
        with os.fdopen(writer, "wb") as stream:
            stream.write(result)
        os._exit(0)
    finally:
        os._exit(1)


def _collect(pid: int, pipe: int) -> bytes:
    with os.fdopen(pipe, "rb") as stream:
        result = stream.read()
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
    return result


def _read_result(result: bytes) -> Iterator[tuple[bytes, Listing]]:
    try:
        value = decode(result, max_bytes=_MAX_RESULT_BYTES)
    except MalformedError as e:
        raise ConfigError("a scanning process ended early", code="config.file") from e
    if isinstance(value, str):
        raise ConfigError(value, code="config.file")
    parts = [part for part in value if isinstance(part, bytes)] if isinstance(value, list) else []
    for index in range(0, len(parts), 3):
        yield parts[index], Listing(parts[index + 1], parts[index + 2])


def _unreadable(path: bytes, error: OSError) -> ConfigError:
    return ConfigError(
        f"{os.fsdecode(path)} cannot be measured: {error.strerror}", code="config.file"
    )
