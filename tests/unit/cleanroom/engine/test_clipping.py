from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloister.cleanroom.engine.clipping import add_clipped

WILD = st.floats(width=32, allow_nan=True, allow_infinity=True)
USUAL = st.floats(-10, 10, width=32)


def clipped(rows: list[Any], clip: float, takes_part: list[bool]) -> Any:
    """Return the sum for two weights, of 3 and of 2 by 2 numbers."""
    total = np.zeros(7)
    first = np.array([row[:3] for row in rows], np.float32)
    second = np.array([row[3:] for row in rows], np.float32).reshape(-1, 2, 2)
    add_clipped(total, [first, second], clip=clip, takes_part=np.array(takes_part))
    return total


@given(
    st.lists(WILD, min_size=7, max_size=7),
    st.lists(USUAL, min_size=7, max_size=7),
    st.floats(0.0078125, 128),
)
def test_contributions_are_bounded(one: list[float], other: list[float], clip: float) -> None:
    """Whatever a gradient holds, it adds at most the norm, and takes nothing from others."""
    alone = clipped([one, other], clip, [True, False])
    without = clipped([one, other], clip, [False, True])
    both = clipped([one, other], clip, [True, True])
    assert np.linalg.norm(alone) <= clip
    assert np.linalg.norm(without) <= clip
    if not np.isfinite(np.array(one, np.float32)).all():
        assert not alone.any()
    np.testing.assert_allclose(both, alone + without, rtol=1e-5, atol=1e-6)
    if np.linalg.norm(other) < clip * 0.999:
        np.testing.assert_allclose(without, other, rtol=1e-5, atol=1e-30)


def test_a_long_one_keeps_its_direction() -> None:
    found = clipped([[30, 0, 0, 40, 0, 0, 0]], 1.0, [True])
    np.testing.assert_allclose(found, [0.6, 0, 0, 0.8, 0, 0, 0], rtol=1e-5)


def test_sums_of_portions_add_up() -> None:
    rows = [[float(n == m) for m in range(7)] for n in range(7)]
    total = np.zeros(7)
    for row in rows:
        total += clipped([row], 0.5, [True])
    np.testing.assert_allclose(total, clipped(rows, 0.5, [True] * 7))
    np.testing.assert_allclose(total, 0.5, rtol=1e-5)


def test_nobody_adds_nothing() -> None:
    assert not clipped([[1.0] * 7], 1.0, [False]).any()
    assert not clipped([[0.0] * 7], 1.0, [True]).any()
