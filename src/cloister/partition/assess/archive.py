"""Archives of arrays as NumPy writes them, read as data from untrusted bytes.

No pickle is loaded, no header is evaluated, and an array is made only where its bytes are said to
be there and the archive is not made to fill a memory.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from typing import IO, Final

import numpy as np

from cloister.errors import MalformedError
from cloister.partition.assess.attack import Array
from cloister.partition.unpacking import UNPACKING_ERRORS, is_plain

__all__ = ["read_array", "read_arrays"]

_CODE: Final = "sample.malformed"
MAX_UNPACKED: Final = 2**33
# Black images pack well; what packs better than this, beyond some size, is made to fill a memory.
MAX_RATIO: Final = 100
LEAST_RATIOED: Final = 2**26
MAX_MEMBERS: Final = 64
_KINDS: Final = frozenset("uifb")
_MAX_AXES: Final = 8
_MAX_HEADER: Final = 2**16
_CHUNK: Final = 2**20
# By what an array begins with, how many bytes the length of its header has.
_MAGIC_BYTES: Final = 8
_LENGTHS: Final = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}
_HEADER: Final = re.compile(
    rb"\{'descr': '([<>|=]?)([A-Za-z])(\d{0,4})', 'fortran_order': (True|False), "
    rb"'shape': \((|\d{1,18},|\d{1,18}(?:, ?\d{1,18})+,?)\),? ?\} *\n?"
)


def read_arrays(data: bytes, *, most: int | None = None) -> dict[str, Array]:
    """Read the arrays of numbers of an `.npz` archive by their names; others are passed over.

    Args:
        data: The file.
        most: Bytes that they may have in all; 8 GiB where it is None, and never more.

    Raises:
        MalformedError: `sample.malformed`, or `wire.too-large`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _arrays(
                archive, len(data), MAX_UNPACKED if most is None else min(most, MAX_UNPACKED)
            )
    except UNPACKING_ERRORS as e:
        raise MalformedError(
            "the sample: not an archive as numpy.savez writes it", code=_CODE, detail=str(e)[:300]
        ) from e


def _arrays(archive: zipfile.ZipFile, packed: int, most: int) -> dict[str, Array]:
    members = [m for m in archive.infolist() if m.filename.endswith(".npy")]
    unpacked = sum(m.file_size for m in members)
    if (
        len(archive.infolist()) > MAX_MEMBERS
        or unpacked > most
        or unpacked > LEAST_RATIOED + MAX_RATIO * packed
    ):
        raise MalformedError("the sample unpacks to too much", code="wire.too-large")
    if not all(is_plain(m) for m in members):
        raise ValueError("an array is encrypted, or packed as numpy.savez packs none")
    if len({m.filename for m in members}) != len(members):
        raise ValueError("two arrays have one name")
    found: dict[str, Array] = {}
    for member in members:
        with archive.open(member) as stream:
            array = read_array(stream, member.file_size)
        if array is not None:
            found[member.filename.removesuffix(".npy")] = array
    return found


def read_array(stream: IO[bytes], size: int) -> Array | None:
    """Read an array of exactly so many bytes with its header; None where it is of no numbers.

    NumPy's own reader evaluates the header as Python, with whatever that raises. A header that
    speaks of more than there is would be allocated before that is noticed.

    Raises:
        ValueError: It is not as `numpy.save` writes it.
    """
    start = stream.read(_MAGIC_BYTES)
    width = _LENGTHS.get(start)
    if width is None:
        raise ValueError("an array has no header of NumPy's")
    length = int.from_bytes(stream.read(width), "little")
    if length > _MAX_HEADER:
        raise ValueError("an array's header is too long")
    match = _HEADER.fullmatch(stream.read(length))
    if match is None:
        raise ValueError("an array's header is not as NumPy writes it")
    order, kind, width_of_one, by_columns, sizes = (each.decode() for each in match.groups())
    if kind not in _KINDS:
        return None
    shape = tuple(int(each) for each in sizes.split(",") if each.strip())
    if len(shape) > _MAX_AXES:
        raise ValueError("an array has too many axes")
    try:
        datatype = np.dtype(order + kind + width_of_one)
    except TypeError as e:
        raise ValueError("numbers of no width that there is") from e
    there = size - _MAGIC_BYTES - width - length
    if math.prod(shape) * datatype.itemsize != there:
        raise ValueError("an array's header speaks of more or less than there is")
    numbers = _bytes(stream, there).view(datatype)
    return numbers.reshape(shape, order="F" if by_columns == "True" else "C")


def _bytes(stream: IO[bytes], size: int) -> Array:
    """Read exactly so many bytes, and see that there are no more."""
    data = np.empty(size, np.uint8)
    at = 0
    while chunk := stream.read(min(_CHUNK, size - at + 1)):
        if at + len(chunk) > size:
            raise ValueError("there is more than the archive's table says")
        data[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
        at += len(chunk)
    if at != size:
        raise ValueError("there is less than the archive's table says")
    return data
