"""Statements: one reading of a text, and a hash that spaces do not change."""

from __future__ import annotations

import json

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.approvals import NO_PREDECESSOR
from cloister.keyservice.statements import (
    MAX_STATEMENT_BYTES,
    Statement,
    read_statement,
    write_statement,
)

TREE = {"statement": "cloister/test/v1", "number": 7, "names": ["a", "b"]}


@pytest.mark.spec("BR-10")
def test_what_is_written_is_read() -> None:
    """Field by field, and to the end."""
    found = read_statement(write_statement(TREE), "cloister/test/v1")
    assert found.integer("number") == 7
    assert found.texts("names") == ["a", "b"]
    found.end()


@pytest.mark.spec("BR-10")
@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "message.malformed"),
        (b"[]", "message.malformed"),
        (b'{"statement": "cloister/other/v1"}', "message.malformed"),
        (
            b'{"statement": "cloister/test/v1", "statement": "cloister/test/v1"}',
            "message.malformed",
        ),
        (b"[[[]]]", "wire.too-large"),
        (b" " * (MAX_STATEMENT_BYTES + 1), "wire.too-large"),
    ],
)
def test_anything_else_is_refused(text: bytes, code: str) -> None:
    """By its code."""
    with pytest.raises(MalformedError) as e:
        read_statement(text, "cloister/test/v1")
    assert e.value.code == code


def test_a_key_is_read_as_one() -> None:
    """And nothing else."""
    text = json.dumps({"statement": "s", "key": "ed25519:zz"}).encode()
    with pytest.raises(MalformedError):
        read_statement(text, "s").key("key")


@pytest.mark.spec("BR-10", "BR-11")
def test_the_hash_is_of_what_it_says() -> None:
    """Not of spaces and order, and under its own label."""
    subject = Statement(TREE).subject(b"s" * 32, kind="reset")
    turned = dict(reversed(list(TREE.items())))
    assert Statement(turned).subject(b"s" * 32, kind="reset") == subject
    assert (subject.kind, subject.namespace, subject.predecessor) == ("reset", "/", NO_PREDECESSOR)
    other = Statement(TREE | {"number": 8}).subject(b"s" * 32, kind="reset")
    assert other.hash != subject.hash
