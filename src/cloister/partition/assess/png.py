"""Pictures as PNG (W3C, second edition): 8 bits, no filter, made by zlib alone."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Final

import numpy as np

from cloister.partition.assess.attack import Array

__all__ = ["data_url", "png", "strip"]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Kinds by channels: grey, grey with opacity, red green blue, and those with opacity.
_KINDS: Final = {1: 0, 2: 4, 3: 2, 4: 6}
_GAPS: Final = 24


def png(image: Array) -> bytes:
    """Return an image of bytes (height, width, 1 to 4) as a file."""
    height, width, channels = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _KINDS[channels], 0, 0, 0)
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
    """Return images (n, h, w, c) side by side with gaps to see through, none larger than `side`.

    Channels beyond three are left out. Large ones are shrunk by whole factors, by means of blocks.
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
    opaque = np.full((*planes.shape[:3], 1), 255, np.uint8)
    gap = max(1, planes.shape[2] // _GAPS)
    spaced = np.pad(np.concatenate([planes, opaque], axis=3), ((0, 0), (0, 0), (0, gap), (0, 0)))
    return np.concatenate(list(spaced), axis=1)[:, :-gap]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
