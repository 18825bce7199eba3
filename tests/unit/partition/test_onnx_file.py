"""ONNX files: what is read, and what is refused before anything looks at it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError, MalformedError, RefusedError

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from cloister.partition.onnx_file import constants_of, read_onnx
from partition_models import onnx_block_net

GOOD = onnx_block_net()


def changed(change: Callable[[Any], object]) -> bytes:
    model = onnx.load_from_string(GOOD)
    change(model)
    return bytes(model.SerializeToString())


def test_constants_are_those_of_the_file() -> None:
    found = constants_of(read_onnx(GOOD))
    assert found["c1.w"].shape == (8, 3, 3, 3)
    assert found["c1.w"].dtype == np.float32
    assert len(found) == 14


def test_constants_in_nodes_are_found() -> None:
    def add(model: Any) -> None:
        value = onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), "v")
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["k"], value=value))

    assert constants_of(read_onnx(changed(add)))["k"].tolist() == [0, 1, 2, 3]


def external(path: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", path

    return change


def function(model: Any) -> None:
    body = onnx.helper.make_node("Relu", ["a"], ["b"])
    opset = [onnx.helper.make_opsetid("", 17)]
    model.functions.append(onnx.helper.make_function("own", "Relu6", ["a"], ["b"], [body], opset))


def graph_inside(model: Any) -> None:
    node = model.graph.node[1]
    node.op_type = "Identity"
    node.attribute.append(onnx.helper.make_attribute("body", onnx.GraphProto(name="inner")))


def foreign_node(model: Any) -> None:
    model.graph.node[0].domain = "com.microsoft"


def foreign_set(model: Any) -> None:
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))


def old_set(model: Any) -> None:
    model.opset_import[0].version = 3


def looping(model: Any) -> None:
    model.graph.node[1].op_type = "Loop"


def training(model: Any) -> None:
    model.training_info.add()


def sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


def short(model: Any) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-1]


def huge(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [2**40, 2**40]


def negative(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [-1, -1]


def text(model: Any) -> None:
    model.graph.initializer[0].data_type = onnx.TensorProto.STRING


def unknown_type(model: Any) -> None:
    model.graph.initializer[0].data_type = 99


def twice(model: Any) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def circle(model: Any) -> None:
    model.graph.node[0].input[0] = "label"


def made_input(model: Any) -> None:
    model.graph.node[0].output[0] = "image"


def no_output(model: Any) -> None:
    model.graph.output[0].name = "nowhere"


def no_nodes(model: Any) -> None:
    del model.graph.node[:]


def odd_name(model: Any) -> None:
    model.graph.node[-1].output[0] = "la\nbel"
    model.graph.output[0].name = "la\nbel"


def misfit(model: Any) -> None:
    model.graph.initializer[0].dims[:] = [3, 8, 3, 3]


UNSAFE = [external("/etc/passwd"), external("../secret"), function, foreign_node, foreign_set]
REFUSED = [graph_inside, old_set, looping, training, sparse, text, unknown_type]
BROKEN = [short, huge, negative, twice, circle, made_input, no_output, no_nodes, odd_name, misfit]


@pytest.mark.parametrize("change", UNSAFE)
def test_what_leads_out_of_the_file_is_refused(change: Callable[[Any], None]) -> None:
    with pytest.raises(RefusedError) as caught:
        read_onnx(changed(change))
    assert caught.value.code == "model.unsafe"


@pytest.mark.parametrize("change", REFUSED)
def test_what_is_not_allowed_is_refused(change: Callable[[Any], None]) -> None:
    with pytest.raises(RefusedError) as caught:
        read_onnx(changed(change))
    assert caught.value.code == "model.operator"


@pytest.mark.parametrize("change", BROKEN)
def test_what_is_damaged_is_malformed(change: Callable[[Any], None]) -> None:
    with pytest.raises(MalformedError) as caught:
        read_onnx(changed(change))
    assert caught.value.code == "model.malformed"


def test_no_file_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path in the model is not even tried."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(864))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedError, match="from a file"):
        read_onnx(changed(external("secret")))


@pytest.mark.parametrize("data", [b"", b"\0" * 40, GOOD[:100], b"PK\x03\x04" + GOOD])
def test_other_bytes_are_no_model(data: bytes) -> None:
    with pytest.raises(CloisterError):
        read_onnx(data)
