"""Layers: a closed list, with options, shapes and arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from cloister.cleanroom.layers import (
    LAYERS,
    Activation,
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Layer,
    LayerNorm,
    MaxPool2D,
    Shape,
    Weight,
    ZeroPad2D,
)
from cloister.errors import MalformedError

IN = ("input",)


@pytest.mark.spec("CC-43")
def test_the_list_is_closed() -> None:
    """Whoever adds a layer adds it here and on the page."""
    assert sorted(LAYERS) == [
        "activation", "add", "average_pool2d", "batch_norm", "concatenate", "conv2d", "dense",
        "depthwise_conv2d", "dropout", "flatten", "global_average_pool2d", "layer_norm",
        "max_pool2d", "reshape", "zero_pad2d",
    ]  # fmt: skip
    assert [kind for kind, layer in LAYERS.items() if layer.mixes_examples] == ["batch_norm"]


def test_layers_do_not_change() -> None:
    """What was checked stays what it was."""
    layer = Dense("out", inputs=IN, units=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.units = -1  # type: ignore[misc]  # what is tried


@pytest.mark.spec("CC-44")
@pytest.mark.parametrize(
    ("shape", "window", "strides", "padding", "expected"),
    [
        ((8, 8, 3), (3, 3), (1, 1), "same", (8, 8)),
        ((8, 8, 3), (3, 3), (1, 1), "valid", (6, 6)),
        ((8, 7, 3), (3, 2), (2, 3), "same", (4, 3)),
        ((8, 7, 3), (3, 2), (2, 3), "valid", (3, 2)),
        ((1, 1, 1), (5, 5), (4, 4), "same", (1, 1)),
        ((5, 5, 1), (5, 5), (9, 9), "valid", (1, 1)),
    ],
)
def test_places_of_windows(
    shape: Shape, window: tuple[int, int], strides: tuple[int, int], padding: str, expected: Shape
) -> None:
    """For convolutions and pools alike."""
    same: dict[str, Any] = {"inputs": IN, "strides": strides, "padding": padding}
    assert Conv2D("c", filters=5, kernel=window, **same).output([shape]) == (*expected, 5)
    deep = DepthwiseConv2D("c", kernel=window, multiplier=2, **same)
    assert deep.output([shape]) == (*expected, 2 * shape[-1])
    for pool in (MaxPool2D, AveragePool2D):
        assert pool("p", pool=window, **same).output([shape]) == (*expected, shape[-1])


@pytest.mark.spec("CC-43", "CC-45")
def test_arrays_that_are_learned() -> None:
    """Their names, shapes and order are the same in every framework."""

    def of(layer: Layer, shape: Shape) -> list[tuple[str, Shape]]:
        return [(weight.name, weight.shape) for weight in layer.weights([shape])]

    assert of(Dense("d", inputs=IN, units=3), (4, 5)) == [("kernel", (5, 3)), ("bias", (3,))]
    assert of(Dense("d", inputs=IN, units=3, bias=False), (5,)) == [("kernel", (5, 3))]
    convolution = Conv2D("c", inputs=IN, filters=4, kernel=(3, 2))
    assert of(convolution, (8, 8, 5)) == [("kernel", (3, 2, 5, 4)), ("bias", (4,))]
    deep = DepthwiseConv2D("c", inputs=IN, kernel=(3, 2), multiplier=4)
    assert of(deep, (8, 8, 5)) == [("kernel", (3, 2, 5, 4)), ("bias", (20,))]
    assert of(LayerNorm("n", inputs=IN), (7,)) == [("gamma", (7,)), ("beta", (7,))]
    norm = BatchNorm("n", inputs=IN).weights([(8, 8, 7)])
    assert [(each.name, each.trained) for each in norm] == [
        ("gamma", True), ("beta", True), ("mean", False), ("variance", False),
    ]  # fmt: skip
    assert Weight("d", "kernel", (5, 3)).size == 15
    assert of(Activation("a", inputs=IN, function="relu"), (7,)) == []


@pytest.mark.spec("CC-41", "CC-43")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Dense, {"units": 0}),
        (Dense, {"units": 2.0}),
        (Dense, {"units": 10**400}),
        (Dense, {"units": 1, "bias": 1}),
        (Conv2D, {"filters": 1, "kernel": (3,)}),
        (Conv2D, {"filters": 1, "kernel": 3}),
        (Conv2D, {"filters": 1, "kernel": (3, 0)}),
        (Conv2D, {"filters": 1, "kernel": (3, 3), "strides": (0, 1)}),
        (Conv2D, {"filters": 1, "kernel": (4097, 1)}),
        (Conv2D, {"filters": 1, "kernel": (3, 3), "padding": "full"}),
        (ZeroPad2D, {"rows": (-1, 0), "columns": (0, 0)}),
        (Dropout, {"rate": float("nan")}),
        (Dropout, {"rate": -0.1}),
        (Dropout, {"rate": 10**400}),
        (BatchNorm, {"momentum": 1.0}),
        (BatchNorm, {"epsilon": 0}),
        (Activation, {"function": "eval"}),
        (Activation, {"function": ["relu"]}),
    ],
)
def test_options_have_bounds(kind: Any, options: dict[str, Any]) -> None:
    """In code as in messages."""
    with pytest.raises(MalformedError) as caught:
        kind("x", inputs=IN, **options)
    assert caught.value.code == "description.malformed"


@pytest.mark.spec("CC-42")
@pytest.mark.parametrize("name", ["", "A", "0a", "a-b", "a/b", "input", "a" * 65, 7, None, "a\n"])
def test_names(name: Any) -> None:
    """Lower-case words, which are safe anywhere."""
    with pytest.raises(MalformedError):
        Dropout(name, inputs=IN, rate=0.5)
    if name != "input":
        with pytest.raises(MalformedError):
            Dropout("a", inputs=(name,), rate=0.5)
