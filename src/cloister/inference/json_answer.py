"""An answer of JSON, which may be megabytes of numbers: written piece by piece.

`json.dumps` makes an object of each number and a text of each object before it joins them, which is
ten times what it gives, and nobody else computes meanwhile. So arrays stay arrays in a record, and
of each some thousand numbers are written at a time; of long answers, one at a time.

Spec: serving-v1, clause SRV-32.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from cloister.inference.json_body import turn_at_long
from cloister.inference.tensor import Array

__all__ = ["Lists", "Rows", "write_answer"]

PIECE: Final = 2**13  # numbers, which are up to 200 KiB of text
_NUMBER_BYTES: Final = 20  # of text, about


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """An array that is written as lists of lists; the one number, where it has no axes.

    Attributes:
        array: Numbers that JSON can say, truth values, or texts (of objects).
    """

    array: Array


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Arrays that are written as a list of objects, one for each row that they have in common.

    Attributes:
        arrays: By name, one or more, as many rows in each.
    """

    arrays: Mapping[str, Array]


def write_answer(record: object) -> bytes:
    """Return JSON without spaces.

    Args:
        record: What `json.dumps` takes, and `Lists` and `Rows` as values of objects. Objects with
            some stand in objects, or in lists of objects.

    Raises:
        ValueError: A number is not finite.
    """
    try:
        return _AT_ONCE.encode(record).encode()
    except _LongError:
        with turn_at_long(_NUMBER_BYTES * _numbers(record)):
            return "".join(_written(record)).encode()


def _numbers(value: object) -> int:
    if isinstance(value, Lists):
        return value.array.size
    if isinstance(value, Rows):
        return sum(array.size for array in value.arrays.values())
    if isinstance(value, dict):
        return sum(map(_numbers, value.values()))
    return sum(map(_numbers, value)) if _is_of_objects(value) else 0


def _written(value: object) -> Iterator[str]:
    if isinstance(value, Lists):
        yield from _lists(value.array)
    elif isinstance(value, Rows):
        yield from _rows(value.arrays)
    elif isinstance(value, dict):
        for i, (name, each) in enumerate(value.items()):
            yield f"{',' if i else '{'}{_dumped(name)}:"
            yield from _written(each)
        yield "}" if value else "{}"
    elif _is_of_objects(value):
        for i, each in enumerate(value):
            yield "," if i else "["
            yield from _written(each)
        yield "]"
    else:
        yield _dumped(value)


def _is_of_objects(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list) and len(value) > 0 and isinstance(value[0], dict)


def _lists(array: Array) -> Iterator[str]:
    if array.size <= PIECE:
        yield _dumped(array.tolist())
        return
    inner = math.prod(array.shape[1:])
    step = max(1, PIECE // inner)
    for start in range(0, len(array), step):
        yield "," if start else "["
        if inner > PIECE:
            yield from _lists(array[start])
        else:
            yield _dumped(array[start : start + step].tolist())[1:-1]
    yield "]"


def _rows(arrays: Mapping[str, Array]) -> Iterator[str]:
    count = len(next(iter(arrays.values())))
    inner = sum(math.prod(array.shape[1:]) for array in arrays.values())
    step = max(1, PIECE // max(1, inner))
    yield "["
    for start in range(0, count, step):
        if start:
            yield ","
        if inner > PIECE:
            row = {name: Lists(array[start, ...]) for name, array in arrays.items()}
            yield from _written(row)
        else:
            part = {name: array[start : start + step] for name, array in arrays.items()}
            yield _dumped(_objects(part))[1:-1]
    yield "]"


class _LongError(Exception):
    """Some array is too long to be written at once."""


def _listed(value: object) -> list[Any]:
    """Return short arrays as lists, which most answers have alone; that costs no walk in Python."""
    if not isinstance(value, Lists | Rows) or _numbers(value) > PIECE:
        raise _LongError
    if isinstance(value, Lists):
        listed: list[Any] = value.array.tolist()
        return listed
    return _objects(value.arrays)


def _objects(arrays: Mapping[str, Array]) -> list[Any]:
    lists = (array.tolist() for array in arrays.values())
    return [dict(zip(arrays, row, strict=True)) for row in zip(*lists, strict=True)]


_PLAIN: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_AT_ONCE: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_listed)


def _dumped(value: Any) -> str:
    return _PLAIN.encode(value)
