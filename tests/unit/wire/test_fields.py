"""Strict field reader."""

import pytest

from cloister.errors import MalformedError
from cloister.wire import Fields, encode


def fields(value: object) -> Fields:
    """Wrap a value as received."""
    return Fields.decode(encode(value), what="test", max_bytes=4096)


def test_reads_every_kind_and_ends() -> None:
    """A map whose fields are all asked for with the right types passes."""
    f = fields({"b": b"12", "t": "x", "i": 5, "o": True, "m": {"z": 1}, "a": ["p"], "c": "v1"})
    assert f.octets("b", length=2) == b"12"
    assert f.text("t") == "x"
    assert f.integer("i", maximum=5) == 5
    assert f.boolean("o") is True
    inner = f.submap("m")
    assert inner.keys() == ["z"]
    assert inner.integer("z") == 1
    assert f.texts("a") == ["p"]
    f.constant("c", "v1")
    inner.end()
    f.end()


@pytest.mark.parametrize(
    "read",
    [
        lambda f: f.octets("t"),
        lambda f: f.octets("b", length=3),
        lambda f: f.octets("b", max_length=1),
        lambda f: f.text("b"),
        lambda f: f.text("t", max_length=0),
        lambda f: f.integer("o"),
        lambda f: f.integer("i", maximum=4),
        lambda f: f.boolean("i"),
        lambda f: f.submap("i"),
        lambda f: f.array("i"),
        lambda f: f.texts("n"),
        lambda f: f.constant("t", "y"),
        lambda f: f.constant("o", 1),
        lambda f: f.integer("absent"),
        lambda f: f.end(),
    ],
)
def test_anything_else_is_malformed(read: object) -> None:
    """A wrong type, range, missing or unread field raises `message.malformed`."""
    f = fields({"b": b"12", "t": "x", "i": 5, "o": True, "n": [1]})
    with pytest.raises(MalformedError) as caught:
        read(f)
    assert caught.value.code == "message.malformed"


def test_a_list_is_not_a_message() -> None:
    """A message must be a map."""
    with pytest.raises(MalformedError):
        fields([1])


def test_a_format_has_its_own_code() -> None:
    """What is malformed is called what its format calls it, in nested maps too."""
    f = Fields({"m": {"x": 1}}, what="test", code="token.malformed")
    inner = f.submap("m")
    for each in (f, inner):
        with pytest.raises(MalformedError) as caught:
            each.text("absent")
        assert caught.value.code == "token.malformed"


def test_a_name_that_a_peer_chose_does_not_reach_a_terminal_as_it_is() -> None:
    """Control characters are replaced, and length is cut."""
    f = fields({"\x1b[2J" + "x" * 500: 1})
    with pytest.raises(MalformedError) as caught:
        f.end()
    assert caught.value.public.isprintable()
    assert len(caught.value.public) < 100
