"""A search for a secret part's constants in what is given away.

Every run of sixteen bytes of a secret constant, as it stands, is looked for at any byte of the
exposed file. So is every sixteenth run of the forms that converters give numbers: the other byte
order, half, bfloat, single and double precision, and any axis innermost; a piece of some twenty
numbers in a row is found in these. An ONNX file may have something between one number and the next,
so its constants are searched as numbers, too. Runs that say nothing are left out: zeros, ones,
small whole numbers, few values again and again. What is not found this way may still be there,
encrypted or recoded: the search is for mistakes, not for a sender who hides something.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloister.errors import RefusedError
from cloister.partition.graph import PartFile
from cloister.partition.litert_file import read_litert
from cloister.partition.litert_operators import DATATYPES
from cloister.partition.onnx_file import constants_of, free_name, lists_of, read_onnx

__all__ = ["part_constants", "require_kept_out", "require_no_constants"]

Array = npt.NDArray[Any]

_WINDOW: Final = 16
_STEP: Final = 16
_PIECE: Final = 1 << 19
_BATCH: Final = 1 << 22
_CHUNK: Final = 1 << 23
_LEAST_BITS: Final = 12
_MOST_BITS: Final = 26
_SMALL_INTEGER: Final = 4096
# How many different numbers a run of so many must have to say something.
_DISTINCT: Final = {4: 3, 8: 5, 16: 6}
_LEAST_JUDGED: Final = 4
# Bits of bfloat16, for which numpy has no type; models have no other use for this one.
_BFLOAT: Final = np.dtype("<u2")
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_MAX_RANK_MOVED: Final = 4
_SCALES: Final = frozenset({"min", "max", "scale", "zero_point"})


class _Owners:
    """Which constant each run of a batch is from."""

    def __init__(self, names: Sequence[str], runs: Sequence[Array]) -> None:
        self._names: Final = tuple(names)
        self._ends: Final = np.cumsum([len(found) for found in runs])

    def name(self, run: int) -> str:
        return self._names[int(np.searchsorted(self._ends, run, "right"))]


def part_constants(part: PartFile) -> dict[str, Array]:
    """Return a part's constants by name: scales and lists of numbers among them.

    Raises:
        MalformedError: `model.malformed`, and RefusedError: the part was not written here.
    """
    if part.format == "onnx":
        model = read_onnx(part.data)
        found, others = constants_of(model), lists_of(model)
    else:
        found, others = _litert_constants(part.data)
    for name, array in others.items():
        found[free_name(name, found)] = array
    return found


def _litert_constants(data: bytes) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the constants of a LiteRT file, and what says how its tensors are quantised."""
    found: dict[str, Array] = {}
    scales: dict[str, Array] = {}
    seen: set[tuple[int, int, tuple[int, ...]]] = set()
    for tensor in read_litert(data).tensors:
        for key in _SCALES & tensor.quantization.keys():
            scales[f"{tensor.name}.{key}"] = tensor.quantization[key]
        # Tensors of one buffer are looked for once.
        same = (id(tensor.constant), tensor.type, tensor.shape)
        if tensor.constant is None or same in seen:
            continue
        seen.add(same)
        numbers = np.frombuffer(tensor.constant, DATATYPES[tensor.type])
        found[tensor.name] = numbers.reshape(tensor.shape)
    return found, scales


def require_kept_out(secret: PartFile, exposed: PartFile) -> int:
    """Refuse an exposed part with a piece of a secret part's constants in it.

    The exposed file is searched as it stands. In ONNX so are its constants as numbers: a file may
    have lists of them with something between each and the next.

    Args:
        secret: A part that stays inside.
        exposed: The part that is given away.

    Returns:
        How many runs were looked for in the file.

    Raises:
        RefusedError: `partition.constant`: one is there; the message names the constant.
        MalformedError: `model.malformed`: a part was not written here.
    """
    constants = part_constants(secret)
    looked_for = require_no_constants(constants, exposed.data)
    if exposed.format == "onnx":
        numbers = part_constants(exposed).values()
        # A gap as long as a run: no run may begin in one constant and end in the next.
        decoded = bytes(_WINDOW).join(np.asarray(each, order="C").tobytes() for each in numbers)
        require_no_constants(constants, decoded)
    return looked_for


def require_no_constants(secret: Mapping[str, Array], exposed: bytes) -> int:
    """Refuse an exposed file with a run of sixteen bytes of a secret constant in it.

    Args:
        secret: Constants by name, as `part_constants` gives them.
        exposed: What is given away: a file, whole.

    Returns:
        How many runs were looked for.

    Raises:
        RefusedError: `partition.constant`: one is there; the message names the constant.
    """
    looked_for = 0
    for owners, keys in _batches(secret):
        looked_for += len(keys)
        _require_absent(owners, keys, exposed)
    return looked_for


def _batches(secret: Mapping[str, Array]) -> Iterator[tuple[_Owners, Array]]:
    """Yield runs, a bounded number at a time, and the name of the constant that each is from."""
    names: list[str] = []
    runs: list[Array] = []
    waiting = 0
    for name, array in secret.items():
        for found in _runs(array):
            names.append(name)
            runs.append(found)
            waiting += len(found)
            if waiting >= _BATCH:
                yield _Owners(names, runs), np.concatenate(runs)
                names, runs, waiting = [], [], 0
    if waiting:
        yield _Owners(names, runs), np.concatenate(runs)


