"""Pictures as PNG (W3C, second edition): 8 bits, grey or RGB, no filter, made by zlib alone."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Final

import numpy as np

from cloister.partition.assess.attack import Array

__all__ = ["data_url", "png", "strip"]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2


def png(image: Array) -> bytes:
    """Return an image of bytes (height, width, 1 or 3) as a file."""
    height, width, channels = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _GREY if channels == 1 else _RGB, 0, 0, 0)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )


def data_url(image: Array) -> str:
    """Return an image as a URL that holds it."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()


def strip(images: Array, *, side: int) -> Array:
    """Return images (n, h, w, c) side by side, none larger than `side`; channels beyond 3 are cut.

    Large ones are shrunk by whole factors, by the means of blocks.
    """
    count, height, width, channels = images.shape
    by = max(1, -(-max(height, width) // side))
    if by > 1:
        height, width = height // by * by, width // by * by
        blocks = images[:, :height, :width].reshape(
            count, height // by, by, width // by, by, channels
        )
        images = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)
    planes = images[..., :3] if channels >= 3 else images[..., :1]  # noqa: PLR2004  # RGB
    return np.concatenate(list(planes), axis=1)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
