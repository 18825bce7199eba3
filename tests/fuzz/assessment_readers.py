"""Readers of what an assessment is given and of what it left, each with good bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from cloister.partition.assess.sample import read_sample
from cloister.partition.assess.state import Finished, read_state, write_state
from unit.partition.assess.report_cases import pictures, report

__all__ = ["ASSESSMENTS"]

_KEY: Final = bytes(32)


def _archive(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def _state() -> bytes:
    some = {name: made for name, made in pictures(1).items() if name.endswith("maps")}
    finished = Finished(pictures=some, remarks={"cut/1": ("said",)}, skipped={"cut/2": "why"})
    return write_state(finished, replace(report(cuts=1), recommended=None), _KEY)


ASSESSMENTS: Final[Sequence[tuple[Callable[[bytes], object], list[bytes]]]] = (
    (
        read_sample,
        [
            _archive(images=np.ones((3, 4, 4, 1), np.float32), labels=np.arange(3)),
            _archive(x=np.ones((2, 3, 3), np.uint8), y=np.eye(2), property=np.arange(2)),
        ],
    ),
    (lambda data: read_state(data, _KEY), [_state()]),
)
