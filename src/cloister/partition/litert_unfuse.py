"""Fused activations of linear operators taken out, as operators of their own.

Whoever checks a matrix product needs the product: what an activation has cut off cannot be
checked.
"""

from __future__ import annotations

import copy
from dataclasses import replace

from cloister.errors import RefusedError
from cloister.partition.litert_file import LiteRTFile, Operator, Tensor
from cloister.partition.litert_operators import ACTIVATIONS, LINEAR

__all__ = ["unfused_file"]


def unfused_file(file: LiteRTFile) -> LiteRTFile:
    """Return the same model, whose linear operators give what they give before the activation.

    The new tensors are called as the old, with `/linear` at the end.

    Raises:
        RefusedError: `model.operator`: a fused activation that is no operator.
    """
    tensors = list(file.tensors)
    names = {tensor.name for tensor in tensors}
    operators: list[Operator] = []
    for operator in file.operators:
        fused = getattr(operator.options, "fusedActivationFunction", 0)
        if operator.code not in LINEAR or not fused:
            operators.append(operator)
            continue
        if fused not in ACTIVATIONS:
            raise RefusedError(
                f"fused activation {fused} cannot be taken out of its operator",
                code="model.operator",
            )
        (output,) = operator.outputs
        tensors.append(replace(tensors[output], name=_free(tensors[output], names)))
        names.add(tensors[-1].name)
        options = copy.copy(operator.options)
        options.fusedActivationFunction = 0
        operators.append(replace(operator, options=options, outputs=(len(tensors) - 1,)))
        operators.append(Operator(ACTIVATIONS[fused], 1, (len(tensors) - 1,), (output,), 0, None))
    return LiteRTFile(tuple(tensors), tuple(operators), file.inputs, file.outputs)


def _free(tensor: Tensor, names: set[str]) -> str:
    name = f"{tensor.name}/linear"
    while name in names:
        name += "_"
    return name
