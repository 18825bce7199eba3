"""Whether numbers are finite, and the refusal of an input of which a model makes some that are not.

Nothing can be checked of infinity or of what is no number, and neither is a lie: an honest middle
has them too, where a client sent them, or sent what overflows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cloister.errors import MalformedError

__all__ = ["is_finite", "not_finite", "require_finite"]

Array = npt.NDArray[Any]


def is_finite(array: Array) -> bool:
    """Tell whether all numbers are finite; of types that have no others, they are."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(all="ignore"):
        # A sum that is finite has no number that is not; one that is not may have overflowed.
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


def require_finite(arrays: Mapping[str, Array]) -> None:
    """Refuse an input of which a model makes numbers that are not finite.

    Raises:
        MalformedError: `message.malformed`.
    """
    for name, array in arrays.items():
        if not is_finite(array):
            raise not_finite(name)


def not_finite(tensor: str) -> MalformedError:
    """Return the refusal of an input, by what is not finite of it."""
    return MalformedError(
        "the model cannot run on this input: it makes numbers of it that are not finite; "
        "send finite numbers of a usual size",
        code="message.malformed",
        detail=tensor,
    )
