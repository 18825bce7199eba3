"""Whether numbers are finite, told quickly."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError
from cloister.partition.finite import is_finite, require_finite


@pytest.mark.parametrize(
    ("array", "finite"),
    [
        (np.zeros((2, 3), np.float32), True),
        (np.full(1000, 3e38, np.float32), True),
        (np.array([3e38, -3e38, 3e38, 3e38], np.float32), True),
        (np.full(100, 60000, np.float16), True),
        (np.array([1, np.nan], np.float32), False),
        (np.array([np.inf, -np.inf], np.float64), False),
        (np.array([-np.inf], np.float16), False),
        (np.zeros((0, 3), np.float32), True),
        (np.array([2**62, 2**62], np.int64), True),
        (np.array([True]), True),
    ],
)
def test_sums_that_overflow_are_not_taken_for_it(array: Any, *, finite: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_finite(array) is finite


def test_the_tensor_is_for_the_log_only() -> None:
    with pytest.raises(CloisterError) as caught:
        require_finite({"good": np.ones(2), "bad": np.full(2, np.nan)})
    assert (caught.value.code, caught.value.detail) == ("message.malformed", "bad")
    assert "bad" not in caught.value.public
