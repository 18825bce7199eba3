"""The Keras layers that a foreign model may have, and what their configurations may say.

An allow list. Nothing here imports a class by a name from the file: a name is looked up in this
table, and every argument is checked and passed on one by one. Layers that only matter in training
are kept as identities.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cloister.errors import MalformedError, RefusedError

__all__ = ["LAYERS", "LayerKind", "checked_config"]

Check = Callable[[Any], Any]

_MAX_UNITS: Final = 1 << 24
_MAX_RANK: Final = 8
ACTIVATIONS: Final = frozenset(
    {
        "elu",
        "exponential",
        "gelu",
        "hard_sigmoid",
        "hard_silu",
        "hard_swish",
        "leaky_relu",
        "linear",
        "log_softmax",
        "mish",
        "relu",
        "relu6",
        "selu",
        "sigmoid",
        "silu",
        "softmax",
        "softplus",
        "softsign",
        "swish",
        "tanh",
    }
)
# What says how weights begin, are held down in training or are named: of no matter to a trained
# model. The rest of what is not in a layer's own table must say nothing.
_TRAINING: Final = frozenset(
    {"name", "trainable", "dtype", "batch_input_shape", "batch_shape"}
    | {"momentum", "renorm_momentum", "synchronized"}
)
_TRAINING_ENDS: Final = ("_initializer", "_regularizer", "_constraint")


@dataclass(frozen=True, slots=True)
class LayerKind:
    """One kind of layer.

    Attributes:
        arguments: For each argument that the configuration may have, its check.
        weights: What arrays the layer has, for `keras_weights`; empty where it has none.
        identity: It does nothing outside training.
        merges: It takes a list of tensors.
    """

    arguments: Mapping[str, Check]
    weights: str = ""
    identity: bool = False
    merges: bool = False


def checked_config(kind: str, config: Any) -> dict[str, Any]:
    """Return the arguments of a layer, each checked.

    Raises:
        RefusedError: `model.unsafe`: no layer on the list, or an argument that is no plain value;
            `model.operator`: a layer on the list, set in a way that is not.
        MalformedError: `model.malformed`: no configuration.
    """
    layer = LAYERS.get(kind)
    if layer is None:
        raise RefusedError(f"the Keras model has a layer {kind[:100]!r}", code="model.unsafe")
    if not isinstance(config, dict):
        raise MalformedError("a Keras layer without a configuration", code="model.malformed")
    _require_dtype(kind, config.get("dtype"))
    if layer.identity:
        return {}
    arguments: dict[str, Any] = {}
    for key, value in _renamed(kind, config).items():
        check = layer.arguments.get(key)
        if check is not None:
            try:
                arguments[key] = check(value)
            except ValueError as e:
                raise RefusedError(
                    f"the Keras layer {kind} has a setting {key} that is not allowed",
                    code="model.unsafe" if isinstance(value, dict) else "model.operator",
                ) from e
        elif key not in _TRAINING and not key.endswith(_TRAINING_ENDS) and value:
            raise RefusedError(
                f"the Keras layer {kind} has a setting {key[:100]!r} that is not known",
                code="model.operator",
            )
    return arguments


def _renamed(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration of Keras 2 as Keras 3 would write it."""
    if kind == "LeakyReLU" and "alpha" in config:
        config = {("negative_slope" if key == "alpha" else key): config[key] for key in config}
    if LAYERS[kind].weights == "depthwise" and config.get("groups") == 1:
        config = {key: config[key] for key in config if key != "groups"}
    return config


def _require_dtype(kind: str, value: Any) -> None:
    if isinstance(value, dict):
        plain = value.get("class_name") == "DTypePolicy" and not value.get("registered_name")
        value = _name_in(value.get("config")) if plain else value
    if value is not None and value != "float32":
        raise RefusedError(f"the Keras layer {kind} is not of float32", code="model.operator")


def _name_in(config: Any) -> Any:
    return config.get("name") if isinstance(config, dict) else config


def _integer(low: int, high: int = _MAX_UNITS) -> Check:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(value)
        return value

    return check


def _sizes(count: int | None, low: int = 1) -> Check:
    """One integer, or as many as there are axes (nested once, as paddings are)."""
    one = _integer(low)

    def check(value: Any) -> Any:
        if not isinstance(value, list):
            return one(value)
        if count is not None and len(value) != count:
            raise ValueError(value)
        return tuple(
            tuple(one(size) for size in entry) if isinstance(entry, list) else one(entry)
            for entry in value[:_MAX_RANK]
        )

    return check


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > _MAX_RANK:
        raise ValueError(value)
    return tuple(_integer(-1)(size) for size in value)


def _axis(value: Any) -> Any:
    one = _integer(-_MAX_RANK, _MAX_RANK)
    if isinstance(value, list):
        return [one(entry) for entry in value[:_MAX_RANK]]
    return one(value)


def _one_axis(value: Any) -> Any:
    """Batch normalisation's axis; older files have a list of one."""
    found = _axis(value)
    if isinstance(found, list):
        (found,) = found
    return found


def _axes(value: Any) -> Any:
    return None if value is None else _axis(value)


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(value)
    return value


def _number(value: Any) -> float:
    if type(value) not in {int, float} or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _numbers(value: Any) -> Any:
    """A number, or nested lists of numbers; None where there are none."""
    if value is None:
        return None
    if isinstance(value, list):
        return [_numbers(entry) for entry in value]
    return _number(value)


