"""What follows a model, without branches or addresses that depend on its numbers.

Which class won is as secret as the query, and a machine's owner can watch pages and cache lines.
Selection here is passes over all elements, or a sorting network: which are compared, and where they
are written, follows from their number alone. Floats are compared as integers, so that no arithmetic
takes longer for some values. Shapes, `count` and the datatype are public; numbers are not.

Spec: serving-v1, clause SRV-72.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["Networks", "Ranked", "argmax", "at_least", "choose_rows", "effort", "kept", "top_k"]

_Array = npt.NDArray[Any]
_Keys = npt.NDArray[np.int64]
Ranked = tuple[_Array, npt.NDArray[np.int64]]
_LOW: Final = np.int64(0xFFFFFFFF)
_NARROW_BYTES: Final = 4
_PIECE_BYTES: Final = 1 << 24  # of rows that are touched at one time, whatever is asked
_FEW: Final = 8  # so many passes cost less than a network
_PAIR_BYTES: Final = 8  # of two scores that are compared, and written in order
_USUAL: Final = 1024  # so many places cost a large network hardly more than nine
_NETWORK_BYTES: Final = 2**27  # of networks that are kept
_WORDS: Final[Mapping[int, np.dtype[Any]]] = {
    2: np.dtype(np.int16),
    4: np.dtype(np.int32),
    8: np.dtype(np.int64),
}
# The bits of positive infinity; beyond them are NaNs.
_INFINITY: Final = {2: 0x7C00, 4: 0x7F800000, 8: 0x7FF0000000000000}


def top_k(scores: _Array, count: int) -> Ranked:
    """Return the `count` largest scores of the last axis, falling, and where they were.

    Equal scores come in the order of their places; a NaN is below every number, and comes back as
    some NaN; minus zero equals zero, and comes back as zero.

    Args:
        scores: Numbers or booleans, of at least one axis, which has at least `count` elements.
        count: From 1.
    """
    size = scores.shape[-1]
    keys = _keys(scores)
    places = np.broadcast_to(np.arange(size, dtype=np.int64), keys.shape)
    if scores.dtype.itemsize <= _NARROW_BYTES:
        words = (keys << np.int64(32)) | (_LOW - places)
        words = _passes(words, count) if count <= _FEW else _sorted(words, count)
        return _values(words >> np.int64(32), scores.dtype), _LOW - (words & _LOW)
    wide, tie = keys.copy(), -places
    _sort_pairs(wide, tie, count)
    return _values(wide[..., :count], scores.dtype), -tie[..., :count]


def effort(size: int, count: int, dtype: np.dtype[Any]) -> int:
    """Return about how many bytes `top_k` touches for one row; a byte takes about a nanosecond.

    Args:
        size: Scores of the row.
        count: How many are wanted.
        dtype: The scores'.
    """
    if dtype.itemsize <= _NARROW_BYTES and count <= _FEW:
        return _PAIR_BYTES * size * count
    depth = max(size - 1, 1).bit_length()
    pairs = size * depth * (depth + 1) // 4
    return (_PAIR_BYTES if dtype.itemsize <= _NARROW_BYTES else 3 * _PAIR_BYTES) * pairs


def argmax(scores: _Array) -> npt.NDArray[np.int64]:
    """Return where the largest score of the last axis is; the first of equal ones."""
    return top_k(scores, 1)[1][..., 0]


def at_least(scores: _Array, bound: float) -> npt.NDArray[np.uint8]:
    """Return 1 where a score is `bound` or more, else 0; a NaN is below every bound.

    Args:
        scores: Of any type.
        bound: Finite; it means the number that it is, whether or not the scores' type has it.
    """
    edge = _least_score(bound, scores.dtype)
    if edge is None:
        return np.zeros(scores.shape, np.uint8)
    return (_keys(scores) >= _keys(edge)).view(np.uint8)


def kept(scores: _Array, told: npt.NDArray[np.uint8]) -> _Array:
    """Return the scores where `told` is 1, and zeros, of no sign, where it is 0.

    Args:
        scores: Any; not a bit of one that is not told is left.
        told: Of the same shape.
    """
    bits = np.ascontiguousarray(scores).view(f"u{scores.dtype.itemsize}")
    masked: _Array = bits & -told.astype(bits.dtype)
    return masked.view(scores.dtype)


def choose_rows(table: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> _Array:
    """Return the rows of `table` at `places`, having touched all of them for each.

    Args:
        table: Rows of bytes, all of one length.
        places: Of any shape; each a row's number.
    """
    flat = places.reshape(-1)
    step = max(1, _PIECE_BYTES // max(1, table.size))
    pieces = [_chosen(table, flat[at : at + step]) for at in range(0, flat.size, step)]
    chosen = np.concatenate(pieces) if pieces else np.empty((0, table.shape[1]), np.uint8)
    return chosen.reshape(*places.shape, table.shape[1])


def _chosen(table: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> _Array:
    rows = np.arange(table.shape[0], dtype=np.int64)
    masks = -(places[..., None] == rows).view(np.int8)
    chosen: _Array = np.bitwise_or.reduce(masks.view(np.uint8)[..., None] & table, axis=-2)
    return chosen


def _least_score(bound: float, dtype: np.dtype[Any]) -> _Array | None:
    """Return the least number of a type that is not below a bound; None where all are."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            near = np.full(1, bound).astype(dtype)
        up = np.nextafter(near, dtype.type(np.inf))
        return up if float(near[0]) < bound else near
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    whole = max(math.ceil(bound), least)
    return None if whole > most else np.full(1, whole, dtype)


