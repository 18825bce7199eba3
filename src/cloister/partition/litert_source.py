"""LiteRT models as sources of parts: cut in the flatbuffer, without TensorFlow.

A part runs the same operators on the same numbers as the whole, so the parts together give the
whole's answer bit for bit where the kernels of one machine do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from cloister.crypto.digest import sha256
from cloister.errors import ConfigError, RefusedError
from cloister.partition.graph import Graph, Node, PartFile, TensorInfo, nodes_between
from cloister.partition.litert_file import LiteRTFile, Operator, read_litert
from cloister.partition.litert_operators import DATATYPES, OPERATORS
from cloister.partition.litert_unfuse import unfused_file
from cloister.partition.litert_write import pruned, write_litert

__all__ = ["LiteRTSource", "litert_part", "litert_with_outputs", "unfused_part"]


class LiteRTSource:
    """A `.tflite` model that was read as data."""

    bound: Final = 0.0

    def __init__(self, data: bytes, *, unfused: bool = False) -> None:
        """Read a model.

        Args:
            data: The file.
            unfused: Make the activations that are fused into linear operators operators of their
                own, so that the linear outputs are tensors: they can be cut at, and checked.

        Raises:
            MalformedError: `model.malformed`.
            RefusedError: `model.operator`: an operator, or a part of the format, that is not
                allowed.
            MissingExtraError: LiteRT is not installed.
        """
        file = read_litert(data)
        self._file: Final = unfused_file(file) if unfused else file
        self.digest: Final = sha256(data)
        self._variable: Final = _variable(self._file)
        self.graph: Final = _graph(self._file, self._variable)
        self._index: Final = {tensor.name: i for i, tensor in enumerate(self._file.tensors)}

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> PartFile:
        """Return the part between, as `Source.part` says."""
        nodes, read, made = nodes_between(self.graph, inputs, outputs)
        chosen = {self._index[name] for node in nodes for name in node.outputs}
        wanted = {self._index[name] for node in nodes for name in node.constants}
        operators: list[Operator] = []
        for operator in reversed(self._file.operators):
            if chosen.isdisjoint(operator.outputs) and wanted.isdisjoint(operator.outputs):
                continue
            operators.append(operator)
            wanted.update(i for i in operator.inputs if i >= 0 and i not in self._variable)
        operators.reverse()
        return litert_part(
            pruned(
                self._file,
                operators,
                [self._index[name] for name in read],
                [self._index[name] for name in made],
            )
        )


def litert_part(file: LiteRTFile) -> PartFile:
    """Return a model as a file that runs.

    Raises:
        UnsupportedError: `model.convert`: the file would be larger than 2 GiB.
    """
    return PartFile(
        "litert",
        write_litert(file),
        tuple(_info(file, index) for index in file.inputs),
        tuple(_info(file, index) for index in file.outputs),
    )


def litert_with_outputs(part: PartFile, names: Sequence[str]) -> PartFile:
    """Return a part that gives these tensors too, after its own outputs.

    Raises:
        ConfigError: `config.value`: it has no such tensor.
    """
    file = read_litert(part.data)
    variable = _variable(file)
    index = {file.tensors[i].name: i for i in variable}
    unknown = [name for name in names if name not in index]
    if unknown:
        raise ConfigError(f"the part has no tensor {unknown[0]}", code="config.value")
    outputs = dict.fromkeys((*file.outputs, *(index[name] for name in names)))
    return litert_part(replace(file, outputs=tuple(outputs)))


def unfused_part(part: PartFile) -> PartFile:
    """Return a LiteRT part whose linear operators have no fused activations."""
    return litert_part(unfused_file(read_litert(part.data)))


def _variable(file: LiteRTFile) -> frozenset[int]:
    """Return the tensors that depend on an input."""
    variable = set(file.inputs)
    for operator in file.operators:
        if not variable.isdisjoint(operator.inputs):
            variable.update(operator.outputs)
    return frozenset(variable)


def _graph(file: LiteRTFile, variable: frozenset[int]) -> Graph:
    if not variable.issuperset(file.outputs):
        raise RefusedError(
            "the TensorFlow Lite model has an output that depends on no input",
            code="model.operator",
        )

    def names(indexes: Iterable[int], *, of_variables: bool) -> tuple[str, ...]:
        return tuple(
            file.tensors[i].name for i in indexes if i >= 0 and (i in variable) is of_variables
        )

    nodes = tuple(
        Node(
            file.tensors[operator.outputs[0]].name,
            OPERATORS[operator.code],
            tuple(dict.fromkeys(names(operator.inputs, of_variables=True))),
            names(operator.outputs, of_variables=True),
            tuple(dict.fromkeys(names(operator.inputs, of_variables=False))),
        )
        for operator in file.operators
        if not variable.isdisjoint(operator.inputs)
    )
    return Graph(
        "litert",
        tuple(_info(file, index) for index in file.inputs),
        tuple(_info(file, index) for index in file.outputs),
        nodes,
        {file.tensors[i].name: _info(file, i) for i in sorted(variable)},
    )


def _info(file: LiteRTFile, index: int) -> TensorInfo:
    tensor = file.tensors[index]
    return TensorInfo(tensor.name, DATATYPES[tensor.type].name, tensor.open_shape)
