"""Canonical bytes: deterministic CBOR (RFC 8949 section 4.2.1), read strictly.

Invariants:
    1. `decode(encode(x)) == x` for every value of type `Value`.
    2. Exactly one byte string encodes a value: `decode` refuses every other spelling
       (long integer forms, unsorted or repeated keys, indefinite lengths, trailing bytes).
    3. `decode` is bounded: input length by `max_bytes`, nesting by `MAX_DEPTH`, and what it builds
       by the input's length, since no tag may stand for something that came before.

Maps have text keys only. Floats, tags and undefined do not exist here: nothing we sign has them.

A library parses; the writer is ours, and judges while it writes. What was read is written again and
compared, so the two check one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any, Final, NoReturn

import cbor2

from cloister.errors import LocalProtocolError, MalformedError

__all__ = ["MAX_DEPTH", "Value", "decode", "encode"]

Value = None | bool | int | bytes | str | Sequence["Value"] | Mapping[str, "Value"]

MAX_DEPTH: Final = 16
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP = (kind << 5 for kind in range(6))
_SHORT: Final = 256
_KNOWN_MAPS: Final = 1024
_KNOWN_KEYS, _KNOWN_LETTERS = 32, 512


def encode(value: Value) -> bytes:
    """Return the one canonical encoding of `value`.

    Raises:
        LocalProtocolError: The value has a type or range that the format does not have: our bug.
    """
    try:
        return _written(value)
    except ValueError as e:
        raise LocalProtocolError("value has no canonical form", code="protocol.local") from e


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
    try:
        value: Value = cbor2.loads(
            data,
            max_depth=MAX_DEPTH + 2,
            semantic_decoders=_NO_TAGS,
            strict_hashable_types=True,
        )
    except (cbor2.CBORDecodeError, ValueError, RecursionError, OverflowError, MemoryError) as e:
        raise MalformedError("bytes are not canonical CBOR", code="wire.malformed") from e
    try:
        canonical = _written(value)
    except ValueError as e:
        raise MalformedError("CBOR type or depth outside the profile", code="wire.malformed") from e
    if canonical != data:
        raise MalformedError("CBOR is not in its canonical form", code="wire.malformed")
    return value


class _NoTags(Mapping[int, Callable[[object, bool], NoReturn]]):
    """What the library decodes each tag with: a refusal.

    Two of its own stand for values that came before: a few hundred bytes of them are a tree that
    nobody walks to its end.
    """

    def __getitem__(self, tag: int) -> Callable[[object, bool], NoReturn]:
        return _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _refuse_tag(decoder: object, immutable: bool) -> NoReturn:  # noqa: FBT001  # the library's
    del decoder, immutable
    raise ValueError("a tag")


_NO_TAGS: Final = _NoTags()


def _written(value: object) -> bytes:
    out: list[bytes] = []
    _write(_NO_KEYS, (value,), out, depth=0)
    return b"".join(out)


def _head(kind: int, number: int) -> bytes:
    """Return the first bytes of an item: its kind and number, in the shortest form."""
    if number < 24:  # noqa: PLR2004  # these thresholds are the format's
        return bytes((kind | number,))
    for size, code in ((1, 24), (2, 25), (4, 26), (8, 27)):
        if number < 1 << 8 * size:
            return bytes((kind | code,)) + number.to_bytes(size, "big")
    raise ValueError("too large")


_HEADS: Final = {
    kind: tuple(_head(kind, number) for number in range(_SHORT))
    for kind in (_UNSIGNED, _BYTES, _TEXT, _ARRAY, _MAP)
}
_UNSIGNED_HEADS, _BYTES_HEADS, _TEXT_HEADS, _ARRAY_HEADS, _MAP_HEADS = _HEADS.values()
_SIMPLE: Final = {False: b"\xf4", True: b"\xf5", None: b"\xf6"}
_NO_KEYS: Final = repeat(b"")


def _write(keys: Iterable[bytes], values: Iterable[Any], out: list[bytes], *, depth: int) -> None:
    """Write items one after another, each behind its key; the commonest kinds come first.

    Raises:
        ValueError: One of them has no place in the format.
    """
    if depth > MAX_DEPTH:
        raise ValueError("too deep")
    for key, value in zip(keys, values, strict=False):
        out.append(key)
        kind = type(value)
        if kind is bytes:
            size = len(value)
            out.append(_BYTES_HEADS[size] if size < _SHORT else _head(_BYTES, size))
            out.append(value)
        elif kind is str:
            out.append(_text(value))
        elif kind is int:
            out.append(_UNSIGNED_HEADS[value] if 0 <= value < _SHORT else _integer(value))
        elif kind is dict:
            size = len(value)
            out.append(_MAP_HEADS[size] if size < _SHORT else _head(_MAP, size))
            written, names = _in_order(tuple(value))
            _write(written, map(value.__getitem__, names), out, depth=depth + 1)
        elif kind is list or kind is tuple:
            size = len(value)
            out.append(_ARRAY_HEADS[size] if size < _SHORT else _head(_ARRAY, size))
            _write(_NO_KEYS, value, out, depth=depth + 1)
        elif kind is bool or value is None:
            out.append(_SIMPLE[value])
        else:
            _write(_NO_KEYS, (_as_plain(value),), out, depth=depth)


def _as_plain(value: Any) -> object:
    """Return what a value of a subclass holds, whatever it shows."""
    if isinstance(value, str):
        return str.__str__(value)
    kinds: tuple[type[Any], ...] = (bytes, int, dict, list, tuple)
    for kind in kinds:
        if isinstance(value, kind):
            return kind(value)
    raise ValueError("a type that the format does not have")


def _integer(value: int) -> bytes:
    if not _INT_MIN <= value <= _INT_MAX:
        raise ValueError("too large")
    return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)


def _text(text: str) -> bytes:
    encoded = text.encode()  # raises ValueError for halves of surrogate pairs
    size = len(encoded)
    return (_TEXT_HEADS[size] if size < _SHORT else _head(_TEXT, size)) + encoded


def _in_order(names: tuple[str, ...]) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Return a map's keys in their order: as they are written, and as they are."""
    try:
        letters = len("".join(names))
    except TypeError as e:
        raise ValueError("a key that is no text") from e
    if len(names) <= _KNOWN_KEYS and letters <= _KNOWN_LETTERS:
        return _known_order(names)
    return _order(names)


def _order(names: tuple[str, ...]) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    pairs = sorted((_text(name), name) for name in names)
    return tuple(key for key, _ in pairs), tuple(name for _, name in pairs)


# Messages have few different sets of keys. Others are bounded: half a MiB of letters at most.
_known_order: Final = lru_cache(_KNOWN_MAPS)(_order)
