"""Markers planted in secrets, and the search for them in files and captured streams."""

from __future__ import annotations

import mmap
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.cli.demo.capture import Stream

__all__ = ["Finding", "Search", "files_below", "folders_of", "search_files", "search_streams"]


_ELSEWHERE: Final = ("/var/tmp", "/dev/shm")  # noqa: S108  # searched, not used


@dataclass(frozen=True, slots=True)
class Finding:
    """A marker that was found: which secret, and where."""

    secret: str
    where: str


@dataclass(frozen=True, slots=True)
class Search:
    """What was searched and what was found."""

    files: int
    streams: int
    searched_bytes: int
    findings: tuple[Finding, ...]

    @property
    def secrets_found(self) -> frozenset[str]:
        """The secrets of which at least one marker was found."""
        return frozenset(finding.secret for finding in self.findings)

    def joined(self, other: Search) -> Search:
        """Return both searches as one."""
        return Search(
            self.files + other.files,
            self.streams + other.streams,
            self.searched_bytes + other.searched_bytes,
            self.findings + other.findings,
        )


def folders_of(root: Path) -> list[Path]:
    """Return where an operator would find what was left behind, none of it within another.

    Args:
        root: Where a demonstration puts its files.
    """
    candidates = [root, Path(tempfile.gettempdir()), *map(Path, _ELSEWHERE)]
    candidates += [Path.home() / ".cache", Path.home() / ".keras"]
    found: list[Path] = []
    for folder in candidates:
        inside = any(folder == other or other in folder.parents for other in found)
        if folder.is_dir() and not inside:
            found = [other for other in found if folder not in other.parents]
            found.append(folder)
    return found


def files_below(roots: Iterable[Path], *, since_ns: int, skip: Iterable[Path]) -> Iterator[Path]:
    """Yield regular files below `roots` that were changed at or after `since_ns`.

    Args:
        roots: Directories that the operator can read.
        since_ns: Files changed (content or metadata) before are left out.
        skip: Directories left out, such as the owner's own machine.
    """
    left_out = {str(path) for path in skip}
    stack = [str(root) for root in roots]
    while stack:
        folder = stack.pop()
        if folder in left_out:
            continue
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(info.st_mode):
                stack.append(entry.path)
            elif stat.S_ISREG(info.st_mode) and info.st_ctime_ns >= since_ns:
                yield Path(entry.path)


def search_files(paths: Iterable[Path], markers: Mapping[str, Iterable[bytes]]) -> Search:
    """Search each file whole, without reading it into memory."""
    files, size, findings = 0, 0, []
    for path in paths:
        try:
            with path.open("rb") as file:
                length = os.fstat(file.fileno()).st_size
                if length:
                    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                        findings += _find(content, markers, str(path))
        except OSError:
            continue
        files += 1
        size += length
    return Search(files, 0, size, tuple(findings))


def search_streams(streams: Iterable[Stream], markers: Mapping[str, Iterable[bytes]]) -> Search:
    """Search the payload of captured connections."""
    count, size, findings = 0, 0, []
    for stream in streams:
        content = stream.content()
        count += 1
        size += len(content)
        findings += _find(content, markers, f"tcp {stream.source_port} to {stream.target_port}")
    return Search(0, count, size, tuple(findings))


def _find(
    content: bytes | mmap.mmap, markers: Mapping[str, Iterable[bytes]], where: str
) -> list[Finding]:
    return [
        Finding(secret, where)
        for secret, patterns in markers.items()
        if any(content.find(pattern) >= 0 for pattern in patterns)
    ]
