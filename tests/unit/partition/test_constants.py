"""A planted constant is found, in the forms that converters give numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cloister.errors import RefusedError
from cloister.partition import constants
from cloister.partition.constants import require_no_constants

RNG = np.random.default_rng(5)
KERNEL = RNG.standard_normal((3, 3, 24, 24)).astype("<f4")
SECRET = {"shape": np.arange(64, dtype=np.int64), "kernel": KERNEL}
NOISE = RNG.integers(0, 256, 100_000, np.uint8).tobytes()
PLACE = 31_337  # aligned to nothing


def planted(piece: bytes) -> bytes:
    return NOISE[:PLACE] + piece + NOISE[PLACE:]


def bfloat(array: Any) -> bytes:
    return bytes((array.view("<u4") >> 16).astype("<u2").tobytes())


FORMS: dict[str, Callable[[Any], bytes]] = {
    "as it is": lambda a: a.tobytes(),
    "swapped": lambda a: a.byteswap().tobytes(),
    "half": lambda a: a.astype("<f2").tobytes(),
    "double": lambda a: a.astype("<f8").tobytes(),
    "bfloat": bfloat,
    "half, swapped": lambda a: a.astype(">f2").tobytes(),
    "output first": lambda a: a.transpose(3, 2, 0, 1).tobytes(),
    "input last": lambda a: a.transpose(3, 0, 1, 2).tobytes(),
    "input last, half": lambda a: a.transpose(3, 0, 1, 2).astype("<f2").tobytes(),
    "twisted": lambda a: a.transpose(1, 0, 3, 2).tobytes(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_planted_constant_is_found(form: Callable[[Any], bytes]) -> None:
    with pytest.raises(RefusedError, match="constant kernel") as caught:
        require_no_constants(SECRET, planted(form(KERNEL)))
    assert caught.value.code == "partition.constant"


@pytest.mark.parametrize("start", [0, 1, 1000, KERNEL.size - 4])
def test_four_numbers_are_enough(start: int) -> None:
    with pytest.raises(RefusedError) as caught:
        require_no_constants(SECRET, planted(KERNEL.reshape(-1)[start : start + 4].tobytes()))
    assert caught.value.detail == f"at byte {PLACE}"


def test_bytes_of_quantised_weights_are_found() -> None:
    weights = RNG.integers(-128, 128, 4000, np.int8)
    with pytest.raises(RefusedError):
        require_no_constants({"w": weights}, planted(weights[1234:1250].tobytes()))


def test_what_is_not_there_is_not_found() -> None:
    assert require_no_constants(SECRET, NOISE) > KERNEL.size
    other = RNG.standard_normal(KERNEL.shape).astype("<f4")
    require_no_constants(SECRET, planted(other.tobytes()))
    require_no_constants(SECRET, b"")
    require_no_constants(SECRET, b"short")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(400, "f4"),
        np.ones(400, "f4"),
        np.full(400, 0.123, "f4"),
        np.arange(400, dtype="f4"),
        np.arange(400, dtype="i8"),
        np.tile(np.array([0.5, 0.25], "f4"), 200),
        np.zeros(400, "i1"),
        np.array([1.5, 2.5, 3.5], "f4"),
        np.zeros(0, "f4"),
    ],
)
def test_what_says_nothing_is_left_out(array: Any) -> None:
    assert require_no_constants({"trivial": array}, array.tobytes()) == 0


def test_runs_over_the_edges_of_chunks_and_batches_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "_CHUNK", 64)
    monkeypatch.setattr(constants, "_BATCH", 100)
    monkeypatch.setattr(constants, "_PIECE", 50)
    numbers = RNG.standard_normal(300).astype("<f4")
    for start in (0, 47, 48, 49, 50, 296):
        for place in range(40, 72):
            data = NOISE[:place] + numbers[start : start + 4].tobytes() + NOISE[:20]
            with pytest.raises(RefusedError) as caught:
                require_no_constants({"first": KERNEL[0, 0, 0], "n": numbers}, data)
            assert caught.value.detail == f"at byte {place}"
            assert "constant n " in str(caught.value)
