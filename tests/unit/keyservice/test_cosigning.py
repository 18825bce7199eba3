"""Cosignatures, and who counts for a quorum."""

from __future__ import annotations

import dataclasses

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, MalformedError, WitnessError
from cloister.keyservice.cosigning import Cosignature, Cosigner, Quorum, WitnessKey
from cloister.keyservice.notes import Note, NoteLine
from cloister.testing.log import MemoryLog

WITNESSES = [Cosigner(f"w{n}.example/log", SigningKey(bytes([n]) * 32)) for n in range(1, 4)]
KEYS = tuple(witness.public for witness in WITNESSES)
LOG = MemoryLog()
LOG.decide(3)
NOTE = Note.from_text(LOG.note())


def cosigned(*witnesses: Cosigner, at: int = 7) -> Note:
    """The log's checkpoint with these witnesses' lines."""
    return Note(NOTE.body, (*NOTE.lines, *(each.cosign(NOTE, at=at) for each in witnesses)))


@pytest.mark.spec("RL-13")
def test_a_cosignature_says_who_and_when() -> None:
    """Through the note's text."""
    note = Note.from_text(cosigned(WITNESSES[0], at=1_800_000_000).to_text())
    assert KEYS[0].verify(note) == Cosignature("w1.example/log", 1_800_000_000)
    assert KEYS[1].verify(note) is None


@pytest.mark.spec("RL-13")
def test_the_signed_text_is_the_one_of_c2sp() -> None:
    """Header line, time line, the note's text."""
    line = WITNESSES[0].cosign(NOTE, at=7)
    text = f"cosignature/v1\ntime 7\n{NOTE.body}".encode()
    error = MalformedError("x", code="message.malformed")
    assert line.signature[:8] == (7).to_bytes(8, "big")
    KEYS[0].key.verify_text(text, line.signature[8:], error=error)


@pytest.mark.spec("RL-13", "RL-15")
@pytest.mark.parametrize("position", range(0, 72, 5))
def test_a_changed_line_is_refused(position: int) -> None:
    """Time or signature."""
    line = WITNESSES[0].cosign(NOTE, at=7)
    changed = bytearray(line.signature)
    changed[position] ^= 1
    bad = dataclasses.replace(line, signature=bytes(changed))
    with pytest.raises(WitnessError) as e:
        KEYS[0].verify(Note(NOTE.body, (bad,)))
    assert e.value.code == "log.witnesses"


@pytest.mark.spec("RL-13")
@pytest.mark.parametrize("signature", [b"s", bytes(71), bytes(73), b"\xff" * 72])
def test_a_line_of_another_form_is_refused(signature: bytes) -> None:
    """Too short, too long, or a time out of range."""
    line = NoteLine(KEYS[0].name, KEYS[0].id, signature)
    with pytest.raises(WitnessError) as e:
        KEYS[0].verify(Note(NOTE.body, (line,)))
    assert e.value.code == "log.witnesses"


@pytest.mark.spec("RL-15")
def test_a_line_for_another_checkpoint_is_refused() -> None:
    """It cannot be moved."""
    other = MemoryLog()
    other.decide(4)
    line = WITNESSES[0].cosign(Note.from_text(other.note()), at=7)
    with pytest.raises(WitnessError) as e:
        Quorum(KEYS, 1).require(Note(NOTE.body, (line,)))
    assert e.value.code == "log.witnesses"


@pytest.mark.spec("RL-14")
def test_a_witness_key_has_one_spelling() -> None:
    """Name, id and key, as C2SP writes verifier keys."""
    text = KEYS[0].text
    assert WitnessKey.from_text(text) == KEYS[0]
    assert text.startswith(f"w1.example/log+{KEYS[0].id.hex()}+B")


@pytest.mark.spec("RL-14")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        KEYS[0].text + "x",
        KEYS[0].text.replace("w1", "w2"),
        KEYS[0].text.replace("w1.example", "w 1"),
        KEYS[0].text.replace(KEYS[0].id.hex(), KEYS[0].id.hex().upper() + ""),
        KEYS[0].text.replace(KEYS[0].id.hex(), "00000000"),
        KEYS[0].text[:-44] + KEYS[1].text[-44:],
        KEYS[0].text[:-44] + "AQ" + KEYS[0].text[-42:],
        KEYS[0].text[:-44] + "A" * 40,
        KEYS[0].text[:-44] + "A" * 42 + "==",
        "w" * 65 + "+00000000+" + "A" * 44,
    ],
)
def test_other_texts_are_no_witness_keys(text: str) -> None:
    """An id that is not that of name and key among them."""
    if text == KEYS[0].text:
        pytest.skip("an id of digits only has no upper case")
    with pytest.raises(MalformedError) as e:
        WitnessKey.from_text(text)
    assert e.value.code == "message.malformed"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "w" * 65])
def test_a_witness_has_a_plain_name(name: str) -> None:
    """As a line of a note wants it."""
    with pytest.raises(MalformedError) as e:
        Cosigner(name, SigningKey(b"1" * 32))
    assert e.value.code == "message.malformed"


@pytest.mark.spec("RL-15")
def test_enough_witnesses_are_enough() -> None:
    """In any order, beside lines of others."""
    found = Quorum(KEYS, 2).require(cosigned(WITNESSES[2], WITNESSES[0]))
    assert {each.witness for each in found} == {"w1.example/log", "w3.example/log"}
    assert Quorum((), 0).require(NOTE) == ()


@pytest.mark.spec("RL-15")
@pytest.mark.parametrize("present", [[], [0], [0, 0], [0, 0, 0]])
def test_too_few_witnesses_are_refused(present: list[int]) -> None:
    """A witness that signs twice is one witness."""
    lines = [WITNESSES[n].cosign(NOTE, at=at) for at, n in enumerate(present)]
    with pytest.raises(WitnessError) as e:
        Quorum(KEYS, 2).require(Note(NOTE.body, (*NOTE.lines, *lines)))
    assert e.value.code == "log.witnesses"
    assert e.value.exit_status == 82


@pytest.mark.spec("RL-15")
def test_of_two_lines_the_newest_time_counts() -> None:
    """Both hold."""
    lines = [WITNESSES[0].cosign(NOTE, at=at) for at in (9, 4)]
    assert KEYS[0].verify(Note(NOTE.body, tuple(lines))) == Cosignature("w1.example/log", 9)


@pytest.mark.spec("RL-15")
@pytest.mark.parametrize("required", [-1, 0, 4])
def test_a_quorum_can_be_met_and_means_something(required: int) -> None:
    """From one to all."""
    with pytest.raises(ConfigError) as e:
        Quorum(KEYS, required)
    assert e.value.code == "config.value"


@pytest.mark.spec("RL-15")
def test_one_key_is_one_witness() -> None:
    """Under two names it still is one."""
    twin = WitnessKey("twin.example", KEYS[0].key)
    with pytest.raises(ConfigError) as e:
        Quorum((KEYS[0], twin), 2)
    assert e.value.code == "config.value"
    with pytest.raises(ConfigError) as e:
        Quorum((), 1)
    assert e.value.code == "config.value"
