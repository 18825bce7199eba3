"""Tensors of texts, which the protocol calls BYTES: only answers have them, as classes.

Binary, each text is its length in four bytes, little-endian, and its UTF-8 (Triton's form).

Spec: serving-v1, clause SRV-71.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from cloister.errors import MalformedError
from cloister.inference.tensor import Array

__all__ = ["TEXTS", "texts_from_binary", "texts_from_json", "texts_to_binary", "texts_to_json"]

TEXTS: Final = "BYTES"
_LENGTH: Final = struct.Struct("<I")


def texts_to_binary(array: Array) -> bytes:
    """Write texts in row-major order."""
    coded = [text.encode() for text in array.ravel().tolist()]
    return b"".join(part for each in coded for part in (_LENGTH.pack(len(each)), each))


def texts_to_json(array: Array) -> Array:
    """Return texts in row-major order, as a list of them is written."""
    return array.ravel()


def texts_from_binary(data: memoryview, *, shape: tuple[int, ...], name: str) -> Array:
    """Read texts from untrusted bytes.

    Raises:
        MalformedError: `message.malformed`.
    """
    texts: list[str] = []
    place = 0
    while place < len(data):
        if len(data) - place < _LENGTH.size:
            raise _wrong(name)
        (size,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        if size > len(data) - place:
            raise _wrong(name)
        try:
            texts.append(bytes(data[place : place + size]).decode())
        except UnicodeDecodeError as e:
            raise _wrong(name) from e
        place += size
    return _shaped(texts, shape, name)


def texts_from_json(data: object, *, shape: tuple[int, ...], name: str) -> Array:
    """Read texts from a flat list.

    Raises:
        MalformedError: `message.malformed`.
    """
    if not isinstance(data, list) or not all(isinstance(text, str) for text in data):
        raise _wrong(name)
    return _shaped(data, shape, name)


def _shaped(texts: list[str], shape: tuple[int, ...], name: str) -> Array:
    array = np.empty(len(texts), object)
    array[:] = texts
    try:
        return array.reshape(shape)
    except ValueError as e:
        raise _wrong(name) from e


def _wrong(name: str) -> MalformedError:
    shown = "".join(c if c.isprintable() else "?" for c in name[:64])
    return MalformedError(
        f"tensor {shown}: not the texts that its shape needs", code="message.malformed"
    )
