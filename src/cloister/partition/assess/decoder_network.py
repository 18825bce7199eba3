"""A network from all crossing tensors to the image, and the loss that it is trained by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from cloister.partition.assess.frameworks import frameworks

__all__ = ["build", "loss"]

# Vectors are laid out on a grid of this side at most before it grows: a dense layer to full size
# would have more weights than there is anything to learn them from.
_SIDE: Final = 8
_WINDOW_DEVIATION: Final = 1.5
_C1, _C2 = 0.01**2, 0.03**2
# SSIM is what counts in the end; squared errors alone give blurred pictures that it dislikes.
_SIMILARITY_WEIGHT: Final = 0.1


def build(
    shapes: Sequence[tuple[int, ...]], image: tuple[int, int, int], *, width: int, seed: int
) -> Any:
    """Return an untrained `keras.Model` from grids (h, w, c) and vectors (d) to images in [0, 1].

    Every tensor comes to one grid, the finest of theirs within the image's size; residual blocks
    mix all of them, and the grid doubles until it is the image.
    """
    keras = frameworks().keras
    layers, ops = keras.layers, keras.ops
    seeds = iter(np.random.default_rng(seed).integers(2**31, size=256).tolist())

    def conv(filters: int, size: int, strides: int = 1, **more: Any) -> Any:
        start = keras.initializers.HeNormal(seed=next(seeds))
        return layers.Conv2D(
            filters, size, strides=strides, padding="same", kernel_initializer=start, **more
        )

    height, width_of_image, channels = image
    grids = [s for s in shapes if len(s) > 1]
    rows = max([min(s[0], height) for s in grids], default=min(height, _SIDE))
    columns = max([min(s[1], width_of_image) for s in grids], default=min(width_of_image, _SIDE))
    inputs = [keras.Input(s) for s in shapes]
    parts = []
    for x, shape in zip(inputs, shapes, strict=True):
        if len(shape) > 1:
            by = max(1, min(shape[0] // rows, shape[1] // columns))
            made = conv(width, by, by, activation="relu")(x)
        else:
            h, w = min(rows, _SIDE), min(columns, _SIDE)
            start = keras.initializers.HeNormal(seed=next(seeds))
            dense = layers.Dense(h * w * width, activation="relu", kernel_initializer=start)(x)
            made = layers.Reshape((h, w, width))(dense)
        if tuple(made.shape[1:3]) != (rows, columns):
            made = ops.image.resize(made, (rows, columns))
        parts.append(made)
    x = parts[0] if len(parts) == 1 else layers.Concatenate()(parts)
    x = conv(width, 3, activation="relu")(x)
    for _ in range(2):
        x = layers.Add()([x, conv(width, 3)(conv(width, 3, activation="relu")(x))])
    while (rows, columns) != (height, width_of_image):
        rows, columns = min(2 * rows, height), min(2 * columns, width_of_image)
        x = conv(width, 3, activation="relu")(ops.image.resize(x, (rows, columns)))
    return keras.Model(inputs, conv(channels, 3)(x))


def loss(made: Any, images: Any) -> Any:
    """Return squared error and dissimilarity of batches in [0, 1], one number."""
    ops = frameworks().keras.ops
    return ops.mean((made - images) ** 2) + _SIMILARITY_WEIGHT * (1 - _similarity(made, images))


def _similarity(x: Any, y: Any) -> Any:
    """Return the mean SSIM of two batches, in operations that have gradients."""
    ops = frameworks().keras.ops
    _, height, width, channels = x.shape
    size = min(11, height - 1 + height % 2, width - 1 + width % 2)
    line = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * _WINDOW_DEVIATION**2))
    window = np.outer(line, line) / line.sum() ** 2
    kernel = ops.convert_to_tensor(
        np.repeat(window[:, :, None, None], channels, axis=2), dtype="float32"
    )

    def mean(planes: Any) -> Any:
        return ops.depthwise_conv(planes, kernel, padding="valid", data_format="channels_last")

    mean_x, mean_y = mean(x), mean(y)
    both = mean_x * mean_y
    variances = mean(x * x) + mean(y * y) - mean_x**2 - mean_y**2
    local = ((2 * both + _C1) * (2 * (mean(x * y) - both) + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (variances + _C2)
    )
    return ops.mean(local)