def _maybe(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _word(*words: str) -> Check:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(value)
        return str(value)

    return check


def _activation(value: Any) -> str:
    if value is None:
        return "linear"
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ValueError(value)
    return value


_CHANNELS: Final = _maybe(_word("channels_last", "channels_first"))
_PADDING: Final = _word("valid", "same")
_CAUSAL: Final = _word("valid", "same", "causal")


def _convolution(axes: int, *, padding: Check = _PADDING) -> dict[str, Check]:
    return {
        "filters": _integer(1),
        "kernel_size": _sizes(axes),
        "strides": _sizes(axes),
        "padding": padding,
        "data_format": _CHANNELS,
        "dilation_rate": _sizes(axes),
        "groups": _integer(1),
        "activation": _activation,
        "use_bias": _flag,
    }


def _separable(axes: int, *names: str) -> dict[str, Check]:
    arguments = _convolution(axes) | {"depth_multiplier": _integer(1)}
    return {key: check for key, check in arguments.items() if key not in names}


def _pooling(axes: int) -> LayerKind:
    return LayerKind(
        {
            "pool_size": _sizes(axes),
            "strides": _maybe(_sizes(axes)),
            "padding": _PADDING,
            "data_format": _CHANNELS,
        }
    )


_GLOBAL: Final = LayerKind({"data_format": _CHANNELS, "keepdims": _flag})
_MERGE: Final = LayerKind({}, merges=True)
_TRAINING_ONLY: Final = LayerKind({}, identity=True)
_EPSILON: Final[Mapping[str, Check]] = {"axis": _axis, "epsilon": _number}
_CENTRE: Final[Mapping[str, Check]] = {"center": _flag, "scale": _flag}

LAYERS: Final[Mapping[str, LayerKind]] = {
    "Activation": LayerKind({"activation": _activation}),
    "ActivityRegularization": _TRAINING_ONLY,
    "Add": _MERGE,
    "AlphaDropout": _TRAINING_ONLY,
    "Average": _MERGE,
    "AveragePooling1D": _pooling(1),
    "AveragePooling2D": _pooling(2),
    "BatchNormalization": LayerKind({**_EPSILON, **_CENTRE, "axis": _one_axis}, "batch"),
    "Concatenate": LayerKind({"axis": _integer(-_MAX_RANK, _MAX_RANK)}, merges=True),
    "Conv1D": LayerKind(_convolution(1, padding=_CAUSAL), "convolution"),
    "Conv2D": LayerKind(_convolution(2), "convolution"),
    "Conv2DTranspose": LayerKind(
        {k: v for k, v in _convolution(2).items() if k != "groups"}
        | {"output_padding": _maybe(_sizes(2, 0))},
        "transposed",
    ),
    "Cropping1D": LayerKind({"cropping": _sizes(2, 0)}),
    "Cropping2D": LayerKind({"cropping": _sizes(2, 0), "data_format": _CHANNELS}),
    "Dense": LayerKind(
        {"units": _integer(1), "activation": _activation, "use_bias": _flag}, "dense"
    ),
    "DepthwiseConv1D": LayerKind(_separable(1, "filters", "groups"), "depthwise"),
    "DepthwiseConv2D": LayerKind(_separable(2, "filters", "groups"), "depthwise"),
    "Dropout": _TRAINING_ONLY,
    "ELU": LayerKind({"alpha": _number}),
    "Flatten": LayerKind({"data_format": _CHANNELS}),
    "GaussianDropout": _TRAINING_ONLY,
    "GaussianNoise": _TRAINING_ONLY,
    "GlobalAveragePooling1D": _GLOBAL,
    "GlobalAveragePooling2D": _GLOBAL,
    "GlobalMaxPooling1D": _GLOBAL,
    "GlobalMaxPooling2D": _GLOBAL,
    "GroupNormalization": LayerKind(
        {**_EPSILON, **_CENTRE, "axis": _one_axis, "groups": _integer(-1)}, "group"
    ),
    "LayerNormalization": LayerKind({**_EPSILON, **_CENTRE}, "layer"),
    "LeakyReLU": LayerKind({"negative_slope": _number}),
    "MaxPooling1D": _pooling(1),
    "MaxPooling2D": _pooling(2),
    "Maximum": _MERGE,
    "Minimum": _MERGE,
    "Multiply": _MERGE,
    "Normalization": LayerKind(
        {"axis": _axes, "mean": _numbers, "variance": _numbers, "invert": _flag}, "normalization"
    ),
    "PReLU": LayerKind({"shared_axes": _axes}, "prelu"),
    "Permute": LayerKind({"dims": _sizes(None)}),
    "ReLU": LayerKind(
        {"max_value": _maybe(_number), "negative_slope": _number, "threshold": _number}
    ),
    "Rescaling": LayerKind({"scale": _numbers, "offset": _numbers}),
    "Reshape": LayerKind({"target_shape": _shape}),
    "SeparableConv1D": LayerKind(_separable(1, "groups"), "separable"),
    "SeparableConv2D": LayerKind(_separable(2, "groups"), "separable"),
    "Softmax": LayerKind({"axis": _axis}),
    "SpatialDropout1D": _TRAINING_ONLY,
    "SpatialDropout2D": _TRAINING_ONLY,
    "Subtract": _MERGE,
    "UpSampling1D": LayerKind({"size": _sizes(1)}),
    "UpSampling2D": LayerKind(
        {
            "size": _sizes(2),
            "data_format": _CHANNELS,
            "interpolation": _word("nearest", "bilinear"),
        }
    ),
    "ZeroPadding1D": LayerKind({"padding": _sizes(2, 0)}),
    "ZeroPadding2D": LayerKind({"padding": _sizes(2, 0), "data_format": _CHANNELS}),
}
