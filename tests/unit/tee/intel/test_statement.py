"""Members of Intel's statements, and when they count."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from cloister.errors import MalformedError, UnavailableError
from cloister.tee.intel.statement import Statement, require_current

GOOD = {
    "number": 3,
    "text": "abc",
    "octets": "0aFF",
    "instant": "2024-03-13T00:00:01Z",
    "texts": ["a", "b"],
    "inner": {"x": 1},
    "each": [{"x": 1}, {"x": 2}],
    "unknown": {"is": ["passed", "over"]},
}


def _statement(**changes: object) -> Statement:
    return Statement.from_text(json.dumps(GOOD | changes).encode(), "a statement")


@pytest.mark.spec("INTEL-20")
def test_members_are_read_in_their_forms() -> None:
    """Each kind once; members that nobody asks for are passed over."""
    statement = _statement()
    assert statement.integer("number", 3) == 3
    assert statement.text("text") == "abc"
    assert statement.octets("octets", 2) == b"\x0a\xff"
    assert statement.instant("instant") == 1710288001
    assert statement.texts("texts") == ("a", "b")
    assert statement.texts("missing") == ()
    assert statement.inner("inner").integer("x", 1) == 1
    assert [each.integer("x", 2) for each in statement.each("each")] == [1, 2]
    assert statement.has("unknown")
    assert not statement.has("other")


READERS: dict[str, Callable[[Statement], object]] = {
    "number": lambda s: s.integer("number", 3),
    "text": lambda s: s.text("text"),
    "octets": lambda s: s.octets("octets", 2),
    "instant": lambda s: s.instant("instant"),
    "texts": lambda s: s.texts("texts"),
    "inner": lambda s: s.inner("inner"),
    "each": lambda s: s.each("each"),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", 4),
        ("number", -1),
        ("number", "3"),
        ("number", True),
        ("number", 1.0),
        ("number", None),
        ("text", 1),
        ("text", "a" * 129),
        ("octets", "0a"),
        ("octets", "0a f f"),
        ("octets", " 0aff"),
        ("octets", "0axx"),
        ("octets", 10),
        ("instant", "2024-03-13T00:00:01"),
        ("instant", "2024-03-13T00:00:01+00:00"),
        ("instant", "2024-13-13T00:00:01Z"),
        ("instant", "2024-03-13 00:00:01Z"),
        ("texts", "ab"),
        ("texts", [1]),
        ("texts", ["a"] * 257),
        ("texts", ["a" * 129]),
        ("inner", [1]),
        ("inner", None),
        ("each", {"x": 1}),
        ("each", [1]),
        ("each", [{}] * 257),
    ],
    ids=str,
)
@pytest.mark.spec("INTEL-20")
def test_another_form_is_malformed(name: str, value: object) -> None:
    """Types, ranges, lengths and spellings."""
    with pytest.raises(MalformedError) as e:
        READERS[name](_statement(**{name: value}))
    assert e.value.code == "endorsement.malformed"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"[]", "endorsement.malformed"),
        (b"", "endorsement.malformed"),
        (b'{"a":1,"a":2}', "endorsement.malformed"),
        (b'{"a":' + b"[" * 9 + b"]" * 9 + b"}", "wire.too-large"),
        (b'{"a":"' + b"x" * 262144 + b'"}', "wire.too-large"),
    ],
    ids=["list", "nothing", "twice", "deep", "long"],
)
@pytest.mark.spec("INTEL-20")
def test_other_texts_are_malformed(text: bytes, code: str) -> None:
    """Strict JSON, one object, bounded."""
    with pytest.raises(MalformedError) as e:
        Statement.from_text(text, "a statement")
    assert e.value.code == code


@pytest.mark.spec("INTEL-21")
def test_a_statement_counts_to_both_ends() -> None:
    """And not one second beyond."""
    require_current("it", 10, 20, at=10)
    require_current("it", 10, 20, at=20)
    for at in (9, 21):
        with pytest.raises(UnavailableError) as e:
            require_current("it", 10, 20, at=at)
        assert e.value.code == "endorsement.stale"
