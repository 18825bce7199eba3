"""Configurations laid out flat, and those that name code."""

from __future__ import annotations

import copy
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cloister.errors import CloisterError, MalformedError, RefusedError
from cloister.partition.keras_config import KerasInput, read_plan

MODELS = Path(__file__).parents[2] / "data" / "models"


def config(name: str) -> Any:
    with zipfile.ZipFile(io.BytesIO((MODELS / f"{name}.keras").read_bytes())) as archive:
        return json.loads(archive.read("config.json"))


BLOCKS, NESTED = config("blocks"), config("nested")


def dense(name: str, units: int = 4) -> dict[str, Any]:
    return {"class_name": "Dense", "config": {"name": name, "units": units}}


def sequential(*layers: Any, **settings: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "s", "layers": list(layers), **settings}}


INPUT = {"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, 4]}}


def test_a_model_with_blocks() -> None:
    plan = read_plan(BLOCKS)
    assert plan.inputs == (KerasInput("image", (-1, 12, 12, 3)),)
    assert plan.outputs == ("label",)
    assert len(plan.layers) == len(plan.calls) == 21
    added = next(call for call in plan.calls if call.output == "add")
    assert added.inputs == ("relu1", "norm2")
    assert plan.layers[added.layer].kind == "Add"
    third = next(layer for layer in plan.layers if layer.name == "conv3")
    assert third.place == "layers/conv2d_2"


def test_a_model_within_a_model_lies_flat() -> None:
    """It is called three times: its layers are there once, its calls three times."""
    plan = read_plan(NESTED)
    assert [layer.name for layer in plan.layers] == ["inner/dense", "inner/dense_1", "sum", "two"]
    assert plan.layers[0].place == "layers/sequential/layers/dense"
    assert [call.output for call in plan.calls].count("inner:2/dense") == 1
    last = next(call for call in plan.calls if call.output == "inner:2/dense")
    assert last.inputs == ("inner:1/dense_1",)
    assert plan.outputs == ("sum", "two")


def test_a_sequential_model_with_and_without_an_input() -> None:
    given = read_plan(sequential(INPUT, dense("a"), dense("b")))
    assert [call.inputs for call in given.calls] == [("in",), ("a",)]
    built = read_plan(sequential(dense("input"), dense("b"), build_input_shape=[None, 4]))
    assert built.inputs == (KerasInput("input_", (-1, 4)),)
    assert [call.inputs for call in built.calls] == [("input_",), ("input",)]


def test_calls_stand_behind_what_they_need() -> None:
    """In whatever order the file has the layers."""
    turned = copy.deepcopy(BLOCKS)
    turned["config"]["layers"].reverse()
    plan = read_plan(turned)
    known = {"image"}
    for call in plan.calls:
        assert known.issuperset(call.inputs)
        known.add(call.output)


def changed(path: list[Any], value: Any) -> Any:
    found = copy.deepcopy(BLOCKS)
    here = found
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value
    return found


LAYER = ["config", "layers", 1]


@pytest.mark.parametrize(
    "told",
    [
        changed(["class_name"], "Lambda"),
        changed(["class_name"], "MyModel"),
        changed(["module"], "os"),
        changed(["registered_name"], "package>Model"),
        changed(["module"], ["keras"]),
        changed([*LAYER, "registered_name"], ["Rescaling"]),
        changed([*LAYER, "class_name"], "Lambda"),
        changed([*LAYER, "module"], "builtins"),
        changed([*LAYER, "module"], "keras.src.ops.numpy"),
        changed([*LAYER, "registered_name"], "package>Rescaling"),
        changed([*LAYER, "config", "scale"], {"class_name": "__lambda__", "config": {"value": ""}}),
    ],
)
def test_what_names_code_is_refused(told: Any) -> None:
    with pytest.raises(RefusedError) as caught:
        read_plan(told)
    assert caught.value.code == "model.unsafe"


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {"class_name": "Functional"},
        changed(["config", "layers"], []),
        changed(["config", "layers"], [BLOCKS["config"]["layers"][0]] * 2),
        changed(["config", "input_layers"], [["conv1", 0, 0]]),
        changed(["config", "input_layers"], [["image", 0, 0], ["image", 0, 0]]),
        changed(["config", "output_layers"], [["label", 0, 1]]),
        changed(["config", "output_layers"], [["label", 7, 0]]),
        changed([*LAYER, "config", "name"], "a/b"),
        changed([*LAYER, "config", "name"], ""),
        changed([*LAYER, "config", "name"], 7),
        changed([*LAYER, "name"], "other"),
        changed([*LAYER, "inbound_nodes"], []),
        changed([*LAYER, "inbound_nodes"], [[["label", 0, 0]]]),
        changed([*LAYER, "inbound_nodes"], [[["image", 0, 0], ["image", 0, 0]]]),
        sequential(dense("a")),
        sequential(dense("a"), INPUT, build_input_shape=[None, 4]),
    ],
)
def test_what_does_not_join_is_malformed(told: Any) -> None:
    with pytest.raises(CloisterError) as caught:
        read_plan(told)
    assert caught.value.code in {"model.malformed", "model.unsafe"}


