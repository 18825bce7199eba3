"""Scores become classes before they leave: the best few, with their labels.

Which classes these are is decided by `oblivious`; labels are picked by touching all of them. What
is written is `score:number:label` (Triton's form), whose length follows from score and label.

Spec: serving-v1, clauses SRV-70 to SRV-72.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cloister.errors import MalformedError
from cloister.inference.model import Model
from cloister.inference.model_config import Classification
from cloister.inference.oblivious import at_least, choose_rows, top_k
from cloister.inference.tensor import Array, TensorSpec

__all__ = ["Labels", "Pick", "classify", "output_of", "pick", "require_classes"]

_NUMBERS: Final = frozenset("biuf")
Pick = tuple[Array, npt.NDArray[np.int64], list[str], npt.NDArray[np.uint8]]
"""Scores, places, labels and whether each is told, all of one number of elements."""


class Labels:
    """The names of classes, as rows of one length."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take the names in the order of the classes."""
        coded = [name.encode() for name in names]
        self.count: Final = len(coded)
        self._width: Final = max(map(len, coded))
        padded = b"".join(each.ljust(self._width, b"\0") for each in coded)
        self._table: Final = np.frombuffer(padded, np.uint8).reshape(self.count, self._width)

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
    if labels is not None and spec.shape[-1] not in {-1, labels.count}:
        raise _wrong(f"output {spec.name} has another number of classes than labels.json")


def pick(scores: Array, wish: Classification, labels: Labels | None) -> Pick:
    """Return the best classes of the last axis, without a trace of which they are.

    Raises:
        MalformedError: `message.malformed`: the scores are no such classes.
    """
    size = scores.shape[-1] if scores.ndim else 0
    fits = wish.top <= size and (labels is None or labels.count == size)
    if scores.dtype.kind not in _NUMBERS or not fits:
        raise MalformedError(
            f"this output has no {wish.top} classes that could be told", code="message.malformed"
        )
    best, places = top_k(scores, wish.top)
    told = np.ones(best.shape, np.uint8)
    if wish.at_least is not None:
        told = at_least(best, wish.at_least)
    names = [""] * best.size if labels is None else labels.at(places)
    return best, places, names, told


def classify(scores: Array, wish: Classification, labels: Labels | None) -> npt.NDArray[np.object_]:
    """Return the best classes as texts `score:number` or `score:number:label`, falling.

    A class below `at_least` is the empty text.

    Raises:
        MalformedError: `message.malformed`: the scores are no such classes.
    """
    best, places, names, told = pick(scores, wish, labels)
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
