"""Every place where a model can be cut, with all that crosses it.

Inside a residual or dense block several tensors cross at once: one cut has them all, for whoever
sees one of them sees the others too.
"""

from __future__ import annotations

from cloister.errors import ConfigError
from cloister.partition.graph import Cut, Graph

__all__ = ["all_cuts", "cut_at"]


def all_cuts(graph: Graph) -> tuple[Cut, ...]:
    """Return the cut at every position, from the input (0) to the output (after the last node).

    Raises:
        ConfigError: `config.value`: nothing crosses somewhere: the outputs depend on no input.
    """
    last = _last_readers(graph)
    alive = {info.name: None for info in graph.inputs if last.get(info.name, -1) >= 0}
    cuts = [Cut(0, tuple(alive))]
    for position, node in enumerate(graph.nodes, start=1):
        for name in node.inputs:
            if last[name] < position:
                alive.pop(name, None)
        alive.update((name, None) for name in node.outputs if last.get(name, -1) >= position)
        cuts.append(Cut(position, tuple(alive)))
    if not all(cut.tensors for cut in cuts):
        raise ConfigError("the model's outputs do not depend on its inputs", code="config.value")
    return tuple(cuts)


def cut_at(graph: Graph, position: int) -> Cut:
    """Return the cut at a position.

    Raises:
        ConfigError: `config.value`: the model has no such position.
    """
    cuts = all_cuts(graph)
    if not 0 <= position < len(cuts):
        raise ConfigError(
            f"the model can be cut at 0 to {len(cuts) - 1}, not at {position}", code="config.value"
        )
    return cuts[position]


def _last_readers(graph: Graph) -> dict[str, int]:
    """Return the index of the last node that reads each tensor; an output is read at the end."""
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        last.update(dict.fromkeys(node.inputs, index))
    last.update((info.name, len(graph.nodes)) for info in graph.outputs)
    return last
