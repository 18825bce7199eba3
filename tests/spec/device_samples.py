"""Genuine evidence of devices, where it is; mutations of bytes, the same in every run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def sample_folder(kind: str) -> Path:
    """Return the folder of a kind's samples, or skip."""
    place = Path(os.environ.get("CLOISTER_EVIDENCE", ROOT.parent / "shared" / "evidence")) / kind
    if not place.is_dir():
        pytest.skip(f"no genuine evidence: {place} is not there; set CLOISTER_EVIDENCE")
    return place


def read_sample(folder: Path) -> dict[str, Any]:
    """Return what a sample says of itself."""
    found: dict[str, Any] = json.loads((folder / "sample.json").read_text("utf-8"))
    return found


def seconds(text: str) -> int:
    """Read an instant."""
    return int(datetime.fromisoformat(text).timestamp())


def mutations(data: bytes, count: int) -> Iterator[bytes]:
    """Yield bytes that differ: three quarters with one bit changed, the rest cut or made longer."""
    for n in range(count):
        drawn = hashlib.sha256(n.to_bytes(4) + len(data).to_bytes(4)).digest()
        at = int.from_bytes(drawn[:8]) % len(data)
        if n % 8 == 0:
            yield data[:at]
        elif n % 8 == 1:
            yield data[:at] + drawn[8:9] + data[at:]
        else:
            yield data[:at] + bytes([data[at] ^ (1 << n % 8)]) + data[at + 1 :]
