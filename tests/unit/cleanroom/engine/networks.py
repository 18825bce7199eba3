"""Descriptions that several tests build."""

from __future__ import annotations

from typing import Any

from cloister.cleanroom.description import ModelDescription

SGD: dict[str, Any] = {"kind": "sgd", "rate": 0.1}


def described(*layers: dict[str, Any], **changed: Any) -> ModelDescription:
    """Return a model of layers in a row, where they do not say what they take."""
    before, named = "input", []
    for number, layer in enumerate(layers):
        one = {"name": f"layer{number}", "inputs": [before], **layer}
        before = one["name"]
        named.append(one)
    fields: dict[str, Any] = {
        "version": 1, "input_shape": [9, 8, 3], "classes": 5, "layers": named, "optimizer": SGD,
        "batch": 16,
    }  # fmt: skip
    return ModelDescription.from_fields(fields | changed)


def everything(**changed: Any) -> ModelDescription:
    """Return a model that has every layer but batch_norm."""
    return described(
        {"kind": "conv2d", "filters": 6, "kernel": [3, 3], "strides": [2, 1]},
        {"kind": "activation", "function": "gelu"},
        {"kind": "depthwise_conv2d", "kernel": [3, 2], "multiplier": 2, "strides": [1, 2]},
        {"kind": "activation", "function": "silu"},
        {"kind": "average_pool2d", "pool": [2, 2], "strides": [1, 1], "padding": "same"},
        {"kind": "max_pool2d", "pool": [3, 3], "padding": "same", "name": "pool"},
        {"kind": "conv2d", "filters": 12, "kernel": [1, 1], "padding": "valid", "bias": False},
        {"kind": "activation", "function": "tanh", "name": "tanh"},
        {"kind": "concatenate", "inputs": ["tanh", "pool"]},
        {"kind": "zero_pad2d", "rows": [1, 0], "columns": [0, 2]},
        {"kind": "layer_norm", "name": "norm"},
        {"kind": "dense", "units": 24, "name": "dense"},
        {"kind": "add", "inputs": ["dense", "norm"]},
        {"kind": "activation", "function": "softmax"},
        {"kind": "global_average_pool2d"},
        {"kind": "reshape", "shape": [4, 6]},
        {"kind": "activation", "function": "softplus"},
        {"kind": "activation", "function": "sigmoid"},
        {"kind": "flatten"},
        {"kind": "dropout", "rate": 0.25},
        {"kind": "dense", "units": 5},
        **changed,
    )


def mixing(**changed: Any) -> ModelDescription:
    """Return a model whose examples see each other's."""
    return described(
        {"kind": "conv2d", "filters": 4, "kernel": [3, 3], "bias": False},
        {"kind": "batch_norm", "momentum": 0.8},
        {"kind": "activation", "function": "relu"},
        {"kind": "flatten"},
        {"kind": "dense", "units": 5},
        **changed,
    )
