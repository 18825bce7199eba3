"""Readers of what comes out of a recipe's cell, for `targets.py`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cloister.cleanroom.description import ModelDescription, parameters
from cloister.cleanroom.encoding import Limits, Message, decode, encode
from cloister.cleanroom.frames import Deframer, split

__all__ = ["CHANNEL"]

FRAME: Final = 64
LIMITS: Final = Limits(1 << 16, head_bytes=1 << 14, arrays=64)
VECTORS: Final = Path(__file__).parents[2] / "docs/spec/vectors/confinement-channel-v1"


def _message(data: bytes) -> object:
    """A message has one spelling."""
    found = decode(data, LIMITS)
    assert encode(found) == data
    return found


def _frames(data: bytes) -> object:
    """What frames carry goes into as many frames again."""
    deframer = Deframer(FRAME, 4096)
    for at in range(0, len(data), FRAME):
        found = deframer.feed(data[at : at + FRAME])
        if found is not None:
            assert b"".join(split(found, FRAME)) in data
    return None


def _model(data: bytes) -> object:
    """A description, as a message has it; JSON is what the fuzzer changes most easily."""
    fields: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        fields = json.loads(data)
    found = ModelDescription.from_fields(fields)
    assert ModelDescription.from_fields(found.to_fields()) == found
    return parameters(found)


def _cases(kind: str) -> list[dict[str, Any]]:
    cases = [
        json.loads(path.read_text("utf-8")) for path in sorted(VECTORS.glob(f"{kind}-ok*.json"))
    ]
    assert cases
    return cases


_STEP: Final = Message(
    "step", {"rate": 0.5, "names": ["a", None]}, {"w": np.ones((2, 3)), "b": np.array([True])}
)
CHANNEL: Final[list[tuple[Callable[[bytes], object], Sequence[bytes]]]] = [
    (_message, [encode(_STEP), *(bytes.fromhex(case["bytes"]) for case in _cases("message"))]),
    (_frames, [b"".join(split(encode(_STEP), FRAME)), bytes(FRAME)]),
    (_model, [json.dumps(case["description"]).encode() for case in _cases("description")]),
]
