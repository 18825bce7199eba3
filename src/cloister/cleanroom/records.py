"""A trainer's records: two files of a shard, read whole before anything looks at them.

A shard is `x.npy` and `y.npy` (NumPy's format, version 1 to 3): as many records as the terms say,
of their shape, and as many labels. Files are read once, from beginning to end, whatever is in them.

The data owner is not trusted with more than his own room: a shard that is not what the terms say
is refused, and no object, however written down, is made of it.

Spec: cleanroom-terms-v1.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cloister.errors import ConfigError, MalformedError

__all__ = ["Records", "load_records"]

Array = npt.NDArray[Any]
LABELS, RECORDS = "y.npy", "x.npy"
_HEADER_BYTES: Final = 4096
_WIDEST: Final = 8
_RECORD_TYPES: Final = frozenset({np.dtype("u1"), np.dtype("<f4"), np.dtype("<f8")})
_HELD_OUT: Final = 10


@dataclass(frozen=True, slots=True)
class Records:
    """Records and labels, in the order of the files.

    Attributes:
        x: float32, one record after another; what came as bytes is divided by 255.
        y: int32, from 0 to one below the number of classes.
    """

    x: Array
    y: Array

    def parted(self) -> tuple[Records, Records]:
        """Return those to train on, and the last tenth, which measures what was learned."""
        held = max(1, len(self.x) // _HELD_OUT)
        cut = max(1, len(self.x) - held)
        return Records(self.x[:cut], self.y[:cut]), Records(self.x[-held:], self.y[-held:])


def load_records(folder: Path, *, examples: int, shape: tuple[int, ...], classes: int) -> Records:
    """Read a shard.

    Args:
        folder: Where it is mounted; what is in it is untrusted.
        examples: How many records the terms say that there are.
        shape: Of one.
        classes: How many labels there are.

    Raises:
        ConfigError: A file is not there or cannot be read (`config.file`).
        MalformedError: It is not what the terms say (`records.malformed`).
    """
    x = _read(folder / RECORDS, examples, shape)
    y = _read(folder / LABELS, examples, ())
    if x.dtype not in _RECORD_TYPES:
        raise _malformed(f"records are {x.dtype}, and not bytes or floats")
    if y.dtype.kind not in "iu":
        raise _malformed(f"labels are {y.dtype}, and not whole numbers")
    if y.size and not (int(y.min()) >= 0 and int(y.max()) < classes):
        raise _malformed(f"labels are not all from 0 to {classes - 1}")
    found = x.astype(np.float32)
    if x.dtype == np.uint8:
        found /= np.float32(255)
    if not np.isfinite(found).all():
        raise _malformed("a record holds what is not a number")
    return Records(found, y.astype(np.int32))


def _read(path: Path, examples: int, shape: tuple[int, ...]) -> Array:
    wanted = (examples, *shape)
    most = _HEADER_BYTES + _WIDEST * int(np.prod(wanted, dtype=np.int64))
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
    if len(data) > most:
        raise _malformed(f"{path.name} is longer than the terms allow")
    stream = io.BytesIO(data)
    try:
        array = np.lib.format.read_array(stream, allow_pickle=False, max_header_size=_HEADER_BYTES)
    except (ValueError, EOFError, OverflowError, MemoryError, TypeError) as e:
        raise _malformed(f"{path.name} is not an array of numbers") from e
    if array.shape != wanted:
        raise _malformed(f"{path.name} holds {array.shape}, and the terms say {wanted}")
    if stream.tell() != len(data):
        raise _malformed(f"{path.name} holds more than its array")
    return np.asarray(array)


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"not the records of the terms: {problem}", code="records.malformed")
