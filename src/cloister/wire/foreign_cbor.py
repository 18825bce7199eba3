"""CBOR that others wrote (COSE, and what is in it): strict, though not our canonical form.

Definite lengths, shortest heads, no key twice, no floats, nothing after the end; keys are texts or
integers, in any order; the tags that the caller names are told, and mean nothing here. So one byte
string has one reading, and a reading, written again in its order, is that byte string.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import cbor2

from cloister.errors import MalformedError

__all__ = ["MAX_DEPTH", "TAGS", "ForeignValue", "Tagged", "read_foreign", "write_foreign"]

TAGS: Final = frozenset({18, 399})
MAX_DEPTH: Final = 8
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Tagged:
    """A value with a tag."""

    tag: int
    value: ForeignValue


ForeignValue = (
    None
    | bool
    | int
    | bytes
    | str
    | Tagged
    | Sequence["ForeignValue"]
    | Mapping[int | str, "ForeignValue"]
)


def read_foreign(
    data: bytes,
    *,
    what: str,
    max_bytes: int,
    code: str,
    tags: Container[int] = TAGS,
    max_depth: int = MAX_DEPTH,
) -> ForeignValue:
    """Read one value from untrusted bytes that hold nothing else.

    Args:
        data: Untrusted.
        what: What is read, for messages.
        max_bytes: The longest input that this place accepts.
        code: What malformed input is called here.
        tags: The tags that may occur; every other one is refused.
        max_depth: How deep values may be nested.

    Raises:
        MalformedError: Not such CBOR, or not within limits.
    """
    wrong = MalformedError(f"{what} is not CBOR of the form that is read", code=code)
    if len(data) > max_bytes:
        raise wrong
    decoder = cbor2.CBORDecoder(
        io.BytesIO(data),
        max_depth=max_depth + 2,
        semantic_decoders=_Tags(tags),
        allow_indefinite=False,
        allow_duplicate_keys=False,
    )
    try:
        value = decoder.decode()
        plain = _plain(value, max_depth)
        if cbor2.dumps(value) != data:
            raise wrong
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError) as e:
        raise wrong from e
    return plain


def write_foreign(value: ForeignValue) -> bytes:
    """Write a value; maps keep their order."""
    return cbor2.dumps(_foreign(value))


class _Tags(Mapping[int, Callable[[object, bool], object]]):
    """What the library decodes each tag with: ours as they are, and every other one not at all.

    It gives meanings to many, and two of them stand for values that came before.
    """

    def __init__(self, tags: Container[int]) -> None:
        self._tags = tags

    def __getitem__(self, tag: int) -> Callable[[object, bool], object]:
        if tag not in self._tags:
            return _refuse_tag

        def keep(content: object, immutable: bool) -> object:  # noqa: FBT001  # the library's
            del immutable
            return cbor2.CBORTag(tag, content)

        return keep

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _refuse_tag(content: object, immutable: bool) -> NoReturn:  # noqa: FBT001  # the library's
    del content, immutable
    raise ValueError("a tag")


def _plain(value: object, depth: int) -> ForeignValue:
    """Check types and depth, and put our own type in the place of the library's."""
    if depth < 0:
        raise ValueError("too deep")
    if value is None or isinstance(value, bool | bytes | str):
        return value
    if isinstance(value, int) and _INT_MIN <= value <= _INT_MAX:
        return value
    if isinstance(value, list | tuple):
        return [_plain(each, depth - 1) for each in value]
    if isinstance(value, cbor2.CBORTag):
        return Tagged(value.tag, _plain(value.value, depth - 1))
    if isinstance(value, Mapping):
        return {_key(key): _plain(each, depth - 1) for key, each in value.items()}
    raise ValueError("a type that is not read")


def _key(key: object) -> int | str:
    if isinstance(key, str) or (isinstance(key, int) and not isinstance(key, bool)):
        return key
    raise ValueError("a key of another type")


def _foreign(value: ForeignValue) -> object:
    if isinstance(value, Tagged):
        return cbor2.CBORTag(value.tag, _foreign(value.value))
    if isinstance(value, Mapping):
        return {key: _foreign(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | str):
        return [_foreign(each) for each in value]
    return value
