"""Models as data."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from cloister.cleanroom.description import (
    MAX_LAYERS,
    Adam,
    Augment,
    ModelDescription,
    Sgd,
    activations,
    parameters,
    shapes,
    weights,
)
from cloister.cleanroom.encoding import Limits, Message, decode, encode
from cloister.cleanroom.layers import (
    Activation,
    Add,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    Layer,
    MaxPool2D,
)
from cloister.errors import MalformedError


def residual(**changes: Any) -> ModelDescription:
    """A small model of every habit: a branch, a sum, a normalisation."""
    facts: dict[str, Any] = {
        "input_shape": (8, 8, 3),
        "classes": 10,
        "layers": (
            Conv2D("c1", inputs=("input",), filters=4, kernel=(3, 3)),
            BatchNorm("b1", inputs=("c1",)),
            Activation("a1", inputs=("b1",), function="relu"),
            Conv2D("c2", inputs=("a1",), filters=4, kernel=(1, 1), bias=False),
            Add("sum", inputs=("a1", "c2")),
            MaxPool2D("pool", inputs=("sum",)),
            GlobalAveragePool2D("mean", inputs=("pool",)),
            Dense("out", inputs=("mean",), units=10),
        ),
        "optimizer": Sgd(
            rate=0.1, momentum=0.9, weight_decay=5e-4, schedule=((30, 0.1), (45, 0.5))
        ),
        "batch": 128,
        "augment": Augment(pad=4, flip=True),
    }
    return ModelDescription(**(facts | changes))


def chain(layers: int) -> tuple[Layer, ...]:
    """A tower of layers that do little."""
    names = ["input", *(f"d{number}" for number in range(layers - 2)), "flat", "out"]
    middle = [
        Dropout(name, inputs=(before,), rate=0.1) for before, name in itertools.pairwise(names[:-2])
    ]
    return (
        *middle,
        Flatten("flat", inputs=(names[layers - 2],)),
        Dense("out", inputs=("flat",), units=10),
    )


@pytest.mark.spec("CC-40", "CC-46", "CC-48")
def test_a_description_goes_through_a_message() -> None:
    """As fields, floats and all."""
    model = residual()
    data = encode(Message("model", {"model": model.to_fields()}))
    found = ModelDescription.from_fields(decode(data, Limits(1 << 16)).fields["model"])
    assert found == model
    assert found.to_fields() == model.to_fields()


@pytest.mark.spec("CC-44", "CC-45", "CC-49")
def test_what_a_model_comes_to() -> None:
    """Counted without a framework."""
    model = residual()
    assert [weight.shape for weight in weights(model)] == [
        (3, 3, 3, 4), (4,), (4,), (4,), (4,), (4,), (1, 1, 4, 4), (4, 10), (10,),
    ]  # fmt: skip
    assert parameters(model) == 108 + 4 + 16 + 16 + 50
    assert shapes(model)["pool"] == (4, 4, 4)
    assert activations(model) == 8 * 8 * 3 + 5 * 8 * 8 * 4 + 4 * 4 * 4 + 4 + 10
    assert model.mixes_examples


@pytest.mark.spec("CC-42")
def test_a_model_has_so_many_layers() -> None:
    """And is read in a moment."""
    model = residual(layers=chain(MAX_LAYERS), augment=None)
    assert ModelDescription.from_fields(model.to_fields()) == model
    assert not model.mixes_examples
    with pytest.raises(MalformedError):
        residual(layers=chain(MAX_LAYERS + 1))


@pytest.mark.spec("CC-46")
def test_rates_follow_the_schedule() -> None:
    """Each factor counts from its round on."""
    optimizer = residual().optimizer
    assert [round(optimizer.rate_at(at), 6) for at in (0, 29, 30, 44, 45, 10**9)] == [
        0.1, 0.1, 0.01, 0.01, 0.005, 0.005,
    ]  # fmt: skip
    assert Adam(rate=1).rate_at(5) == 1.0


@pytest.mark.spec("CC-41", "CC-47", "CC-48", "CC-49")
@pytest.mark.parametrize(
    "changes",
    [
        {"classes": 9},
        {"loss": "hinge"},
        {"batch": True},
        {"input_shape": (8, 8)},
        {"layers": ()},
        {"layers": "dense"},
        {"optimizer": None},
        {"augment": {"pad": -1}},
        {"augment": {"flip": None}},
        {"input_shape": (1 << 20, 1 << 20, 3)},
    ],
    ids=str,
)
def test_what_cannot_be_meant(changes: dict[str, Any]) -> None:
    """Code is held to the same as messages."""
    with pytest.raises(MalformedError) as caught:
        residual(**changes)
    assert caught.value.code == "description.malformed"


@pytest.mark.spec("CC-41")
@pytest.mark.parametrize(
    "data", [None, 7, "model", [], {}, {1: 2}, {"version": 1}, {"version": 1.0}, {"version": [1]}]
)
def test_what_is_no_description(data: object) -> None:
    """Anything may come out of a cell."""
    with pytest.raises(MalformedError) as caught:
        ModelDescription.from_fields(data)
    assert caught.value.code == "description.malformed"


def test_what_somebody_else_wrote_is_shown_harmlessly() -> None:
    """Terminals obey escapes, and logs are read by people."""
    fields = residual().to_fields() | {"\x1b]0;owned\x07" + "x" * 1000: 1}
    with pytest.raises(MalformedError) as caught:
        ModelDescription.from_fields(fields)
    assert caught.value.public.isprintable()
    assert len(caught.value.public) < 120
