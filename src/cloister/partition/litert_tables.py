"""Flatbuffers read as data: every offset checked, every byte paid for from a budget.

The file is hostile. No native code sees it: what is read here becomes arrays and numbers, from
which a new file is written. Tables that point at each other's parts again and again would make a
small file large, so all that is read may come to a few times the file's size, and no more.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cloister.errors import MalformedError, RefusedError

__all__ = ["Field", "Schema", "Tables"]

_IDENTIFIER: Final = b"TFL3"
_MIN_BYTES: Final = 24
_BUDGET_FACTOR: Final = 4
_BUDGET_LEAST: Final = 1 << 16
_TABLE_COST: Final = 64
_MAX_STRING: Final = 1 << 16
_VTABLE_HEAD: Final = 4
_VECTORS: Final[Mapping[str, np.dtype[Any]]] = {
    "u8": np.dtype("<u1"),
    "i32": np.dtype("<i4"),
    "i64": np.dtype("<i8"),
    "f32": np.dtype("<f4"),
}
_FORMS: Final[Mapping[str, struct.Struct]] = {
    "bool": struct.Struct("<?"),
    "i8": struct.Struct("<b"),
    "u8": struct.Struct("<B"),
    "i32": struct.Struct("<i"),
    "u32": struct.Struct("<I"),
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a table.

    Attributes:
        name: Its key in what is read.
        kind: `i32` and other numbers, `string`, `vector`, `table`, `tables`, or `place` for a table
            that somebody else reads.
        of: The numbers of a vector, or the schema of a table.
    """

    name: str
    kind: str
    of: Any = None


Schema = Mapping[int, Field]


class Tables:
    """One flatbuffer."""

    def __init__(self, data: bytes) -> None:
        """Look at a file.

        Raises:
            MalformedError: `model.malformed`: no TensorFlow Lite model.
        """
        if len(data) < _MIN_BYTES or data[4:8] != _IDENTIFIER:
            raise MalformedError("not a TensorFlow Lite model", code="model.malformed")
        self.data: Final = data
        self._budget = _BUDGET_FACTOR * len(data) + _BUDGET_LEAST

    def root(self, schema: Schema) -> dict[str, Any]:
        """Return the root table; a field that is not there is not in the result.

        Raises:
            MalformedError: `model.malformed`: an offset leads outside, or there is too much.
            RefusedError: `model.operator`: a table has a field that the schema does not have.
        """
        return self.table(self._follow(0), schema)

    def table(self, position: int, schema: Schema) -> dict[str, Any]:
        """Return the table at a position, as `root` does."""
        found: dict[str, Any] = {}
        for index, place in self.fields(position).items():
            field = schema.get(index)
            if field is None:
                raise RefusedError(
                    f"the model has a part of a kind that is not read here (field {index})",
                    code="model.operator",
                )
            found[field.name] = self._value(place, field)
        return found

    def fields(self, position: int) -> dict[int, int]:
        """Return where each field of a table is that is there."""
        self._spend(_TABLE_COST)
        vtable = position - self._number(position, "i32")
        vtable_bytes, table_bytes = self._short(vtable), self._short(vtable + 2)
        self._require_inside(vtable, vtable_bytes)
        self._require_inside(position, table_bytes)
        if vtable_bytes < _VTABLE_HEAD or vtable_bytes % 2 or table_bytes < _VTABLE_HEAD:
            raise _broken("a table's size")
        self._spend(vtable_bytes)
        offsets = struct.unpack_from(
            f"<{(vtable_bytes - _VTABLE_HEAD) // 2}H", self.data, vtable + _VTABLE_HEAD
        )
        present = {index: offset for index, offset in enumerate(offsets) if offset}
        if any(not _VTABLE_HEAD <= offset < table_bytes for offset in present.values()):
            raise _broken("a field outside its table")
        return {index: position + offset for index, offset in present.items()}

    def vector(self, place: int, kind: str) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the numbers that a field at a place refers to, as a view of the file."""
        start, count = self._vector(place)
        dtype = _VECTORS[kind]
        self._require_inside(start, count * dtype.itemsize)
        self._spend(count * dtype.itemsize)
        return np.frombuffer(self.data, dtype, count, start)

    def _value(self, place: int, field: Field) -> Any:
        match field.kind:
            case "string":
                return self._string(place)
            case "vector":
                return self.vector(place, field.of)
            case "table":
                return self.table(self._follow(place), field.of)
            case "tables":
                start, count = self._vector(place)
                self._require_inside(start, count * 4)
                self._spend(count * 4)
                return [self.table(self._follow(start + 4 * i), field.of) for i in range(count)]
            case "place":
                return self._follow(place)
            case kind:
                return self._number(place, kind)

    def _string(self, place: int) -> str:
        start, count = self._vector(place)
        if count > _MAX_STRING:
            raise _broken("a name's length")
        self._require_inside(start, count)
        self._spend(count)
        try:
            return self.data[start : start + count].decode()
        except UnicodeDecodeError as e:
            raise _broken("a name") from e

    def _vector(self, place: int) -> tuple[int, int]:
        start = self._follow(place)
        return start + 4, int(self._number(start, "u32"))

    def _follow(self, place: int) -> int:
        offset = int(self._number(place, "u32"))
        if not offset:
            raise _broken("an offset that leads nowhere")
        return place + offset

    def _short(self, position: int) -> int:
        self._require_inside(position, 2)
        return int.from_bytes(self.data[position : position + 2], "little")

    def _number(self, position: int, kind: str) -> Any:
        form = _FORMS[kind]
        self._require_inside(position, form.size)
        return form.unpack_from(self.data, position)[0]

    def _require_inside(self, position: int, size: int) -> None:
        if position < 0 or position + size > len(self.data):
            raise _broken("an offset that leads outside")

    def _spend(self, cost: int) -> None:
        self._budget -= cost
        if self._budget < 0:
            raise _broken("parts that are used again and again")


def _broken(what: str) -> MalformedError:
    return MalformedError(f"the TensorFlow Lite model is damaged: {what}", code="model.malformed")
