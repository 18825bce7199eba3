"""What arrays a layer must have, from its settings and the shape of its input.

A layer is made only when the file has exactly these: a setting that asks for more memory than the
file holds numbers is refused before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from cloister.errors import MalformedError
from cloister.partition.keras_layers import LAYERS

__all__ = ["Shape", "expected_weights"]

Shape = tuple[int, ...]
Settings = Mapping[str, Any]


def expected_weights(kind: str, settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    """Return the shapes of a layer's arrays in Keras' order.

    Args:
        kind: The layer's class, one of `LAYERS`.
        settings: Its checked configuration.
        shape: Of its input, the batch first.

    Raises:
        MalformedError: `model.malformed`: the layer does not fit its input.
    """
    rule = _RULES.get(LAYERS[kind].weights)
    if rule is None:
        return []
    try:
        return rule(settings, shape)
    except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as e:
        raise MalformedError(
            f"the Keras layer {kind} does not fit its input", code="model.malformed"
        ) from e


def _known(size: int | None) -> int:
    if size is None or size < 1:
        raise ValueError(size)
    return size


def _channels(settings: Settings, shape: Sequence[int | None]) -> int:
    return _known(shape[1 if settings.get("data_format") == "channels_first" else -1])


def _kernel(settings: Settings, shape: Sequence[int | None]) -> Shape:
    size = settings["kernel_size"]
    return size if isinstance(size, tuple) else (size,) * (len(shape) - 2)


def _bias(settings: Settings, size: int) -> list[Shape]:
    return [(size,)] if settings.get("use_bias", True) else []


def _dense(settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    units = settings["units"]
    return [(_known(shape[-1]), units), *_bias(settings, units)]


def _convolution(settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    filters, groups = settings["filters"], settings.get("groups", 1)
    channels, rest = divmod(_channels(settings, shape), groups)
    if rest or filters % groups:
        raise ValueError(groups)
    return [(*_kernel(settings, shape), channels, filters), *_bias(settings, filters)]


def _transposed(settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    filters = settings["filters"]
    kernel = (*_kernel(settings, shape), filters, _channels(settings, shape))
    return [kernel, *_bias(settings, filters)]


def _depthwise(settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    channels, each = _channels(settings, shape), settings.get("depth_multiplier", 1)
    return [(*_kernel(settings, shape), channels, each), *_bias(settings, channels * each)]


def _separable(settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    channels, each = _channels(settings, shape), settings.get("depth_multiplier", 1)
    kernel, filters = _kernel(settings, shape), settings["filters"]
    ones = (1,) * len(kernel)
    return [
        (*kernel, channels, each),
        (*ones, channels * each, filters),
        *_bias(settings, filters),
    ]


def _scales(settings: Settings, shape: Shape) -> list[Shape]:
    return [shape] * (settings.get("scale", True) + settings.get("center", True))


def _batch(settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    size = (_known(shape[settings.get("axis", -1)]),)
    return [*_scales(settings, size), size, size]


def _group(settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    return _scales(settings, (_known(shape[settings.get("axis", -1)]),))


def _layer(settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    axis = settings.get("axis", -1)
    axes = axis if isinstance(axis, list) else [axis]
    return _scales(settings, tuple(_known(shape[i]) for i in axes))


def _prelu(settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    shared = settings.get("shared_axes") or ()
    shared = shared if isinstance(shared, list | tuple) else (shared,)
    return [tuple(1 if i in shared else _known(shape[i]) for i in range(1, len(shape)))]


def _normalization(settings: Settings, shape: Sequence[int | None]) -> list[Shape]:
    axis = settings.get("axis", -1)
    axes = [] if axis is None else axis if isinstance(axis, list) else [axis]
    places = sorted(i % len(shape) for i in axes)
    sizes = tuple(_known(shape[i]) for i in places)
    if settings.get("mean") is None:
        return [sizes, sizes, ()]
    for key in ("mean", "variance"):
        # A ValueError where a list is ragged, or not for these axes.
        np.broadcast_to(np.array(settings[key], np.float32), sizes)
    return []


_RULES: Final[Mapping[str, Callable[[Settings, Sequence[int | None]], list[Shape]]]] = {
    "batch": _batch,
    "convolution": _convolution,
    "dense": _dense,
    "depthwise": _depthwise,
    "group": _group,
    "layer": _layer,
    "normalization": _normalization,
    "prelu": _prelu,
    "separable": _separable,
    "transposed": _transposed,
}
