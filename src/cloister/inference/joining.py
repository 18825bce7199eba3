"""Which waiting queries share a computation, and whose answer is whose. No threads, no clock.

Queries are joined along the first axis, and only where that cannot change what they ask: every
input and output has an open first axis, other axes are equal, and the model remembers nothing.

Spec: serving-v1, clauses SRV-50 to SRV-52.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from cloister.errors import CloisterError, MalformedError
from cloister.inference.formats import mixes, remembers
from cloister.inference.model import Model
from cloister.inference.tensor import DATATYPES, Array

__all__ = ["Arrays", "can_join", "choose", "join", "require_rows_apart", "rows_of", "split"]

Arrays = Mapping[str, Array]
_TRIAL_ROWS: Final = 3
_TRIAL_SEED: Final = 20
_MIDDLE: Final = 1
# What the row in the middle is made of: too large, too small, and no numbers at all.
_EXTREMES: Final = (1e6, -1e6, 0.0, 1e30, float("inf"), float("-inf"), float("nan"))
# How far rows that were computed together may be from the same rows computed alone.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-4


def can_join(model: Model) -> bool:
    """Tell whether queries of a model may share a computation, by what the model says of itself."""
    specs = (*model.inputs, *model.outputs)
    return not remembers(model) and all(spec.shape[:1] == (-1,) for spec in specs)


def rows_of(inputs: Arrays) -> int | None:
    """Return how many rows a query has; None where its inputs do not agree."""
    sizes = {array.shape[0] if array.ndim else None for array in inputs.values()}
    return sizes.pop() if len(sizes) == 1 else None


def choose(waiting: Sequence[Arrays], *, rows: int) -> list[int]:
    """Return which of the waiting queries go together: the first, and those that fit to it.

    Args:
        waiting: Inputs, oldest first; at least one.
        rows: Most rows of all together; a longer first one goes alone.
    """
    first = waiting[0]
    room = rows - (rows_of(first) or rows)
    chosen = [0]
    for index, other in enumerate(waiting[1:], start=1):
        size = rows_of(other)
        if room <= 0:
            break
        if size is not None and size <= room and _form(other) == _form(first):
            chosen.append(index)
            room -= size
    return chosen


def join(queries: Sequence[Arrays]) -> dict[str, Array]:
    """Return one query of the rows of all, in order."""
    if len(queries) == 1:
        return dict(queries[0])
    return {name: np.concatenate([query[name] for query in queries]) for name in queries[0]}


def split(results: Arrays, sizes: Sequence[int]) -> list[dict[str, Array]]:
    """Return the answers of queries with so many rows each.

    Raises:
        MalformedError: `model.malformed`: the model did not give a row for each row.
    """
    if any(array.shape[:1] != (sum(sizes),) for array in results.values()):
        raise MalformedError("the model does not give a row for each row", code="model.malformed")
    ends = np.cumsum(sizes)[:-1].tolist()
    parts = {name: np.split(array, ends) for name, array in results.items()}
    return [{name: parts[name][i] for name in parts} for i in range(len(sizes))]


def require_rows_apart(model: Model) -> None:
    """Refuse a model in which one row's answer depends on the rows beside it; tried, not proved.

    A model that has an operator by which rows see each other is refused unseen. Then ordinary rows
    are tried beside each other, and on either side of one whose numbers are as far from theirs as
    anybody may send.

    Raises:
        MalformedError: `model.malformed`: it cannot be served in batches.
    """
    if not can_join(model):
        raise _mixes("its first axis is not open everywhere, or it remembers")
    if mixes(model):
        raise _mixes("it has an operator by which rows see each other")
    numbers = np.random.default_rng(_TRIAL_SEED)
    rows = {
        spec.name: _trial(
            (_TRIAL_ROWS, *(max(n, 1) for n in spec.shape[1:])), spec.datatype, numbers
        )
        for spec in model.inputs
    }
    with np.errstate(all="ignore"):
        try:
            alone = [
                model.predict({name: array[index : index + 1] for name, array in rows.items()})
                for index in range(_TRIAL_ROWS)
            ]
            _require_near(model.predict(rows), alone, range(_TRIAL_ROWS))
        except CloisterError as e:
            if e.code == "model.malformed":
                raise
            raise _mixes("it cannot compute the rows that are tried") from e
        for extreme in _EXTREMES:
            odd = {name: array.copy() for name, array in rows.items()}
            for array in odd.values():
                array[_MIDDLE] = _as_far_as(extreme, array.dtype, array[_MIDDLE])
            try:
                together = model.predict(odd)
            except CloisterError:
                continue  # a joined computation that fails is computed row by row
            _require_near(together, alone, [i for i in range(_TRIAL_ROWS) if i != _MIDDLE])


def _require_near(together: Arrays, alone: Sequence[Arrays], indexes: Iterable[int]) -> None:
    for index in indexes:
        for name, array in alone[index].items():
            beside = together[name][index : index + 1]
            near = array.shape == beside.shape and bool(
                np.allclose(array, beside, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)
            )
            if not near:
                raise _mixes(f"output {name} of a row depends on the rows beside it")


def _as_far_as(extreme: float, dtype: np.dtype[Any], usual: Array) -> Any:
    """Return a row's numbers; wider integers stay usual, since they are places in tables."""
    if dtype.kind == "f":
        return np.float64(extreme).astype(dtype)
    if dtype.kind == "b":
        return extreme > 0
    if dtype.itemsize > 1:
        return usual
    ends = np.iinfo(dtype)
    return np.clip(np.nan_to_num(extreme), ends.min, ends.max).astype(dtype)


def _trial(shape: tuple[int, ...], datatype: str, numbers: np.random.Generator) -> Array:
    dtype: np.dtype[Any] = DATATYPES[datatype]
    if dtype.kind == "f":
        return numbers.random(shape).astype(dtype)
    return numbers.integers(0, 2, shape).astype(dtype)


def _form(inputs: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape[1:] for name, array in inputs.items()}


def _mixes(reason: str) -> MalformedError:
    return MalformedError(
        f"the model cannot be served in batches: {reason}",
        code="model.malformed",
        hint="take batching out of its config.json",
    )
