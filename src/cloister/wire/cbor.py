"""Canonical bytes: deterministic CBOR (RFC 8949 section 4.2.1), read strictly.

Invariants:
    1. `decode(encode(x)) == x` for every value of type `Value`.
    2. Exactly one byte string encodes a value: `decode` refuses every other spelling
       (long integer forms, unsorted or repeated keys, indefinite lengths, trailing bytes).
    3. `decode` is bounded: input length by `max_bytes`, nesting by `MAX_DEPTH`.

Maps have text keys only. Floats, tags and undefined do not exist here: nothing we sign has them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import cbor2

from cloister.errors import LocalProtocolError, MalformedError

__all__ = ["MAX_DEPTH", "Value", "decode", "encode"]

Value = None | bool | int | bytes | str | Sequence["Value"] | Mapping[str, "Value"]

MAX_DEPTH: Final = 16
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1


def encode(value: Value) -> bytes:
    """Return the one canonical encoding of `value`.

    Raises:
        LocalProtocolError: The value has a type or range that the format does not have: our bug.
    """
    if not _is_plain(value, depth=0):
        raise LocalProtocolError("value has no canonical form", code="protocol.local")
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, max_bytes: int) -> Value:
    """Read one value from untrusted bytes that hold nothing else.

    Args:
        data: Untrusted.
        max_bytes: The longest input that this place accepts; part of every format's limits.

    Raises:
        MalformedError: Not canonical, not within limits, or not CBOR.
    """
    if len(data) > max_bytes:
        raise MalformedError(
            f"message of {len(data)} bytes is longer than the {max_bytes} allowed here",
            code="wire.too-large",
        )
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream, max_depth=MAX_DEPTH + 2).decode()
    except (cbor2.CBORDecodeError, ValueError, RecursionError, OverflowError, MemoryError) as e:
        raise MalformedError(
            "bytes are not canonical CBOR", code="wire.malformed", offset=stream.tell()
        ) from e
    if not _is_plain(value, depth=0):
        raise MalformedError("CBOR type or depth outside the profile", code="wire.malformed")
    plain: Value = value
    if cbor2.dumps(plain, canonical=True) != data:
        raise MalformedError("CBOR is not in its canonical form", code="wire.malformed")
    return plain


def _is_plain(value: object, *, depth: int) -> bool:
    # Explicit loops, not generators: this runs over every message, in both directions.
    if depth > MAX_DEPTH:
        return False
    if value is None or isinstance(value, bool | bytes):
        return True
    if isinstance(value, str):
        return _is_unicode(value)
    if isinstance(value, int):
        return _INT_MIN <= value <= _INT_MAX
    if isinstance(value, list | tuple):
        return _are_plain(value, depth=depth + 1)
    if isinstance(value, dict):
        return _are_texts(value) and _are_plain(value.values(), depth=depth + 1)
    return False


def _are_plain(values: Iterable[object], *, depth: int) -> bool:
    for value in values:  # noqa: SIM110  # see above
        if not _is_plain(value, depth=depth):
            return False
    return True


def _are_texts(keys: Iterable[object]) -> bool:
    for key in keys:  # noqa: SIM110  # see above
        if not isinstance(key, str) or not _is_unicode(key):
            return False
    return True


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
