"""The manifest's canonical bytes, and what is said of two that differ."""

from __future__ import annotations

import hashlib

import pytest

from cloister.errors import MalformedError
from cloister.launcher.manifest import (
    CODE_LABEL,
    RUNTIME_LABEL,
    Entry,
    Manifest,
    decode_entries,
    describe_difference,
    encode_entries,
)


def _entry(name: str, content: bytes = b"", kind: str = "f") -> Entry:
    return Entry(name.encode(), kind, hashlib.sha256(content).digest())


def _manifest(**folders: list[Entry]) -> Manifest:
    return Manifest(
        {name.replace("__", "/").encode(): encode_entries(e) for name, e in folders.items()}
    )


@pytest.mark.spec("LM-3")
def test_bytes_do_not_depend_on_the_order_of_listing() -> None:
    """Folders and names are sorted, whatever the file system said first."""
    left = _manifest(a=[_entry("x"), _entry("y")], b=[])
    right = Manifest({b"b": b"", b"a": encode_entries([_entry("y"), _entry("x")])})
    assert left.to_bytes() == right.to_bytes()


@pytest.mark.spec("LM-5")
def test_every_fact_changes_the_digest() -> None:
    """Content, name, kind, folder and label are all in the digest."""
    base = _manifest(a=[_entry("x", b"1")])
    others = [
        _manifest(a=[_entry("x", b"2")]),
        _manifest(a=[_entry("y", b"1")]),
        _manifest(a=[_entry("x", b"1", "x")]),
        _manifest(a=[_entry("x", b"1", "l")]),
        _manifest(b=[_entry("x", b"1")]),
        _manifest(a=[_entry("x", b"1")], b=[]),
    ]
    digests = {item.digest(RUNTIME_LABEL) for item in [base, *others]}
    assert len(digests) == len(others) + 1
    assert base.digest(RUNTIME_LABEL) != base.digest(CODE_LABEL)


@pytest.mark.spec("LM-6")
def test_what_is_written_is_read_back() -> None:
    """A kept manifest gives the same digest."""
    manifest = _manifest(a=[_entry("x"), _entry("D")], a__b=[_entry("l", b"t", "l")], c=[])
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@pytest.mark.spec("LM-6")
@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"D",
        b"D\x00\x00",
        b"D\x00\x05ab",
        b"D\x00\x01aq\x00\x01x" + bytes(32),
        b"D\x00\x01af\x00\x01x" + bytes(31),
        b"D\x00\x01af\x00\x01y" + bytes(32) + b"f\x00\x01x" + bytes(32),
        b"D\x00\x01af\x00\x01x" + bytes(32) + b"f\x00\x01x" + bytes(32),
        b"D\x00\x01af\x00\x03a/b" + bytes(32),
        b"D\x00\x01bD\x00\x01a",
        b"D\x00\x01aD\x00\x01a",
    ],
)
def test_bytes_that_are_no_manifest_are_refused(data: bytes) -> None:
    """`wire.malformed` for cut, unsorted, repeated and foreign bytes."""
    with pytest.raises(MalformedError) as caught:
        Manifest.from_bytes(data)
    assert caught.value.code == "wire.malformed"


def test_entries_that_run_over_are_refused() -> None:
    """`wire.malformed` where a folder's entries do not end with its bytes."""
    with pytest.raises(MalformedError) as caught:
        decode_entries(encode_entries([_entry("x")]) + b"D")
    assert caught.value.code == "wire.malformed"


def test_a_new_version_is_named_by_distribution() -> None:
    """Whoever reads the explanation sees names and versions, not paths."""
    old = Manifest(
        {
            b"packages/0/numpy": encode_entries([_entry("a.py", b"1")]),
            b"packages/0/numpy-1.26.0.dist-info": encode_entries([_entry("METADATA", b"1")]),
            b"packages/0/gone-1.dist-info": b"",
        }
    )
    new = Manifest(
        {
            b"packages/0/numpy": encode_entries([_entry("a.py", b"2")]),
            b"packages/0/numpy-2.0.dist-info": encode_entries([_entry("METADATA", b"2")]),
            b"packages/0/fresh-3.dist-info": b"",
        }
    )
    assert describe_difference(old, new) == [
        "fresh was not installed → 3",
        "gone 1 → removed",
        "numpy 1.26.0 → 2.0",
    ]


def test_a_changed_file_is_named_where_no_version_changed() -> None:
    """An edited file, and bytecode that some run left behind, are told apart."""
    old = _manifest(stdlib=[_entry("os.py", b"1")], packages__0__x=[])
    new = _manifest(
        stdlib=[_entry("os.py", b"2")], packages__0__x=[_entry("y.cpython-311.pyc", b"1")]
    )
    lines = describe_difference(old, new)
    assert lines == [
        "packages/0/x: 1 files differ, only cached bytecode (.pyc), such as "
        "packages/0/x/y.cpython-311.pyc",
        "stdlib/os.py: 1 files differ, such as stdlib/os.py",
    ]
    assert describe_difference(old, old) == []


def test_a_long_difference_is_cut() -> None:
    """Many changed packages end in a count."""
    old = Manifest({})
    new = Manifest(
        {f"packages/0/p{n:02}".encode(): encode_entries([_entry("a")]) for n in range(20)}
    )
    lines = describe_difference(old, new)
    assert len(lines) == 13
    assert lines[-1] == "and 8 more places"
