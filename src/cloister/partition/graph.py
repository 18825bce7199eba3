"""A model as data: nodes in an order in which they can run, and the tensors between them.

Nothing here runs a model or imports a tensor library. Readers of the formats make these from files
that they have checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloister.errors import ConfigError

__all__ = ["Cut", "Graph", "Node", "PartFile", "Source", "TensorInfo", "nodes_between"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor that depends on the model's input.

    Attributes:
        name: Unique in its graph.
        datatype: Numpy's name of its type, such as `float32`.
        shape: -1 stands for any size; the first axis is the batch.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One operator.

    Attributes:
        name: Unique in its graph.
        operator: The format's own word: `Conv`, `CONV_2D`, `Conv2D`.
        inputs: Names of tensors that it reads and that are no constants.
        outputs: Names of the tensors that it makes.
        constants: Names of the constants that it reads.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole model.

    Attributes:
        format: `keras`, `onnx` or `litert`.
        inputs: What it takes.
        outputs: What it gives.
        nodes: In an order in which they can run.
        tensors: Every tensor that is no constant, by name.
    """

    format: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: tuple[Node, ...]
    tensors: Mapping[str, TensorInfo]


@dataclass(frozen=True, slots=True)
class Cut:
    """A place between two nodes.

    Attributes:
        position: `nodes[:position]` lie before it; 0 is the input itself.
        tensors: What crosses it, in the order of production.
    """

    position: int
    tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartFile:
    """A part of a model as a file that runs by itself.

    Attributes:
        format: `onnx` or `litert`.
        data: The file.
        inputs: What it takes, named as in the whole model.
        outputs: What it gives, named as in the whole model.
    """

    format: str
    data: bytes
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Source(Protocol):
    """A model that was read as data."""

    @property
    def graph(self) -> Graph:
        """What is in it."""
        ...

    @property
    def digest(self) -> bytes:
        """SHA-256 of the file."""
        ...

    @property
    def bound(self) -> float:
        """How far its parts, one after the other, may differ from the whole; 0 is bit for bit.

        A share of the largest magnitude in the whole's answer, or of 1 where that is smaller.
        """
        ...

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> PartFile:
        """Return a file with exactly the nodes between, and no constant that they do not read.

        An output that is among the inputs passes by the part and is not in the file; neither is an
        input that no node of the part reads. Who runs parts one after the other keeps what each
        gave, by name.

        Raises:
            ConfigError: `config.value`: no such tensor, nothing between, or the outputs depend on
                more than these inputs.
            UnsupportedError: `model.convert`: the part cannot be made into a file that runs.
        """
        ...


def nodes_between(
    graph: Graph, inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[tuple[Node, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the nodes of a part, the inputs that they read, and the outputs that they make.

    Raises:
        ConfigError: `config.value`: no such tensor, nothing between, or the outputs depend on more
            than these inputs.
    """
    _require_known(graph, (*inputs, *outputs))
    given = set(inputs)
    wanted = set(outputs) - given
    made = tuple(name for name in dict.fromkeys(outputs) if name in wanted)
    chosen: list[Node] = []
    for node in reversed(graph.nodes):
        if wanted.isdisjoint(node.outputs):
            continue
        chosen.append(node)
        wanted.difference_update(node.outputs)
        wanted.update(name for name in node.inputs if name not in given)
    if wanted:
        raise ConfigError(
            f"the part needs {_listed(wanted)}, which is not among its inputs", code="config.value"
        )
    if not chosen:
        raise ConfigError("no operator lies between these tensors", code="config.value")
    chosen.reverse()
    read = {name for node in chosen for name in node.inputs}
    return tuple(chosen), tuple(name for name in dict.fromkeys(inputs) if name in read), made


def _require_known(graph: Graph, names: Iterable[str]) -> None:
    unknown = [name for name in names if name not in graph.tensors]
    if unknown:
        raise ConfigError(f"the model has no tensor {_listed(unknown)}", code="config.value")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:5])
