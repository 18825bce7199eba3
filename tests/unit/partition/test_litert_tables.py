"""Flatbuffers that lead nowhere, outside, or round in circles."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from cloister.errors import MalformedError, RefusedError
from cloister.partition.litert_tables import Field, Tables

LEAF = {0: Field("number", "i32")}
SCHEMA = {0: Field("number", "i32"), 1: Field("name", "string"), 2: Field("leaves", "tables", LEAF)}


def flat(
    *, root: int = 20, vtable: tuple[int, ...] = (10, 16, 4, 8, 12), body: bytes = b""
) -> bytes:
    """Return a root table at 20, its vtable at 8: a number, a name at 36, leaves at 48."""
    head = struct.pack("<I4s", root, b"TFL3") + struct.pack(f"<{len(vtable)}H", *vtable)
    table = struct.pack("<iiII", 12, 7, 36 - 28, 48 - 32)
    name = struct.pack("<I", 5) + b"hello\0\0\0"
    return head.ljust(20, b"\0") + (body or table) + name + struct.pack("<I", 0)


def test_good_bytes_are_read() -> None:
    assert Tables(flat()).root(SCHEMA) == {"number": 7, "name": "hello", "leaves": []}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"TFL3" * 10,
        flat()[:23],
        flat().replace(b"TFL3", b"TFL4"),
        flat(root=0),
        flat(root=2**32 - 1),
        flat(root=46),
        flat(vtable=(2, 16)),
        flat(vtable=(9, 16)),
        flat(vtable=(60000, 16)),
        flat(vtable=(10, 60000)),
        flat(vtable=(10, 16, 4, 17, 12)),
        flat(vtable=(10, 16, 2, 8, 12)),
        flat(body=struct.pack("<iiII", -(2**31), 7, 8, 16)),
        flat(body=struct.pack("<iiII", 12, 7, 0, 16)),
        flat(body=struct.pack("<iiII", 12, 7, 2**32 - 1, 16)),
        flat().replace(struct.pack("<I", 5) + b"hello", struct.pack("<I", 2**32 - 1) + b"hello"),
        flat().replace(b"hello", b"h\xffllo"),
    ],
)
def test_what_leads_outside_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        Tables(data).root(SCHEMA)
    assert caught.value.code == "model.malformed"


def test_a_field_that_the_schema_lacks_is_refused() -> None:
    """What is not understood is not passed over."""
    with pytest.raises(RefusedError, match="field 2") as caught:
        Tables(flat()).root({0: Field("number", "i32"), 1: Field("name", "string")})
    assert caught.value.code == "model.operator"


def test_one_table_told_a_million_times_is_too_much() -> None:
    """A vector whose entries are all the same table costs each time."""
    count = 100_000
    entries = b"".join(struct.pack("<I", 52 + 4 * count + 8 - (52 + 4 * i)) for i in range(count))
    leaf = struct.pack("<HHHxx", 6, 8, 4) + struct.pack("<ii", 8, 9)
    data = flat()[:48] + struct.pack("<I", count) + entries + leaf
    with pytest.raises(MalformedError, match="again and again") as caught:
        Tables(data).root(SCHEMA)
    assert caught.value.code == "model.malformed"
    few = 100
    entries = b"".join(struct.pack("<I", 52 + 4 * few + 8 - (52 + 4 * i)) for i in range(few))
    found = Tables(flat()[:48] + struct.pack("<I", few) + entries + leaf).root(SCHEMA)
    assert found["leaves"] == [{"number": 9}] * few


def test_vectors_are_views_within_the_file() -> None:
    data = (Path(__file__).parents[2] / "data" / "models" / "digits.tflite").read_bytes()
    tables = Tables(data)
    for place in range(0, 64, 4):
        try:
            assert tables.vector(place, "u8").nbytes <= len(data)
        except MalformedError as e:
            assert e.code == "model.malformed"  # noqa: PT017  # either is right
