"""Hash what `scan` listed, unless the cache knows it from before; the result is a manifest.

Files are hashed through the descriptor whose numbers are compared with the listing afterwards, so a
file that changes meanwhile is an error and never a wrong digest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.crypto.digest import sha256
from cloister.errors import ConfigError
from cloister.launcher.cache import CacheKey, KnownFolder, read_cache, write_cache
from cloister.launcher.manifest import Entry, Manifest, decode_entries, encode_entries
from cloister.launcher.runtime import MeasuredRoot
from cloister.launcher.scan import SEPARATOR, Listing, describe_file, parse_line, scan_roots

__all__ = ["MeasurementCache", "Progress", "measure"]

Progress = Callable[[int, int], None]
"""Called with bytes hashed so far and bytes to hash in all."""

_RACY_NS: Final = 2_000_000_000
_CHUNK_BYTES: Final = 1 << 20
_HASHING_THREADS: Final = 4
_NEVER: Final = b"-"  # stands for a line that must not match next time


@dataclass(frozen=True, slots=True)
class MeasurementCache:
    """Where earlier hashes are kept, and the key that authenticates them."""

    path: Path
    key: CacheKey


def measure(
    roots: Sequence[MeasuredRoot],
    *,
    cache: MeasurementCache | None,
    at: int,
    progress: Progress,
) -> Manifest:
    """Return the manifest of everything under the roots.

    Args:
        roots: What to measure.
        cache: Earlier hashes of this platform; None hashes every byte.
        at: Now, in seconds since the epoch. Files changed in the two seconds before are hashed
            again next time: within a clock tick, a second change could look like none.
        progress: Told while files are hashed; not called where nothing needs to be.

    Raises:
        ConfigError: Something cannot be read, is no file, or changed while it was measured.
    """
    listings = scan_roots(roots)
    known = {} if cache is None else read_cache(cache.path, cache.key)
    folders: dict[bytes, bytes] = {}
    stale: dict[bytes, Listing] = {}
    for folder, listing in listings.items():
        before = known.get(listing.path + b"\x00" + folder)
        if before is not None and before.lines == listing.lines:
            folders[folder] = before.entries
        else:
            stale[folder] = listing
    if not stale:
        return Manifest(folders)
    folders |= _hash_folders(stale, known, progress)
    if cache is not None:
        merged = dict(known)
        for folder, listing in listings.items():
            lines = _without_racy(listing.lines, at) if folder in stale else listing.lines
            merged[listing.path + b"\x00" + folder] = KnownFolder(lines, folders[folder])
        write_cache(cache.path, cache.key, merged)
    return Manifest(folders)


def _hash_folders(
    stale: Mapping[bytes, Listing], known: Mapping[bytes, KnownFolder], progress: Progress
) -> dict[bytes, bytes]:
    """Hash what changed in the stale folders, in threads: hashing and reading release the lock."""
    from concurrent.futures import ThreadPoolExecutor  # not on the warm path

    jobs: list[tuple[bytes, bytes, bytes]] = []
    entries: dict[bytes, list[Entry]] = {folder: [] for folder in stale}
    total = 0
    for folder, listing in stale.items():
        reusable = _reusable(known.get(listing.path + b"\x00" + folder))
        for line in _split(listing.lines):
            if line in reusable:
                entries[folder].append(reusable[line])
                continue
            file = parse_line(line)
            path = _path_of(listing.path, file.name)
            jobs.append((folder, path, line))
            total += file.size
    done = 0
    progress(0, total)
    with ThreadPoolExecutor(_HASHING_THREADS) as pool:
        for (folder, _path, line), entry in zip(
            jobs, pool.map(lambda job: _hash_one(job[1], job[2]), jobs), strict=True
        ):
            entries[folder].append(entry)
            done += parse_line(line).size
            progress(done, total)
    return {folder: encode_entries(found) for folder, found in entries.items()}


def _hash_one(path: bytes, line: bytes) -> Entry:
    file = parse_line(line)
    try:
        if stat.S_ISLNK(file.mode):
            entry = Entry(file.name, "l", sha256(os.readlink(path)))  # noqa: PTH115  # bytes
            after = os.lstat(path)
        elif stat.S_ISREG(file.mode):
            digest, after = _hash_content(path)
            entry = Entry(file.name, "x" if file.mode & stat.S_IXUSR else "f", digest)
        else:
            raise ConfigError(
                f"{os.fsdecode(path)} is neither a file nor a link", code="config.file"
            )
    except OSError as e:
        raise ConfigError(
            f"{os.fsdecode(path)} cannot be measured: {e.strerror}", code="config.file"
        ) from e
    if os.fsencode(describe_file(os.fsdecode(file.name), after)) != line:
        raise ConfigError(
            f"{os.fsdecode(path)} changed while it was measured",
            code="config.file",
            hint="run again when nothing installs or compiles into this environment",
        )
    return entry


def _hash_content(path: bytes) -> tuple[bytes, os.stat_result]:
    hasher = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            hasher.update(chunk)
        return hasher.digest(), os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _reusable(before: KnownFolder | None) -> dict[bytes, Entry]:
    """Pair the lines of an older listing with their entries."""
    if before is None:
        return {}
    by_name = {entry.name: entry for entry in decode_entries(before.entries)}
    lines = [line for line in _split(before.lines) if line != _NEVER]
    return {line: by_name[name] for line in lines if (name := parse_line(line).name) in by_name}


def _without_racy(lines: bytes, at: int) -> bytes:
    limit = at * 1_000_000_000 - _RACY_NS
    kept = [_NEVER if parse_line(line).ctime_ns >= limit else line for line in _split(lines)]
    return SEPARATOR.encode().join(kept)


def _split(lines: bytes) -> Iterator[bytes]:
    return iter(lines.split(SEPARATOR.encode()) if lines else ())


def _path_of(path: bytes, name: bytes) -> bytes:
    """Return where a file lies; a root that is a file is its own listing."""
    return path if name == b"file" and not os.path.isdir(path) else path + b"/" + name  # noqa: PTH112  # bytes, and hot
