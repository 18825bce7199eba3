"""Cells with a recipe in them: one for a training, a fresh one for each query.

Spec: confinement-channel.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from cloister.cleanroom.inside import ENTRY
from cloister.cleanroom.pipe import Pipe
from cloister.cleanroom.questions import CELL_FRAME_BYTES, CELL_LIMITS, Questions
from cloister.cleanroom.terms import Framework, Terms
from cloister.confinement.cell import Warm
from cloister.confinement.cell_spec import CellSpec

__all__ = ["PRELOADED", "recipe_in", "warm_parent"]

_SHIM: Final = ENTRY.partition(":")[0]
PRELOADED: Final[Mapping[Framework, tuple[str, ...]]] = {
    "tensorflow": ("tensorflow", "keras"),
    "jax": ("jax", "jax.numpy"),
    "torch": ("torch", "torch._dynamo"),
}
"""What a parent loads for recipes that train: also what would be loaded in the first step only."""


def warm_parent(
    terms: Terms,
    framework: Framework,
    *,
    most_bytes: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Warm:
    """Return a parent for this room's cells, not started.

    A recipe that trains itself finds its framework loaded. One that describes a model has NumPy,
    and loads what else it wants when it runs.

    Args:
        terms: Of the room.
        framework: The one that a recipe finds.
        most_bytes: What a cell gets where the terms give it more: for cells that are made often.
        environment: What the parent finds while it loads; a cell has none.
    """
    cell = terms.cell
    memory_bytes = cell.memory_bytes if most_bytes is None else min(cell.memory_bytes, most_bytes)
    preload = PRELOADED[framework] if terms.training.by == "recipe" else ()
    return Warm(
        CellSpec(
            memory_bytes=memory_bytes,
            scratch_bytes=cell.scratch_bytes,
            processor_s=cell.processor_s,
            tasks=cell.tasks,
            accept_missing=frozenset(cell.accept_missing),
            preload=("numpy", _SHIM, *preload),
            reserve=True,
            environment=environment or {},
        )
    )


@contextlib.contextmanager
def recipe_in(
    warm: Warm, files: Mapping[str, bytes], *, deadline: Callable[[], float]
) -> Iterator[Questions]:
    """Put a recipe into a fresh cell and talk with it; at the end nothing of the cell is left.

    Args:
        warm: Started.
        files: The recipe's, checked against the terms.
        deadline: Seconds that there are left for an answer; asked each time.
    """
    with warm.fork(files, ENTRY) as cell:
        pipe = Pipe(os.dup(cell.fileno()), CELL_FRAME_BYTES, CELL_LIMITS)
        try:
            yield Questions(pipe, deadline=deadline)
        finally:
            pipe.close()
