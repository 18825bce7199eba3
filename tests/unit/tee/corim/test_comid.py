"""CoMIDs: what of them is read, and what is named as unread."""

from __future__ import annotations

from typing import Any, Final

import cbor2
import pytest

from cloister.errors import MalformedError
from cloister.tee.corim.comid import Statement, read_module

ENVIRONMENT: Final = {0: {1: "ACME"}}
DIGEST: Final = {2: [[7, b"\1" * 48]]}


def module(body: Any) -> Any:
    """A CoMID's content, read."""
    return read_module(cbor2.dumps({1: {0: "module"}} | body), "tags[0]")


def statements(*measurements: Any) -> tuple[tuple[Statement, ...], tuple[str, ...]]:
    """What one triple says, and what of it is unread."""
    [triple] = module({4: {0: [[ENVIRONMENT, list(measurements)]]}}).triples
    return triple.statements, triple.unread


@pytest.mark.spec("REF-12", "REF-16")
def test_every_kind_of_value() -> None:
    """By its form; others by their names."""
    values = {
        0: {0: "1.0"},
        1: cbor2.CBORTag(553, 4),
        2: [[7, b"\1" * 48]],
        3: {3: True},
        4: cbor2.CBORTag(560, b"raw"),
        9: b"ueid",
        14: {2: [[1, b"\2" * 32]]},
        -5: 1,
    }
    found, unread = statements({0: "key", 1: values, 2: [1]})
    assert {each.form: each.values for each in found} == {
        "version": ("1.0",),
        "min-svn": (4,),
        "digests": (b"\1" * 48,),
        "flag": (True,),
        "raw": (b"raw",),
        "register": (b"\2" * 32,),
    }
    assert all(each.key == "key" for each in found)
    assert unread == (
        "tags[0].triples[0][0] 'key': measurement-map 2",
        "tags[0].triples[0][0] 'key': ueid",
        "tags[0].triples[0][0] 'key': value -5",
    )


def test_keys_keep_what_they_are() -> None:
    """A number is no text, and a tagged one is neither."""
    keys = [5, "5", cbor2.CBORTag(37, b"\1" * 16), cbor2.CBORTag(111, b"\2"), cbor2.CBORTag(599, 1)]
    found, _ = statements(*({0: key, 1: DIGEST} for key in keys), {1: DIGEST})
    assert [each.key for each in found] == [
        5, "5", "uuid:" + "01" * 16, "oid:02", "tag:599", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {},
        {4: {}},
        {4: {0: []}},
        {4: {0: [[ENVIRONMENT]]}},
        {4: {0: [[ENVIRONMENT, []]]}},
        {4: {0: [[{}, [{1: DIGEST}]]]}},
        {4: {0: [[ENVIRONMENT, [{0: "x"}]]]}},
        {4: {0: [[ENVIRONMENT, [{1: {2: [[7, "text"]]}}]]]}},
        {4: {0: [[ENVIRONMENT, [{1: {2: [[None, b"1"]]}}]]]}},
        {4: {0: [[ENVIRONMENT, [{1: {2: [[7]]}}]]]}},
        {4: {0: [[ENVIRONMENT, [{1: {1: "1"}}]]]}},
        {4: {0: [[ENVIRONMENT, [{1: {1: cbor2.CBORTag(560, 1)}}]]]}},
        {4: {0: [[ENVIRONMENT, [{1: {4: cbor2.CBORTag(560, 1)}}]]]}},
        {4: {0: [[ENVIRONMENT, [{1: {14: {}}}]]]}},
        {3: [], 4: {0: [[ENVIRONMENT, [{1: DIGEST}]]]}},
        {3: [{0: "old", 1: True}], 4: {0: [[ENVIRONMENT, [{1: DIGEST}]]]}},
        {1: {}, 4: {0: [[ENVIRONMENT, [{1: DIGEST}]]]}},
    ],
)
def test_what_is_no_module(body: Any) -> None:
    """Is refused as a whole."""
    with pytest.raises(MalformedError) as e:
        module(body)
    assert e.value.code == "corim.malformed"


def test_triples_of_other_kinds_are_named() -> None:
    """And make no reference value."""
    found = module({4: {2: [1], 77: [1], "x": 1}, 9: 1})
    assert found.triples == ()
    assert found.unread == (
        "tags[0]: identity-triples",
        "tags[0]: triples 77",
        "tags[0]: x",
        "tags[0]: concise-mid-tag 9",
    )
