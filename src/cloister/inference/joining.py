"""Which waiting queries share a computation, and whose answer is whose. No threads, no clock.

Queries are joined along the first axis, and only where that cannot change what they ask: every
input and output has an open first axis, other axes are equal, and the model remembers nothing.

Spec: serving-v1, clauses SRV-50 to SRV-52.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from cloister.errors import MalformedError
from cloister.inference.formats import remembers
from cloister.inference.model import Model
from cloister.inference.tensor import DATATYPES, Array

__all__ = ["Arrays", "can_join", "choose", "join", "require_rows_apart", "rows_of", "split"]

Arrays = Mapping[str, Array]
_TRIAL_ROWS: Final = 3
_TRIAL_SEED: Final = 20
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

    Raises:
        MalformedError: `model.malformed`: it cannot be served in batches.
    """
    if not can_join(model):
        raise _mixes("its first axis is not open everywhere, or it remembers")
    numbers = np.random.default_rng(_TRIAL_SEED)
    rows = {
        spec.name: _trial(
            (_TRIAL_ROWS, *(max(n, 1) for n in spec.shape[1:])), spec.datatype, numbers
        )
        for spec in model.inputs
    }
    together = model.predict(rows)
    for index in range(_TRIAL_ROWS):
        alone = model.predict({name: array[index : index + 1] for name, array in rows.items()})
        for name, array in alone.items():
            beside = together[name][index : index + 1]
            near = array.shape == beside.shape and bool(
                np.allclose(array, beside, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)
            )
            if not near:
                raise _mixes(f"output {name} of a row depends on the rows beside it")


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
