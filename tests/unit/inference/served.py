"""Served versions around small models, for tests."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from cloister.inference.classification import Labels
from cloister.inference.line import Line
from cloister.inference.model import Model
from cloister.inference.model_config import ModelConfig
from cloister.inference.registry import Registry, Served, Shelf
from cloister.inference.tensor import Array, TensorSpec

__all__ = ["Half", "Pair", "Scores", "registry_of", "served"]


class Half:
    """x / 2 + number."""

    platform = "test"
    remembers = False
    inputs = (TensorSpec("x", "FP32", (-1,)),)
    outputs = (TensorSpec("y", "FP32", (-1,)),)

    def __init__(self, number: float = 2.0) -> None:
        self.number = np.float32(number)

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] / 2 + self.number}


class Scores:
    """Gives back its input, as scores of three classes."""

    platform = "test"
    remembers = False
    inputs = (TensorSpec("x", "FP32", (-1, 3)),)
    outputs = (TensorSpec("scores", "FP32", (-1, 3)),)

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"scores": inputs["x"]}


class Pair:
    """Two inputs of rows, two outputs."""

    platform = "test"
    remembers = False
    inputs = (TensorSpec("a", "INT32", (-1,)), TensorSpec("b", "BOOL", (-1, 2)))
    outputs = (TensorSpec("twice", "INT32", (-1,)), TensorSpec("not", "BOOL", (-1, 2)))

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"twice": inputs["a"] * 2, "not": ~inputs["b"]}


def served(
    name: str,
    version: str,
    model: Model,
    *,
    labels: Labels | None = None,
    config: ModelConfig | None = None,
) -> Served:
    config = config or ModelConfig()
    turns = threading.BoundedSemaphore(1)
    line = Line(name, model, batching=config.batching, turns=turns)
    return Served(name, version, model, line, labels, config)


def registry_of(*versions: Served, **labels: str) -> Registry:
    """Return a registry of versions, whose labels are those of every model."""
    names = dict.fromkeys(each.name for each in versions)
    return Registry(
        {
            name: Shelf({each.version: each for each in versions if each.name == name}, labels)
            for name in names
        }
    )
