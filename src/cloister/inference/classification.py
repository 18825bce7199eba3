"""Scores become classes before they leave: the best few, with their labels.

Which classes these are is decided by `oblivious`; labels are picked by touching all of them. What
is written is `score:number:label` (Triton's form), whose length follows from score and label.

Spec: serving-v1, clauses SRV-70 to SRV-72.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloister.errors import MalformedError
from cloister.inference.model import Model
from cloister.inference.model_config import Classification
from cloister.inference.oblivious import at_least, choose_rows, effort, top_k
from cloister.inference.tensor import DATATYPES, Array, TensorSpec

__all__ = [
    "Effort",
    "Labels",
    "Pick",
    "classify",
    "effort_of",
    "output_of",
    "pick",
    "require_classes",
    "require_moderate",
]

_NUMBERS: Final = frozenset("biuf")
_MAX_CLASSES: Final = 65_536
_MAX_TOLD: Final = 65_536
_MAX_TOUCHED: Final = 2**31  # bytes, about two seconds
_PIECE_BYTES: Final = 2**26  # that are touched before somebody looks at the time
Pick = tuple[Array, npt.NDArray[np.int64], list[str], npt.NDArray[np.uint8]]
"""Scores, places, labels and whether each is told, all of one number of elements."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What picking classes takes: it follows from shapes, and from no score.

    Attributes:
        told: Classes, of all rows together.
        touched: Bytes that are read for it.
    """

    told: int
    touched: int


class Labels:
    """The names of classes, as rows of one length."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the names in the order of the classes."""
        coded = [name.encode() for name in names]
        self.count: Final = len(coded)
        self._width: Final = max(map(len, coded))
        padded = b"".join(each.ljust(self._width, b"\0") for each in coded)
        self._table: Final = np.frombuffer(padded, np.uint8).reshape(self.count, self._width)

    @property
    def touched(self) -> int:
        """How many bytes are read for one name."""
        return self._table.size

    def at(self, places: npt.NDArray[np.int64]) -> list[str]:
        """Return the names at places, in row-major order; every name is touched for each."""
        data = choose_rows(self._table, places.reshape(-1)).tobytes()
        rows = range(0, len(data), self._width)
        return [data[first : first + self._width].rstrip(b"\0").decode() for first in rows]


def output_of(outputs: Sequence[TensorSpec], wish: Classification) -> TensorSpec:
    """Return the output whose scores are classified.

    Raises:
        MalformedError: `model.malformed`: there is none of that name, or several without one.
    """
    found = [spec for spec in outputs if wish.output in {"", spec.name}]
    if len(found) != 1:
        raise _wrong("classification does not name one output of the model")
    return found[0]


def require_classes(model: Model, wish: Classification, labels: Labels | None) -> None:
    """Refuse a configuration that does not fit the model.

    Raises:
        MalformedError: `model.malformed`.
    """
    spec = output_of(model.outputs, wish)
    if not spec.shape or (0 <= spec.shape[-1] < wish.top):
        raise _wrong(f"output {spec.name} has fewer than {wish.top} classes")
    if spec.shape[-1] > _MAX_CLASSES:
        raise _wrong(f"output {spec.name} has more than {_MAX_CLASSES} classes")
    if labels is not None and spec.shape[-1] not in {-1, labels.count}:
        raise _wrong(f"output {spec.name} has another number of classes than labels.json")
    dtype = DATATYPES[spec.datatype]
    if wish.at_least is not None and not _is_within(wish.at_least, dtype):
        raise _wrong(f"at_least is outside of {spec.datatype}, which output {spec.name} has")
    size = spec.shape[-1] if labels is None else labels.count
    one = effort_of(1, max(size, wish.top), wish, dtype, labels)
    if one.touched > _MAX_TOUCHED:
        raise _wrong(f"{wish.top} of so many classes with such labels take too long for one row")


