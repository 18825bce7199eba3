"""Every place where a model can be cut, with all that crosses it.

Inside a residual or dense block several tensors cross at once: one cut has them all, for whoever
sees one of them sees the others too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from cloister.errors import ConfigError, RefusedError
from cloister.partition.graph import Cut, Graph

__all__ = ["all_cuts", "cut_at", "no_place", "without_examples"]

_MAX_WIDTH: Final = 1024
_MAX_TOGETHER: Final = 1 << 22
# What gives the sizes of a tensor, and nothing of the numbers in it.
_SIZES: Final = frozenset({"SHAPE", "Shape", "Size"})


def all_cuts(graph: Graph) -> tuple[Cut, ...]:
    """Return the cut at every position, from the input (0) to the output (after the last node).

    Raises:
        ConfigError: `config.value`: nothing crosses somewhere: the outputs depend on no input.
        RefusedError: `model.operator`: more than 1024 tensors cross somewhere, or all cuts together
            have more than four million.
    """
    found: list[Cut] = []
    left = _MAX_TOGETHER
    for position, alive in enumerate(_crossing(graph)):
        left -= len(alive)
        if left < 0:
            raise _too_wide("all its cuts together have too many tensors")
        found.append(_cut(position, alive))
    return tuple(found)


def cut_at(graph: Graph, position: int) -> Cut:
    """Return the cut at a position.

    Raises:
        ConfigError: `config.value`: the model has no such position, or as `all_cuts` says.
        RefusedError: `model.operator`: more than 1024 tensors cross there.
    """
    if not 0 <= position <= len(graph.nodes):
        raise ConfigError(
            f"the model can be cut at 0 to {len(graph.nodes)}, not at {position}",
            code="config.value",
        )
    cut = Cut(0, ())
    for at, alive in enumerate(_crossing(graph)):
        if at == position:
            cut = _cut(at, alive)
    return cut


def without_examples(graph: Graph) -> frozenset[str]:
    """Return the tensors that have no row for each example.

    These are numbers by themselves, and what is computed from sizes alone, such as the shape that a
    batch is brought to. Parts are run on some examples of many, so nothing that they say of a batch
    as a whole can be handed over.
    """
    of_sizes: set[str] = set()
    for node in graph.nodes:
        if node.operator in _SIZES or (node.inputs and of_sizes.issuperset(node.inputs)):
            of_sizes.update(node.outputs)
    return frozenset(name for name, info in graph.tensors.items() if not info.shape) | of_sizes


def no_place(cut: Cut, lone: Collection[str]) -> str | None:
    """Return why a model is not cut here: something crosses that has no row for each example.

    Args:
        cut: The cut.
        lone: As `without_examples` has them.
    """
    found = [name for name in cut.tensors if name in lone]
    return f"{found[0]} crosses, which has no row for each example" if found else None


def _crossing(graph: Graph) -> Iterator[Collection[str]]:
    """Yield what crosses at each position; it changes with the next one."""
    last = _last_readers(graph)
    alive = {info.name: None for info in graph.inputs if last.get(info.name, -1) >= 0}
    for position, node in enumerate((None, *graph.nodes)):
        if node is not None:
            for name in node.inputs:
                if last[name] < position:
                    alive.pop(name, None)
            alive.update((name, None) for name in node.outputs if last.get(name, -1) >= position)
        if not alive:
            raise ConfigError(
                "the model's outputs do not depend on its inputs", code="config.value"
            )
        yield alive.keys()


def _cut(position: int, alive: Collection[str]) -> Cut:
    if len(alive) > _MAX_WIDTH:
        raise _too_wide(f"{len(alive)} tensors cross at {position}")
    return Cut(position, tuple(alive))


def _too_wide(what: str) -> RefusedError:
    return RefusedError(
        f"the model is not of a kind that can be cut: {what}", code="model.operator"
    )


def _last_readers(graph: Graph) -> dict[str, int]:
    """Return the index of the last node that reads each tensor; an output is read at the end."""
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        last.update(dict.fromkeys(node.inputs, index))
    last.update((info.name, len(graph.nodes)) for info in graph.outputs)
    return last
