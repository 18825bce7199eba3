"""Look for a secret in bytes, however a program may have written it down.

A secret is found by a part of it too: what a page or a buffer has cut is no less a leak.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.parse
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from cloister.crypto.digest import sha256

__all__ = ["found_in", "scan", "spellings"]

_PART: Final = 12


@cache
def spellings(secret: bytes) -> frozenset[bytes]:
    """Return every way in which the secret, or one of its ends, may stand in a file."""
    found: set[bytes] = set()
    for part in _parts(secret):
        found |= _binary(part)
        text = _printable(part)
        for each in {part.hex(), part.hex().upper(), text} - {""}:
            found |= {each.encode(), each.encode("utf-16-le"), each.encode("utf-16-be")}
            found.add(_inner_base64(each.encode(), 0))
    return frozenset(each for each in found if len(each) >= min(_PART, len(secret)))


def found_in(data: bytes, secrets: Mapping[str, bytes]) -> list[str]:
    """Return the names of the secrets that `data` shows."""
    return [
        name for name, secret in secrets.items() if any(each in data for each in spellings(secret))
    ]


def scan(folder: Path, secrets: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Return (file, secret) for each regular file below a folder that shows one.

    Names count as contents do, and the same content is looked at once.
    """
    seen: set[bytes] = set()
    found: list[tuple[str, str]] = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found += [(name, secret) for secret in found_in(os.fsencode(name), secrets)]
        if not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes().rstrip(b"\0")
        digest = sha256(content)
        if digest not in seen:
            found += [(name, secret) for secret in found_in(content, secrets)]
        seen.add(digest)
    return found


def _parts(secret: bytes) -> Iterable[bytes]:
    if len(secret) <= 2 * _PART:
        return (secret,)
    middle = len(secret) // 2
    return (secret[:_PART], secret[middle : middle + _PART], secret[-_PART:])


def _binary(part: bytes) -> set[bytes]:
    latin = part.decode("latin-1")
    found = {
        part,
        part[::-1],
        repr(part).encode()[2:-1],
        json.dumps(latin).encode()[1:-1],
        json.dumps(latin, ensure_ascii=False).encode()[1:-1],
        "".join(f"\\{octet:03o}" for octet in part).encode(),
        urllib.parse.quote(part, safe="").encode(),
        ", ".join(str(octet) for octet in part).encode(),
        part.hex(" ").encode(),
        part.hex(":").encode(),
    }
    for skipped in range(3):
        coded = _inner_base64(part, skipped)
        found |= {coded, coded.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def _inner_base64(part: bytes, before: int) -> bytes:
    """Return what base64 makes of `part` behind `before` other bytes, without what they touch."""
    coded = base64.b64encode(bytes(before) + part)
    first = -(-before * 8 // 6)
    last = (before + len(part)) * 8 // 6
    return coded[first:last]


def _printable(part: bytes) -> str:
    try:
        text = part.decode("ascii")
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""
