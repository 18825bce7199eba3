"""Genuine evidence outside the repository: found by CLOISTER_EVIDENCE or beside it, or skipped."""

from __future__ import annotations

import datetime as dt
import json
import os
import random  # noqa: TID251  # seeded, picks bytes to damage
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[1]


def folder(kind: str) -> Path:
    """Return the folder of a kind's samples, or skip the test and say what is missing."""
    beside = (ROOT.parent / "shared" / "evidence", ROOT.parents[1] / "shared" / "evidence")
    given = os.environ.get("CLOISTER_EVIDENCE")
    for base in (Path(given),) if given else beside:
        if (base / kind).is_dir():
            return base / kind
    pytest.skip(f"no genuine {kind} evidence here: set CLOISTER_EVIDENCE to its folder")


def load(path: Path) -> Any:
    """Read a sample's description."""
    return json.loads(path.read_text("utf-8"))


def instant(text: str) -> int:
    """Read an instant as samples write it."""
    return int(dt.datetime.fromisoformat(text).timestamp())


def mutations(data: bytes, *, count: int, seed: int) -> Iterator[bytes]:
    """Change bits, cut, lengthen, and swap parts of bytes; the same ones every time."""
    chance = random.Random(seed)
    for _ in range(count):
        kind = chance.randrange(5)
        place = chance.randrange(len(data))
        if kind in (0, 1):
            yield data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
        elif kind == 2:
            yield data[:place]
        elif kind == 3:
            yield data + data[place : place + 16]
        else:
            value = chance.randrange(256) ^ data[place] or 1
            yield data[:place] + bytes([data[place] ^ value]) + data[place + 1 :]
