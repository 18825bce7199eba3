"""Hostile bytes in every place give one of our errors or the right data, never anything else."""

from __future__ import annotations

import os
from functools import cache
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.errors import MalformedError, TamperedError
from cloister.testing.store import MemoryStore
from cloister.testing.volume import VolumeBench, get, put
from cloister.volume.filesystem import ROOT_INO
from cloister.volume.format import EntryHeader, Superblock
from cloister.volume.index import Index
from cloister.volume.reader import verify_tree
from cloister.volume.regions import RegionClass, Regions

LARGE: Final = "CLOISTER_FUZZ" in os.environ
CONTENT = {
    b"i": b"inline",
    b"p": b"p" * 300,
    b"r": b"readable " * 90,
    b"l": bytes(range(250)) * 80,
}
REGIONS = Regions({"/r": RegionClass.AUTHENTICATED})


@cache
def genuine(*, rotations: int) -> VolumeBench:
    """Return a volume whose files lie under several keys; after two rotations, not the first."""
    bench = VolumeBench(regions=REGIONS)
    bench.create()
    for number, (name, data) in enumerate(CONTENT.items()):
        if 0 < number <= rotations:
            bench.rotate()
            bench.rekey()
            bench.rotate()
        fs = bench.writer()
        put(fs, name, data)
        fs.close()
    bench.retire()
    del bench.store.files["reserve"]
    return bench


@cache
def index_items(*, rotations: int) -> bytes:
    bench = genuine(rotations=rotations)
    fs = bench.reader()
    items = fs._index.full()
    fs.close()
    return items


@settings(max_examples=2000 if LARGE else 200, deadline=None)
@given(st.data())
def test_damaged_volume(data: st.DataObject) -> None:
    """Any file changed, cut, extended, exchanged or removed: an error of ours, or the content."""
    bench = genuine(rotations=data.draw(st.sampled_from([0, 2])))
    files = {path: bytearray(content) for path, content in bench.store.files.items()}
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(files)))
        kind = data.draw(st.sampled_from(["flip", "cut", "extend", "swap", "remove", "splice"]))
        offset = data.draw(st.integers(0, max(0, len(files[path]) - 1)))
        if kind == "flip" and files[path]:
            files[path][offset] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del files[path][offset:]
        elif kind == "extend":
            files[path] += data.draw(st.binary(max_size=300))
        elif kind == "swap":
            other = data.draw(st.sampled_from(sorted(files)))
            files[path], files[other] = files[other], files[path]
        elif kind == "splice":
            files[path][offset : offset + 40] = data.draw(st.binary(max_size=80))
        elif len(files) > 1:
            del files[path]
    for writable in (False, True):
        copied = {path: bytearray(content) for path, content in files.items()}
        store = MemoryStore(files=copied)
        trial = VolumeBench(store=store, holder=bench.holder, later_keys=bench.later_keys)
        trial.regions = REGIONS
        before = bench.holder.current
        try:
            fs = trial.open(bench.holder.acquire(), writable=writable)
            verify_tree(fs, progress=lambda _: None)
            found = {e.name: get(fs, e.name) for e in fs.list_directory(ROOT_INO)}
        except (TamperedError, MalformedError):
            continue
        finally:
            assert bench.holder.current == before
        assert found == CONTENT


@settings(max_examples=3000 if LARGE else 200, deadline=None)
@given(st.data())
def test_index_items_from_a_hostile_key_holder(data: st.DataObject) -> None:
    """Items changed anywhere parse strictly: a tree, or a MalformedError."""
    items = bytearray(index_items(rotations=data.draw(st.sampled_from([0, 2]))))
    for _ in range(data.draw(st.integers(1, 4))):
        offset = data.draw(st.integers(0, len(items) - 1))
        items[offset : offset + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    index = Index()
    try:
        index.apply(bytes(items), key_epoch=5)
        index.check()
    except MalformedError:
        return


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_headers(data: bytes) -> None:
    """Random bytes are no superblock and no entry header."""
    for parse in (Superblock.from_bytes, EntryHeader.from_bytes):
        try:
            parse(data)
        except MalformedError:
            continue
