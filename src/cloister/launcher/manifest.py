"""The manifest: which files a runtime or a code tree consists of, as canonical bytes. No I/O.

Entries are grouped by folder; folders, then names, are in bytewise order. A digest of the manifest
is what evidence binds; the manifest itself stays on the machine, to explain why a digest changed.

Spec: launch-measurement-v1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, framed, sha256
from cloister.errors import MalformedError

__all__ = [
    "CODE_LABEL",
    "MAX_MANIFEST_BYTES",
    "RUNTIME_LABEL",
    "Entry",
    "Manifest",
    "decode_entries",
    "describe_difference",
    "encode_entries",
]

RUNTIME_LABEL: Final = b"cloister/v1/runtime"
CODE_LABEL: Final = b"cloister/v1/code"
MAX_MANIFEST_BYTES: Final = 256 << 20
_FOLDER: Final = ord("D")
_KINDS: Final = frozenset(b"fxl")
_MAX_NAME_BYTES: Final = 65535
_MAX_SHOWN: Final = 12
_DIST_INFO: Final = re.compile(r"(?P<name>[^/]+?)-(?P<version>[^/-]+)\.(?:dist|egg)-info")


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder.

    `kind` is `f` (a file), `x` (a file that its owner may execute) or `l` (a symbolic link);
    `digest` is SHA-256 of the content, or of the link's target.
    """

    name: bytes
    kind: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """Folders by path (label first, `/` between parts) to their encoded entries."""

    folders: Mapping[bytes, bytes]

    def to_bytes(self) -> bytes:
        """Return the canonical bytes (LM-3 to LM-6)."""
        parts: list[bytes] = []
        for path in sorted(self.folders):
            parts += (bytes((_FOLDER,)), len(path).to_bytes(2, "big"), path, self.folders[path])
        return b"".join(parts)

    def digest(self, label: bytes) -> bytes:
        """Return the 32 bytes that evidence binds, for one purpose."""
        return sha256(framed(label, self.to_bytes()))

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read a manifest that was kept; strict, since only canonical bytes give the digest.

        Raises:
            MalformedError: Not the canonical bytes of any manifest.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise MalformedError("the manifest is too large", code="wire.too-large")
        folders: dict[bytes, bytes] = {}
        last: bytes | None = None
        offset = 0
        while offset < len(data):
            if data[offset] != _FOLDER:
                raise _malformed(offset)
            path, offset = _take_name(data, offset + 1)
            if last is not None and path <= last:
                raise _malformed(offset)
            end = _skip_entries(data, offset)
            folders[path] = data[offset:end]
            last, offset = path, end
        return cls(folders)

    def files(self) -> dict[bytes, Entry]:
        """Return every entry by its full path."""
        return {
            folder + b"/" + entry.name: entry
            for folder, chunk in self.folders.items()
            for entry in decode_entries(chunk)
        }


def encode_entries(entries: Iterable[Entry]) -> bytes:
    """Return a folder's entries in canonical order."""
    return b"".join(
        entry.kind.encode() + len(entry.name).to_bytes(2, "big") + entry.name + entry.digest
        for entry in sorted(entries, key=lambda entry: entry.name)
    )


def decode_entries(chunk: bytes) -> list[Entry]:
    """Read a folder's entries.

    Raises:
        MalformedError: Not what `encode_entries` writes.
    """
    if _skip_entries(chunk, 0) != len(chunk):
        raise _malformed(len(chunk))
    entries: list[Entry] = []
    offset = 0
    while offset < len(chunk):
        kind = chr(chunk[offset])
        name, offset = _take_name(chunk, offset + 1)
        entries.append(Entry(name, kind, chunk[offset : offset + DIGEST_BYTES]))
        offset += DIGEST_BYTES
    return entries


def describe_difference(old: Manifest, new: Manifest) -> list[str]:
    """Say in a few lines what differs between two runtimes, by distribution where possible."""
    before, after = _distributions(old), _distributions(new)
    lines = [
        f"{name} {before.get(name, 'was not installed')} → {after.get(name, 'removed')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    named = {_import_name(line.split(" ", 1)[0]) for line in lines}
    old_files, new_files = old.files(), new.files()
    changed: dict[str, list[str]] = {}
    for path in old_files.keys() | new_files.keys():
        if old_files.get(path) != new_files.get(path):
            text = path.decode("utf-8", "replace")
            changed.setdefault(_group(text), []).append(text)
    groups = sorted(
        group for group in changed if _import_name(group.rsplit("/", 1)[-1]) not in named
    )
    for group in groups[:_MAX_SHOWN]:
        paths = sorted(changed[group])
        only_cache = all(path.endswith(".pyc") for path in paths)
        note = ", only cached bytecode (.pyc)" if only_cache else ""
        lines.append(f"{group}: {len(paths)} files differ{note}, such as {paths[0]}")
    if len(groups) > _MAX_SHOWN:
        lines.append(f"and {len(groups) - _MAX_SHOWN} more places")
    return lines


def _distributions(manifest: Manifest) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in manifest.folders:
        match = _DIST_INFO.fullmatch(path.decode("utf-8", "replace").rsplit("/", 1)[-1])
        if match is not None:
            found[match["name"]] = match["version"]
    return found


def _import_name(text: str) -> str:
    bare = re.sub(r"(-[^-]+)?\.(dist|egg)-info$|\.py$|\.libs$", "", text)
    return bare.lower().replace("-", "_")


def _group(path: str) -> str:
    """Return the label and first name below it: a package, or a module of the standard library."""
    parts = path.split("/")
    depth = 3 if parts[0] in {"packages", "sources"} else 2
    return "/".join(parts[:depth])


def _take_name(data: bytes, offset: int) -> tuple[bytes, int]:
    length = int.from_bytes(data[offset : offset + 2], "big")
    end = offset + 2 + length
    if length == 0 or end > len(data):
        raise _malformed(offset)
    return data[offset + 2 : end], end


def _skip_entries(data: bytes, offset: int) -> int:
    """Return where the entries that start at `offset` end, having checked kinds and order."""
    last = b""
    while offset < len(data) and data[offset] != _FOLDER:
        if data[offset] not in _KINDS:
            raise _malformed(offset)
        name, offset = _take_name(data, offset + 1)
        if name <= last or b"/" in name:
            raise _malformed(offset)
        last = name
        offset += DIGEST_BYTES
        if offset > len(data):
            raise _malformed(offset)
    return offset


def _malformed(offset: int) -> MalformedError:
    return MalformedError("not a manifest", code="wire.malformed", offset=offset, clause="LM-6")
