"""Archives of arrays: hostile headers, sizes and tables end in our own error."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from cloister.errors import CloisterError
from cloister.partition.assess import archive as module
from cloister.partition.assess.archive import read_arrays

IMAGES = np.random.default_rng(0).random((40, 6, 5, 1)).astype(np.float32)


def _archive(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _refused(data: bytes) -> str:
    with pytest.raises(CloisterError) as caught:
        read_arrays(data)
    return caught.value.code


def test_a_pickle_is_not_loaded() -> None:
    """Arrays of objects are code; they are refused and not looked into."""
    called = b"cbuiltins\nprint\n(S'a pickle was loaded'\ntR."
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        member = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            member, {"descr": "|O", "fortran_order": False, "shape": (1, 2, 2)}
        )
        archive.writestr("images.npy", member.getvalue() + called)
    assert read_arrays(out.getvalue()) == {}


def test_a_header_that_promises_more_than_there_is() -> None:
    """A terabyte in the header and nothing behind it is refused before it is allocated."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        member = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f4", "fortran_order": False, "shape": (2**20, 512, 512)}
        )
        archive.writestr("images.npy", member.getvalue())
    assert _refused(out.getvalue()) == "sample.malformed"


def _headed(header: str, *, version: bytes = b"\x01\x00", body: bytes = bytes(64)) -> bytes:
    start = b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header.encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("images.npy", start + body)
    return out.getvalue()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "((((",
        '"""abc',
        "{[]:1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,2,",
        "{'descr': '(2', 'fortran_order': False, 'shape': (2,2,2)}\n",
        "{'descr': ',,', 'fortran_order': False, 'shape': (2,2,2)}\n",
        "{'descr': [('a',)], 'fortran_order': False, 'shape': (2,2,2)}\n",
        "{'descr': {}, 'fortran_order': False, 'shape': (2,2,2)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,2,0)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,0,2)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True,2,0)}\n",
        "{'descr': '<f3', 'fortran_order': False, 'shape': (2, 2, 2)}\n",
        "{'descr': '<f0', 'fortran_order': False, 'shape': (2, 2, 2)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 5), }\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 3), }\n",
    ],
)
def test_a_header_that_is_no_header(header: str) -> None:
    """It is never evaluated, so nothing but our own error can come of it."""
    assert _refused(_headed(header)) == "sample.malformed"


def test_arrays_of_no_numbers_are_not_looked_into() -> None:
    """Whatever size their headers speak of."""
    header = "{'descr': '|S0', 'fortran_order': False, 'shape': (99999999999,99999,9)}\n"
    assert read_arrays(_headed(header)) == {}


def test_headers_are_read_in_either_order_of_bytes_and_axes() -> None:
    """Of both versions of NumPy's format; arrays of no numbers are passed over."""
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4, 2), }\n"
    assert read_arrays(_headed(header))["images"].shape == (2, 4, 2)
    assert _refused(_headed(header, version=b"\x03\x00")) == "sample.malformed"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        member = io.BytesIO()
        np.lib.format.write_array(member, np.asfortranarray(IMAGES[..., 0].astype(">f8")), (2, 0))
        archive.writestr("images.npy", member.getvalue())
        member = io.BytesIO()
        np.lib.format.write_array(member, np.array(["a", "b"]))
        archive.writestr("names.npy", member.getvalue())
    found = read_arrays(out.getvalue())
    assert found.keys() == {"images"}
    assert np.array_equal(found["images"], IMAGES[..., 0].astype(np.float64))


def test_an_archive_that_packs_too_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes do not become gigabytes, below the bound of what any sample may have."""
    out = io.BytesIO()
    np.savez_compressed(out, images=np.zeros((40, 64, 64, 3), np.float32))
    assert len(out.getvalue()) < 10_000
    assert read_arrays(out.getvalue())["images"].shape == (40, 64, 64, 3)
    monkeypatch.setattr(module, "LEAST_RATIOED", 2**20)
    assert _refused(out.getvalue()) == "wire.too-large"


def test_an_archive_whose_table_is_wrong() -> None:
    """An array that is longer or shorter than the table says, or stands twice."""
    whole = _archive(images=IMAGES)
    size = 128 + IMAGES.nbytes
    assert whole.count(size.to_bytes(4, "little")) >= 2
    for wrong in (size - 4, size + 4):
        changed = whole.replace(size.to_bytes(4, "little"), wrong.to_bytes(4, "little"))
        assert _refused(changed) == "sample.malformed"
    member, out = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(member, IMAGES)
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("images.npy", member.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("images.npy", member.getvalue())
    assert _refused(out.getvalue()) == "sample.malformed"


def test_an_archive_that_unpacks_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes that the archive's own table names are bounded."""
    monkeypatch.setattr(module, "MAX_UNPACKED", 1000)
    assert _refused(_archive(images=IMAGES)) == "wire.too-large"
    monkeypatch.setattr(module, "MAX_MEMBERS", 1)
    monkeypatch.setattr(module, "MAX_UNPACKED", 10**6)
    assert _refused(_archive(images=IMAGES, labels=np.arange(40))) == "wire.too-large"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(method: int) -> None:
    """Their unpackers have errors of their own, and take what memory a header asks for."""
    array, data = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros((2, 3), np.float32))
    with zipfile.ZipFile(data, "w", method) as archive:
        archive.writestr("images.npy", array.getvalue())
    assert _refused(data.getvalue()) == "sample.malformed"
