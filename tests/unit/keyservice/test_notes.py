"""Signed notes as bytes: strict, bounded, and each in one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.crypto.signature import SigningKey
from cloister.errors import MalformedError
from cloister.keyservice.notes import (
    MAX_NOTE_BYTES,
    Note,
    NoteLine,
    from_base64,
    is_key_name,
    key_id,
    read_decimal,
)

LINE = NoteLine("a.example/log", b"1234", b"s" * 64)
NOTE = Note("a.example/log\n1\nroot\n", (LINE, NoteLine("w.example/1", b"5678", b"t" * 72)))


@pytest.mark.spec("RL-11")
def test_what_was_written_is_read() -> None:
    """Text, lines, and the first line."""
    assert Note.from_text(NOTE.to_text()) == NOTE
    assert NOTE.first_line == "a.example/log"


@pytest.mark.spec("RL-11")
def test_a_key_id_is_of_name_type_and_key() -> None:
    """Another name or another type is another id."""
    key = SigningKey(b"k" * 32).public
    ids = {key_id(name, kind, key) for name in ("a", "b") for kind in (b"\x01", b"\x04")}
    assert len(ids) == 4
    assert all(len(each) == 4 for each in ids)


@pytest.mark.spec("RL-11")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n",
        "a\n\n",
        "a\n\nline\n",
        NOTE.to_text()[:-1],
        NOTE.to_text() + "\n",
        NOTE.to_text().replace("\u2014 ", "- "),
        NOTE.to_text().replace("\u2014 a", "\u2014  a"),
        NOTE.to_text().replace("\u2014 a.example/log", "\u2014 a+b"),
        NOTE.to_text().replace("\u2014 a.example/log", "\u2014 a\u00a0b"),
        NOTE.to_text().replace("root", "ro\tot"),
        NOTE.to_text().replace("root", "ro\rot"),
        NOTE.to_text().replace("root", "ro\ud800t"),
        "a\n\n" + NoteLine("n", b"1234", b"").to_text(),
        "a" * MAX_NOTE_BYTES + "\n\n" + LINE.to_text(),
        "\u2014" * (MAX_NOTE_BYTES // 3) + "\n\n" + LINE.to_text(),
    ],
)
def test_other_texts_are_no_notes(text: str) -> None:
    """One spelling, bounded in bytes."""
    with pytest.raises(MalformedError) as e:
        Note.from_text(text)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("RL-11")
def test_sixteen_witnesses_fit() -> None:
    """With the longest names that a witness may have, beside a long origin."""
    origin = "o" * 75
    witnesses = [NoteLine("w" * 64, b"5678", b"t" * 72) for _ in range(16)]
    ours = NoteLine(origin, b"1234", b"s" * 64)
    text = Note(f"{origin}\n{2**63 - 1}\n{'A' * 43}=\n", (ours, *witnesses)).to_text()
    assert Note.from_text(text).to_text() == text


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\x00", "a\n"])
def test_names_are_plain(name: str) -> None:
    """No spaces of any kind, no plus, no control characters."""
    assert not is_key_name(name)


@pytest.mark.parametrize("text", ["", "01", "-1", "1 ", "\u0661", str(2**63), "9" * 20, "1e3"])
def test_numbers_have_one_spelling(text: str) -> None:
    """ASCII decimal without leading zeros, in range."""
    with pytest.raises(MalformedError) as e:
        read_decimal(text)
    assert e.value.code == "message.malformed"


@pytest.mark.parametrize("text", ["A", "AB==", "AAA=\n", "A A=", "\u0430AA="])
def test_base64_has_one_spelling(text: str) -> None:
    """No stray bits, spaces or foreign letters."""
    with pytest.raises(MalformedError) as e:
        from_base64(text)
    assert e.value.code == "message.malformed"


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    """Is a note in its one spelling, or malformed."""
    try:
        assert Note.from_text(text).to_text() == text
    except MalformedError:
        return
