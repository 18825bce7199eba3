"""The blocks of HDF5 files: what h5py writes, and what leads nowhere."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cloister.errors import MalformedError, RefusedError
from cloister.partition import hdf5_blocks
from cloister.partition.hdf5_blocks import Blocks

h5py = pytest.importorskip("h5py", reason="h5py is not installed")


def hdf5(fill: Callable[[Any], object], **settings: Any) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w", **settings) as group:
        fill(group)
    return file.getvalue()


def many(group: Any) -> None:
    for number in range(300):
        group.create_group(f"group {number}")


def tree(group: Any) -> None:
    group.create_group("a/b/c")
    group["a/x"] = np.zeros(3, "f4")


def children(data: bytes, *path: str) -> dict[str, int] | None:
    blocks = Blocks(data)
    place = blocks.root
    for name in path:
        members = blocks.children(blocks.messages(place))
        assert members is not None
        place = members[name]
    return blocks.children(blocks.messages(place))


def test_members_of_groups() -> None:
    data = hdf5(tree)
    assert set(children(data) or ()) == {"a"}
    assert set(children(data, "a") or ()) == {"b", "x"}
    assert children(data, "a", "b", "c") == {}
    assert children(data, "a", "x") is None


def test_groups_of_many_members() -> None:
    """Their tree has more than one leaf, and more than one level."""
    data = hdf5(many)
    assert set(children(data) or ()) == {f"group {number}" for number in range(300)}
    assert data.count(b"SNOD") > 20


def test_files_of_a_newer_form_are_malformed() -> None:
    with pytest.raises(MalformedError, match="first version"):
        Blocks(hdf5(tree, libver="latest"))


def test_files_that_begin_later_are_malformed() -> None:
    with pytest.raises(MalformedError):
        Blocks(hdf5(tree, userblock_size=512))


@pytest.mark.parametrize(
    "link", [lambda: h5py.SoftLink("/a"), lambda: h5py.ExternalLink("/etc/hostname", "/")]
)
def test_links_that_lead_elsewhere_are_refused(link: Callable[[], Any]) -> None:
    def fill(group: Any) -> None:
        group["a"] = np.zeros(3, "f4")
        group["b"] = link()

    with pytest.raises(RefusedError) as caught:
        children(hdf5(fill))
    assert caught.value.code == "model.unsafe"


def patched(data: bytes, place: int, form: str, *values: Any) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, place, *values)
    return bytes(changed)


GOOD = hdf5(tree)
ROOT = Blocks(GOOD).root


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:90],
        patched(GOOD, 24, "<Q", 512),
        patched(GOOD, 40, "<Q", len(GOOD) + 1),
        patched(GOOD, 64, "<Q", 2**64 - 1),
        patched(GOOD, 64, "<Q", len(GOOD) - 4),
        patched(GOOD, ROOT, "<B", 2),
        patched(GOOD, ROOT + 2, "<H", 65535),
        patched(GOOD, ROOT + 8, "<I", 2**32 - 1),
        patched(GOOD, ROOT + 18, "<H", 65528),
        patched(GOOD, GOOD.index(b"TREE"), "<4s", b"TREX"),
        patched(GOOD, GOOD.index(b"TREE") + 5, "<B", 9),
        patched(GOOD, GOOD.index(b"TREE") + 6, "<H", 65535),
        patched(GOOD, GOOD.index(b"HEAP") + 8, "<Q", 2**63),
        patched(GOOD, GOOD.index(b"HEAP") + 24, "<Q", 2**63),
        patched(GOOD, GOOD.index(b"SNOD"), "<4s", b"SNOX"),
        patched(GOOD, GOOD.index(b"SNOD") + 6, "<H", 65535),
        patched(GOOD, GOOD.index(b"SNOD") + 8, "<Q", 2**63),
        patched(GOOD, GOOD.index(b"SNOD") + 8, "<Q", 0),
    ],
    ids=range(19),
)
def test_what_leads_outside_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        children(data, "a")
    assert caught.value.code == "model.malformed"


def test_a_header_that_goes_on_in_itself_ends() -> None:
    """A continuation that is the block it stands in."""
    header = struct.pack("<BxHII4x", 1, 1, 1, 24)
    message = struct.pack("<HHB3x", 0x10, 16, 0)
    place = len(GOOD)
    data = GOOD + header + message + struct.pack("<QQ", place + 16, 24)
    data = patched(patched(data, 64, "<Q", place), 40, "<Q", len(data))
    with pytest.raises(MalformedError, match="messages"):
        children(data)


def test_a_tree_that_is_its_own_branch_ends() -> None:
    at = GOOD.index(b"TREE")
    data = patched(patched(GOOD, at + 5, "<B", 1), at + 32, "<Q", at)
    with pytest.raises(MalformedError):
        children(data)


def test_messages_that_many_objects_share_are_counted_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of five hundred headers leads to the same block of four thousand messages."""
    data = bytearray(hdf5(tree))
    shared, count = len(data), 4000
    data += struct.pack("<HHB3x", 0, 0, 0) * count
    first = len(data)
    continued = struct.pack("<HHB3x", 0x10, 16, 0) + struct.pack("<QQ", shared, 8 * count)
    data += (struct.pack("<BxHII4x", 1, 1, 1, len(continued)) + continued) * 500
    monkeypatch.setattr(hdf5_blocks, "_MAX_ALL_MESSAGES", 10 * count)
    blocks = Blocks(bytes(data))

    def read_all() -> None:
        for number in range(500):
            assert len(blocks.messages(first + 40 * number)) == count

    with pytest.raises(MalformedError, match="messages") as caught:
        read_all()
    assert caught.value.code == "model.malformed"


def test_members_that_many_groups_share_are_counted_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hdf5_blocks, "_MAX_MEMBERS", 5000)
    blocks = Blocks(hdf5(many))
    messages = blocks.messages(blocks.root)

    def read_again() -> None:
        for _ in range(1000):
            assert len(blocks.children(messages) or ()) == 300

    with pytest.raises(MalformedError, match="members") as caught:
        read_again()
    assert caught.value.code == "model.malformed"