def _is_within(bound: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "b":
        return 0 <= bound <= 1
    ends = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return float(ends.min) <= bound <= float(ends.max) and (
        dtype.kind == "f" or math.ceil(bound) <= int(ends.max)
    )


def effort_of(
    rows: int, size: int, wish: Classification, dtype: np.dtype[Any], labels: Labels | None
) -> Effort:
    """Return what picking classes takes.

    Args:
        rows: Rows of scores.
        size: Scores of each.
        wish: How many classes are told.
        dtype: The scores'.
        labels: Of the classes.
    """
    names = 0 if labels is None else wish.top * labels.touched
    return Effort(rows * wish.top, rows * (effort(size, wish.top, dtype) + names))


def require_moderate(efforts: Iterable[Effort]) -> None:
    """Refuse a query whose classes take more than a server does for one.

    Raises:
        MalformedError: `message.malformed`.
    """
    parts = list(efforts)
    told, touched = sum(each.told for each in parts), sum(each.touched for each in parts)
    if told > _MAX_TOLD or touched > _MAX_TOUCHED:
        raise MalformedError(
            "that many classes of that many rows take too long; ask for fewer at a time",
            code="message.malformed",
        )


def _go_on() -> None:
    """Look at nothing."""


def pick(
    scores: Array,
    wish: Classification,
    labels: Labels | None,
    *,
    between: Callable[[], None] = _go_on,
) -> Pick:
    """Return the best classes of the last axis, without a trace of which they are.

    How much that may be is for the caller to bound: `require_moderate`.

    Args:
        scores: A model's.
        wish: How many classes are told, and from which score on.
        labels: Of the classes.
        between: Called before each piece of the work and at its end; what it raises ends the work.

    Raises:
        MalformedError: `message.malformed`: the scores are no such classes.
    """
    size = scores.shape[-1] if scores.ndim else 0
    fits = 1 <= wish.top <= size <= _MAX_CLASSES and (labels is None or labels.count == size)
    if scores.dtype.kind not in _NUMBERS or not fits:
        raise MalformedError(
            f"this output has no {wish.top} classes that could be told", code="message.malformed"
        )
    rows = scores.reshape(-1, size)
    touched = effort_of(1, size, wish, scores.dtype, labels).touched
    step = max(1, _PIECE_BYTES // touched)
    pieces: list[Pick] = []
    for first in range(0, max(len(rows), 1), step):
        between()
        pieces.append(_pick(rows[first : first + step], wish, labels))
    between()
    shape = (*scores.shape[:-1], wish.top)
    best, places, told = (
        np.concatenate([piece[i] for piece in pieces]).reshape(shape) for i in (0, 1, 3)
    )
    return best, places, [name for piece in pieces for name in piece[2]], told


def _pick(rows: Array, wish: Classification, labels: Labels | None) -> Pick:
    best, places = top_k(rows, wish.top)
    told = np.ones(best.shape, np.uint8)
    if wish.at_least is not None:
        told = at_least(best, wish.at_least)
    names = [""] * best.size if labels is None else labels.at(places)
    return best, places, names, told


def classify(
    scores: Array,
    wish: Classification,
    labels: Labels | None,
    *,
    between: Callable[[], None] = _go_on,
) -> npt.NDArray[np.object_]:
    """Return the best classes as texts `score:number` or `score:number:label`, falling.

    A class below `at_least` is the empty text. `between` is as in `pick`.

    Raises:
        MalformedError: `message.malformed`: the scores are no such classes.
    """
    best, places, names, told = pick(scores, wish, labels, between=between)
    flat = zip(
        best.ravel().tolist(), places.ravel().tolist(), names, told.ravel().tolist(), strict=True
    )
    end = "" if labels is None else ":"
    texts = [f"{score}:{place}{end}{name}" * shown for score, place, name, shown in flat]
    result = np.empty(best.size, object)
    result[:] = texts
    return result.reshape(best.shape)


def _wrong(problem: str) -> MalformedError:
    return MalformedError(problem, code="model.malformed")