def _keys(scores: _Array) -> _Keys:
    """Return integers that are ordered as the scores are; NaN is the least of its width."""
    kind, bytes_ = scores.dtype.kind, scores.dtype.itemsize
    if kind == "b":
        return scores.view(np.uint8).astype(np.int64)
    if kind == "i":
        return scores.astype(np.int64)
    if kind == "u":
        if bytes_ <= _NARROW_BYTES:
            return scores.astype(np.int64) - np.int64(2 ** (8 * bytes_ - 1))
        return scores.view(np.int64) ^ np.iinfo(np.int64).min
    word = _WORDS[bytes_]
    bits = np.ascontiguousarray(scores).view(word).astype(np.int64)
    least, most = np.int64(np.iinfo(word).min), np.int64(np.iinfo(word).max)
    ordered = bits ^ ((bits >> np.int64(63)) & most)
    ordered += (bits == least).view(np.int8)  # minus zero is the integer below zero
    nan = -((bits & most) > _INFINITY[bytes_]).view(np.int8).astype(np.int64)
    keys: _Keys = ordered ^ ((ordered ^ least) & nan)
    return keys


def _values(keys: _Keys, dtype: np.dtype[Any]) -> _Array:
    """Return the scores that have these keys."""
    kind, bytes_ = dtype.kind, dtype.itemsize
    if kind == "b":
        return keys.astype(np.uint8).view(np.bool_)
    if kind == "i":
        return keys.astype(dtype)
    if kind == "u":
        if bytes_ <= _NARROW_BYTES:
            return (keys + np.int64(2 ** (8 * bytes_ - 1))).astype(dtype)
        return np.ascontiguousarray(keys ^ np.iinfo(np.int64).min).view(np.uint64)
    word = _WORDS[bytes_]
    most = np.int64(np.iinfo(word).max)
    bits = keys ^ ((keys >> np.int64(63)) & most)
    return np.ascontiguousarray(bits.astype(word)).view(dtype)


def _passes(words: _Keys, count: int) -> _Keys:
    """Return the largest words, each found by a pass over all, and then made the least."""
    found = np.empty((*words.shape[:-1], count), np.int64)
    least = np.iinfo(np.int64).min
    for rank in range(count):
        best = np.maximum.reduce(words, axis=-1, keepdims=True)
        found[..., rank : rank + 1] = best
        words ^= (words ^ least) & -(words == best).view(np.int8).astype(np.int64)
    return found


def _sorted(words: _Keys, count: int) -> _Keys:
    for first, second in _NETWORKS.get(words.shape[-1], count):
        a, b = words[..., first], words[..., second]
        words[..., first] = np.maximum(a, b)
        words[..., second] = np.minimum(a, b)
    return words[..., :count]


def _sort_pairs(keys: _Keys, ties: _Keys, count: int) -> None:
    for first, second in _NETWORKS.get(keys.shape[-1], count):
        a, b = keys[..., first], keys[..., second]
        s, t = ties[..., first], ties[..., second]
        less = (a < b).view(np.int8) | ((a == b).view(np.int8) & (s < t).view(np.int8))
        mask = -less.astype(np.int64)
        swap, turn = (a ^ b) & mask, (s ^ t) & mask
        keys[..., first], keys[..., second] = a ^ swap, b ^ swap
        ties[..., first], ties[..., second] = s ^ turn, t ^ turn


_Network = tuple[tuple[_Keys, _Keys], ...]


class Networks:
    """Sorting networks that were made, the newest ones, of so many bytes together.

    There are two for each size at most, whatever counts are asked for.
    """

    def __init__(self, most_bytes: int) -> None:
        """Keep nothing yet.

        Args:
            most_bytes: Of all; the newest is kept even where it alone has more.
        """
        self._most = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], _Network] = OrderedDict()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """How many bytes are kept."""
        return self._bytes

    def get(self, size: int, count: int) -> _Network:
        """Return a network whose first `count` places are right, or more of them."""
        key = (size, min(size, _USUAL) if count <= _USUAL else size)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                found = self._kept[key] = _made(*key)
                self._bytes += _bytes(found)
            self._kept.move_to_end(key)
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= _bytes(self._kept.popitem(last=False)[1])
        return found


def _bytes(network: _Network) -> int:
    return sum(first.nbytes + second.nbytes for first, second in network)


def _made(size: int, count: int) -> _Network:
    """Return the steps of Batcher's odd-even merge sort that the first `count` places need."""
    steps: list[_Array] = []
    block = 1
    while block < size:
        distance = block
        while distance >= 1:
            places = np.arange(distance % block, max(size - distance, 0))
            inside = (places - distance % block) % (2 * distance) < distance
            same = places // (2 * block) == (places + distance) // (2 * block)
            first = places[inside & same]
            steps.append(np.stack([first, first + distance]))
            distance //= 2
        block *= 2
    needed = np.zeros(size, dtype=bool)
    needed[:count] = True
    kept: list[tuple[_Keys, _Keys]] = []
    for first, second in reversed(steps):
        wanted = needed[first] | needed[second]
        first, second = first[wanted], second[wanted]  # noqa: PLW2901  # what is left of the step
        needed[first] = needed[second] = True
        if len(first):
            kept.append((first, second))
    return tuple(reversed(kept))


_NETWORKS: Final = Networks(_NETWORK_BYTES)
