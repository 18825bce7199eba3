"""LiteRT files: what is read, what is refused, what is damaged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError, RefusedError

flatbuffers = pytest.importorskip("flatbuffers", reason="LiteRT is not installed")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="LiteRT is missing")

from cloister.partition import litert_file
from cloister.partition.litert_file import read_litert

MODELS = Path(__file__).parents[2] / "data" / "models"
DIGITS = (MODELS / "digits.tflite").read_bytes()


def changed(change: Callable[[Any], object]) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(bytearray(DIGITS))
    change(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_what_is_in_a_model() -> None:
    file = read_litert(DIGITS)
    assert [file.tensors[i].name for i in (*file.inputs, *file.outputs)] == ["image", "output_0"]
    assert file.tensors[file.inputs[0]].open_shape == (-1, 8, 8, 1)
    assert [operator.code for operator in file.operators] == [3, 77, 45, 83, 22, 9, 25]
    assert file.operators[0].options.fusedActivationFunction == 1
    assert len({tensor.name for tensor in file.tensors}) == len(file.tensors)


def test_names_that_are_missing_or_stand_twice_are_made_unique() -> None:
    def same(model: Any) -> None:
        for tensor in model.subgraphs[0].tensors[1:]:
            tensor.name = "t"
        model.subgraphs[0].tensors[2].name = None

    names = [tensor.name for tensor in read_litert(changed(same)).tensors]
    assert len(set(names)) == len(names)
    assert "tensor_2" in names


def graph(model: Any) -> Any:
    return model.subgraphs[0]


def custom(model: Any) -> None:
    model.operatorCodes[0].customCode = "Evil"


def code(number: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.operatorCodes[0].builtinCode = number
        model.operatorCodes[0].deprecatedBuiltinCode = min(number, 127)

    return change


def custom_options(model: Any) -> None:
    graph(model).operators[0].customOptions = np.ones(4, np.uint8)


def mutating(model: Any) -> None:
    graph(model).operators[0].mutatingVariableInputs = [True]


def variable(model: Any) -> None:
    graph(model).tensors[0].isVariable = True


def sparse(model: Any) -> None:
    graph(model).tensors[0].sparsity = schema.SparsityParametersT()


def text(model: Any) -> None:
    graph(model).tensors[0].type = schema.TensorType.STRING


def two_graphs(model: Any) -> None:
    model.subgraphs.append(model.subgraphs[0])


def outside(model: Any) -> None:
    model.buffers[1].offset, model.buffers[1].size = 4096, 64


def external(model: Any) -> None:
    graph(model).tensors[1].externalBuffer = 1


def other_options(model: Any) -> None:
    operator = graph(model).operators[0]
    operator.builtinOptionsType = schema.BuiltinOptions.WhileOptions
    operator.builtinOptions = schema.WhileOptionsT()


REFUSED = [
    custom,
    *map(code, (7, 16, 27, 32, 51, 118, 119, 129, 142, 143, 145, 146, 206, 300)),
    custom_options,
    mutating,
    variable,
    sparse,
    text,
    two_graphs,
    outside,
    external,
    other_options,
]


@pytest.mark.parametrize("change", REFUSED)
def test_what_is_not_allowed_is_refused(change: Callable[[Any], None]) -> None:
    with pytest.raises(RefusedError) as caught:
        read_litert(changed(change))
    assert caught.value.code == "model.operator"


def version(model: Any) -> None:
    model.version = 2


def no_code(model: Any) -> None:
    graph(model).operators[0].opcodeIndex = 99


def no_buffer(model: Any) -> None:
    graph(model).tensors[0].buffer = 999


def short(model: Any) -> None:
    buffer = max((b for b in model.buffers if b.data is not None), key=lambda b: len(b.data))
    buffer.data = buffer.data[:-1]


def negative(model: Any) -> None:
    graph(model).tensors[0].shape = [-5, 8, 8, 1]


def huge(model: Any) -> None:
    graph(model).tensors[0].shape = [2**30, 2**30, 1, 1]


def ranks(model: Any) -> None:
    graph(model).tensors[0].shape = [1] * 20


def other_signature(model: Any) -> None:
    graph(model).tensors[0].shapeSignature = [-1, 8]


def no_input(model: Any) -> None:
    graph(model).inputs = [99]


def same_inputs(model: Any) -> None:
    graph(model).inputs = [0, 0]


def constant_input(model: Any) -> None:
    graph(model).inputs = [1]


def no_outputs(model: Any) -> None:
    graph(model).outputs = []


def unmade(model: Any) -> None:
    graph(model).operators.pop()


def backwards(model: Any) -> None:
    graph(model).operators.reverse()


def far(model: Any) -> None:
    graph(model).operators[0].inputs = [0, 1, 2**31 - 1]


def below(model: Any) -> None:
    graph(model).operators[0].outputs = [-1]


def twice(model: Any) -> None:
    graph(model).operators.append(graph(model).operators[-1])


def name(model: Any) -> None:
    model.signatureDefs = []
    graph(model).tensors[0].name = "two\nlines"


BROKEN = [
    version,
    no_code,
    no_buffer,
    short,
    negative,
    huge,
    ranks,
    other_signature,
    no_input,
    same_inputs,
    constant_input,
    no_outputs,
    unmade,
    backwards,
    far,
    below,
    twice,
    name,
]


@pytest.mark.parametrize("change", BROKEN)
def test_what_does_not_fit_is_malformed(change: Callable[[Any], None]) -> None:
    with pytest.raises(MalformedError) as caught:
        read_litert(changed(change))
    assert caught.value.code == "model.malformed"


def test_constants_are_not_used_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors of one buffer are many constants for whoever reads them all."""

    def shared(model: Any) -> None:
        tensors = graph(model).tensors
        large = max(tensors, key=lambda each: int(np.prod(each.shape)) * (each.buffer > 0))
        for number in range(50):
            tensors.append(copy.copy(large))
            tensors[-1].name = f"again {number}"

    data = changed(shared)
    assert len(read_litert(data).tensors) > 50
    monkeypatch.setattr(litert_file, "MAX_BYTES", len(data))
    with pytest.raises(MalformedError, match="again and again") as caught:
        read_litert(data)
    assert caught.value.code == "model.malformed"
