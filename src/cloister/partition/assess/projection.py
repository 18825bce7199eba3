"""Feature maps as pictures, as the papers on ternary partitioning make them: no framework.

Each map is scaled from its least and greatest value to 0..255, resized bilinearly to the size of an
input, and its one plane is repeated for every channel. Kept exactly, for comparison with what those
papers report; nothing is decided by it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["maps_of", "project", "resize"]

Array = npt.NDArray[Any]


def maps_of(tensor: Array) -> Array:
    """Return a crossing tensor as maps (n, maps, height, width).

    (n, h, w, c) has c maps. The papers have no other kind; so that every cut has a number, tokens
    (n, t, d) are d maps where t is a square (a class token in front is left out) and one map of t
    by d otherwise, and whatever is left is one map of a single row.
    """
    if tensor.ndim == 4:  # noqa: PLR2004  # batch, height, width, channels
        return np.moveaxis(tensor, -1, 1)
    if tensor.ndim == 3:  # noqa: PLR2004  # batch, tokens, width
        count, tokens, width = tensor.shape
        for skipped in (0, 1):
            side = math.isqrt(tokens - skipped)
            if side > 1 and side * side == tokens - skipped:
                grid = tensor[:, skipped:].reshape(count, side, side, width)
                return np.moveaxis(grid, -1, 1)
        return tensor[:, None]
    return tensor.reshape(len(tensor), 1, 1, -1)


def project(maps: Array, *, height: int, width: int, channels: int) -> Array:
    """Return maps (…, h, w) as pictures (…, height, width, channels), float32 in 0..255.

    A map that is the same everywhere becomes black.
    """
    maps = np.asarray(maps, np.float32)
    low = maps.min(axis=(-2, -1), keepdims=True)
    span = maps.max(axis=(-2, -1), keepdims=True) - low
    scaled = np.divide(maps - low, span, out=np.zeros_like(maps), where=span > 0) * 255.0
    return np.repeat(resize(scaled, height, width)[..., None], channels, axis=-1)


def resize(planes: Array, height: int, width: int) -> Array:
    """Return planes (…, h, w) resized bilinearly, pixels' centres at halves, without smoothing."""
    rows = _weights(planes.shape[-2], height)
    columns = _weights(planes.shape[-1], width)
    result: Array = rows @ planes @ columns.T
    return result


def _weights(size: int, wanted: int) -> Array:
    """Return the matrix that interpolates a line of `size` pixels at `wanted` places."""
    places = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
    left = np.floor(places).astype(np.int64)
    right = np.minimum(left + 1, size - 1)
    part = (places - left).astype(np.float32)
    matrix = np.zeros((wanted, size), np.float32)
    each = np.arange(wanted)
    np.add.at(matrix, (each, left), 1 - part)
    np.add.at(matrix, (each, right), part)
    return matrix