def _require_absent(owners: _Owners, keys: Array, exposed: bytes) -> None:
    order = np.argsort(keys[:, 0], kind="stable")
    keys = keys[order]
    bits = min(_MOST_BITS, max(_LEAST_BITS, len(keys).bit_length() + 5))
    first, second = (_table(keys[:, i], bits) for i in (0, 1))
    for place, words in _words_of(exposed):
        slots = _slots(words, bits)
        hit = np.flatnonzero(first[slots[:-1]])
        hit = hit[second[slots[hit + 1]]]
        pairs = np.stack((words[hit], words[hit + 1]), axis=-1)
        if len(hit) and (match := _match(keys, pairs)) is not None:
            which, at = match
            name = owners.name(int(order[which]))
            raise RefusedError(
                f"the exposed file has a piece of the secret constant {name}",
                code="partition.constant",
                detail=f"at byte {place + 8 * int(hit[at])}",
            )


def _runs(array: Array) -> Iterator[Array]:
    """Yield the runs of a constant in each form, as pairs of 64-bit words, some at a time."""
    for number, form in enumerate(_forms(np.asarray(array, order="C"))):
        count = _WINDOW // form.dtype.itemsize
        if form.size < count:
            continue
        for line, lines in enumerate(_lines(form, count)):
            own = not number and not line
            for piece in _pieces(lines, count):
                yield _words(piece, count, 1 if own else _STEP)
                if form.dtype.itemsize > 1:
                    yield _words(piece, count, _STEP, swapped=True)


def _pieces(lines: Array, count: int) -> Iterator[Array]:
    """Yield lines a bounded number at a time; pieces of one long line overlap by a run."""
    rows, length = lines.shape
    if rows == 1:
        for start in range(0, length - count + 1, _PIECE):
            yield lines[:, start : start + _PIECE + count - 1]
        return
    together = max(1, _PIECE // length)
    for start in range(0, rows, together):
        yield lines[start : start + together]


def _words(lines: Array, count: int, step: int, *, swapped: bool = False) -> Array:
    judged = max(count, _LEAST_JUDGED)
    if lines.shape[-1] < judged:
        return np.empty((0, 2), "<u8")
    windows = np.lib.stride_tricks.sliding_window_view(lines, judged, axis=-1)[:, ::step]
    found = windows[_telling(windows)][:, :count]
    found = np.ascontiguousarray(found.byteswap() if swapped else found)
    return found.view(np.uint8).reshape(-1, _WINDOW).view("<u8")


def _forms(numbers: Array) -> Iterator[Array]:
    little = numbers.astype(numbers.dtype.newbyteorder("<"), copy=False)
    yield little
    if numbers.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        for name in ("<f2", "<f4", "<f8"):
            if np.dtype(name) != little.dtype:
                yield little.astype(name)
        single = np.ascontiguousarray(little.astype("<f4"))
    yield (single.view("<u4") >> np.uint32(16)).astype(_BFLOAT)


def _lines(form: Array, count: int) -> Iterator[Array]:
    """Yield the numbers in a row as they stand, and along other axes, and pairs of them."""
    yield form.reshape(1, -1)
    form = form.squeeze()
    if form.ndim > _MAX_RANK_MOVED:
        return
    for axis in range(form.ndim - 1):
        if form.shape[axis] >= count:
            moved = np.moveaxis(form, axis, -1)
            yield np.ascontiguousarray(moved).reshape(-1, form.shape[axis])
    # The two axes of a kernel's window stay together wherever they go.
    for axis in range(form.ndim - 2):
        both = form.shape[axis] * form.shape[axis + 1]
        if both >= count:
            moved = np.moveaxis(form, (axis, axis + 1), (-2, -1))
            yield np.ascontiguousarray(moved).reshape(-1, both)


def _telling(windows: Array) -> Array:
    """Tell which runs say something about the constant that they come from."""
    if windows.dtype == _BFLOAT:
        windows = (windows.astype("<u4") << np.uint32(16)).view("<f4")
    count = windows.shape[-1]
    ordered = np.sort(windows, axis=-1)
    distinct = 1 + (ordered[..., 1:] != ordered[..., :-1]).sum(axis=-1)
    telling: Array = distinct >= _DISTINCT[count]
    if windows.dtype.itemsize > 1:
        with np.errstate(invalid="ignore"):
            small = (np.abs(ordered) <= _SMALL_INTEGER) & (ordered == np.trunc(ordered))
        telling &= ~small.all(axis=-1)
    return telling


def _table(words: Array, bits: int) -> Array:
    """Return which slots any word falls into: most of the exposed file is passed over by it."""
    table = np.zeros(1 << bits, np.bool_)
    table[_slots(words, bits)] = True
    return table


def _slots(words: Array, bits: int) -> Array:
    with np.errstate(over="ignore"):
        mixed: Array = (words * _MIX) >> np.uint64(64 - bits)
    return mixed


def _words_of(data: bytes) -> Iterator[tuple[int, Array]]:
    """Yield 64-bit words, eight ways to begin, a chunk at a time; the first is at a place."""
    for start in range(0, len(data), _CHUNK):
        for place in range(start, min(start + 8, len(data) - _WINDOW + 1)):
            # As much more as a run has: one may begin in this chunk and end in the next.
            end = min(len(data), start + _CHUNK + _WINDOW - 1)
            yield place, np.frombuffer(data, "<u8", (end - place) // 8, place)


def _match(keys: Array, words: Array) -> tuple[int, int] | None:
    """Return the index of a key and of the words that equal it, if any do."""
    low = np.searchsorted(keys[:, 0], words[:, 0], "left")
    high = np.searchsorted(keys[:, 0], words[:, 0], "right")
    for at in np.flatnonzero(high > low).tolist():
        same = np.flatnonzero(keys[low[at] : high[at], 1] == words[at, 1])
        if len(same):
            return int(low[at] + same[0]), at
    return None
