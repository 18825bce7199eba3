"""An exposed ONNX part as steps, for engines of the untrusted middle that are no ONNX runtime.

Nothing that they compute is believed, so an operator that an engine does not know is refused when
the part is loaded, and everything else may be as wrong as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloister.errors import ConfigError
from cloister.inference.tensor import Array
from cloister.partition.graph import PartFile
from cloister.partition.onnx_file import onnx_module, read_onnx

__all__ = ["Attributes", "Run", "Step", "Steps", "new_shape", "pads_of", "read_steps"]

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One operator.

    Attributes:
        operator: ONNX's word.
        inputs: Names of tensors; an empty one is an input that is not given.
        output: The name of the first tensor that it gives.
        attributes: As the file has them; texts are bytes.
    """

    operator: str
    inputs: Sequence[str]
    output: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Steps:
    """A part, to be run from its first step to its last.

    Attributes:
        constants: By name, read-only.
        steps: In order.
    """

    constants: Mapping[str, Array]
    steps: Sequence[Step]


def read_steps(part: PartFile, known: Collection[str], *, engine: str) -> Steps:
    """Return a part's constants and steps.

    Args:
        part: ONNX.
        known: The operators that the engine has.
        engine: Its name, for a person.

    Raises:
        ConfigError: `config.value`: another format, or an operator that the engine has not.
        MalformedError: `model.malformed`.
        RefusedError: `model.operator` or `model.unsafe`.
    """
    if part.format != "onnx":
        raise ConfigError(f"{engine} runs parts of format onnx only", code="config.value")
    model, onnx = read_onnx(part.data), onnx_module()
    unknown = sorted({node.op_type for node in model.graph.node}.difference(known))
    if unknown:
        raise ConfigError(
            f"this part has operators that {engine} does not run here: {', '.join(unknown)}",
            code="config.value",
        )
    return Steps(
        {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer},
        [
            Step(
                node.op_type,
                tuple(node.input),
                node.output[0],
                {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute},
            )
            for node in model.graph.node
        ],
    )


def pads_of(attributes: Attributes, axes: int) -> list[tuple[int, int]]:
    """Return what stands before and behind each axis of an image.

    Raises:
        ValueError: The file leaves it to the size of what comes.
    """
    if attributes.get("auto_pad", b"NOTSET") not in {b"NOTSET", b"VALID"}:
        raise ValueError("padding that follows the input's size")
    pads = list(attributes.get("pads") or [0] * (2 * axes))
    return list(zip(pads[:axes], pads[axes:], strict=True))


def new_shape(now: Sequence[int], asked: Sequence[int], attributes: Attributes) -> list[int]:
    """Return what `Reshape` asks for; zeros keep an axis as it is, unless they are allowed.

    Raises:
        IndexError: A zero where there is no such axis.
    """
    if attributes.get("allowzero", 0):
        return list(asked)
    return [now[axis] if size == 0 else size for axis, size in enumerate(asked)]