def test_models_within_models_end() -> None:
    """Each level called twice in the next would be a million calls from a few lines."""
    inner: dict[str, Any] = sequential(INPUT, dense("d"))
    for _ in range(12):
        inner = sequential(INPUT, inner | {"config": inner["config"] | {"name": "x"}})
    with pytest.raises(MalformedError, match="within models"):
        read_plan(inner)
    with pytest.raises(MalformedError, match="too many"):
        read_plan(sequential(INPUT, *(dense(f"d{i}") for i in range(20_001))))
    # Each calls the one within four times: a few lines, four to the eighth layers to run.
    inner = sequential(INPUT, dense("d"))
    for level in range(8):
        calls = [[["in" if i == 0 else f"m{level}", max(0, i - 1), 0]] for i in range(4)]
        named = inner | {"config": inner["config"] | {"name": f"m{level}"}, "inbound_nodes": calls}
        ends = {"input_layers": [["in", 0, 0]], "output_layers": [[f"m{level}", 3, 0]]}
        layers = [INPUT | {"inbound_nodes": []}, named]
        inner = {"class_name": "Functional", "config": {"name": "f", "layers": layers, **ends}}
    with pytest.raises(MalformedError, match="too many"):
        read_plan(inner)


def functional(*layers: Any, inputs: Any, outputs: Any, **entry: Any) -> dict[str, Any]:
    config = {
        "name": "m",
        "layers": list(layers),
        "input_layers": inputs,
        "output_layers": outputs,
    }
    return {"class_name": "Functional", "config": config, **entry}


@pytest.mark.parametrize("depth", [5, 7])
def test_models_within_models_cost_no_more_than_is_counted(depth: int) -> None:
    """Ten calls of each, eight deep, and no layer in it: three kilobytes, and minutes for each."""
    model = functional(INPUT, inputs=[["in", 0, 0]], outputs=[["in", 0, 0]])
    for _ in range(depth):
        within = model | {"inbound_nodes": [[["in", 0, 0, {}]] for _ in range(20)]}
        model = functional(INPUT, within, inputs=[["in", 0, 0]], outputs=[["m", 19, 0]])
    assert len(json.dumps(model)) < 6000
    began = time.process_time()
    with pytest.raises(MalformedError, match="too many calls") as caught:
        read_plan(model)
    assert caught.value.code == "model.malformed"
    assert time.process_time() - began < 20


def test_inputs_count_as_layers() -> None:
    layers = [
        {"class_name": "InputLayer", "config": {"name": f"i{n}", "batch_shape": [None, 4]}}
        for n in range(20_001)
    ]
    with pytest.raises(MalformedError, match="too many"):
        read_plan(functional(*layers, inputs=[["i0", 0, 0]], outputs=[["i0", 0, 0]]))


@pytest.mark.parametrize("name", ["nobody", "d"])
def test_an_input_that_is_none_is_malformed(name: str) -> None:
    layer = dense("d") | {"inbound_nodes": [[["in", 0, 0, {}]]]}
    inner = functional(INPUT, layer, inputs=[[name, 0, 0]], outputs=[["in", 0, 0]])
    called = inner | {"inbound_nodes": [[["in", 0, 0, {}]]]}
    outer = functional(INPUT, called, inputs=[["in", 0, 0]], outputs=[["m", 0, 0]])
    for model in (inner, outer):
        with pytest.raises(MalformedError, match="inputs") as caught:
            read_plan(model)
        assert caught.value.code == "model.malformed"
