"""Entries, checkpoints and receipts; all of it offline."""

import base64
import dataclasses

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import IdentityError, MalformedError, TamperedError
from cloister.keyservice import merkle
from cloister.keyservice.log import (
    Checkpoint,
    LogEntry,
    Receipt,
    StateCommitment,
    read_leaf,
    verify_extension,
    verify_receipt,
)
from cloister.wire import encode

KEY = SigningKey(b"k" * 32)
ORIGIN = "example.test/cloister-log"
ENTRY = LogEntry(
    at=1_800_000_000,
    operation="release",
    code="",
    policy=b"p" * 32,
    subject="train",
    instance="run-1",
    evidence=b"e" * 32,
    requester=b"r" * 32,
)


def receipt(entries: list[bytes], index: int) -> Receipt:
    """A receipt for one of several entries."""
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    checkpoint = Checkpoint(ORIGIN, len(leaves), merkle.root_of_leaves(leaves))
    proof = merkle.inclusion_proof(leaves, index)
    return Receipt(entries[index], index, proof, checkpoint.to_note(KEY))


@pytest.mark.spec("KR-60", "RL-2")
def test_entries_round_trip() -> None:
    """What was written is read."""
    assert LogEntry.from_bytes(ENTRY.to_bytes()) == ENTRY
    assert ENTRY.granted
    assert not dataclasses.replace(ENTRY, code="release.fenced").granted


def test_an_entry_has_exact_digests() -> None:
    """32 bytes each."""
    with pytest.raises(MalformedError):
        dataclasses.replace(ENTRY, evidence=b"")


@pytest.mark.spec("KR-62", "RL-10", "RL-11", "RL-12")
def test_a_checkpoint_is_a_signed_note() -> None:
    """Origin, size, root, empty line, signature line with key id."""
    note = Checkpoint(ORIGIN, 3, b"r" * 32).to_note(KEY)
    lines = note.split("\n")
    assert lines[:4] == [ORIGIN, "3", base64.b64encode(b"r" * 32).decode(), ""]
    assert lines[4].startswith(f"\u2014 {ORIGIN} ")
    assert len(base64.b64decode(lines[4].split(" ")[2])) == 68
    read = Checkpoint.from_note(note, service=KEY.public, origin=ORIGIN)
    assert read == Checkpoint(ORIGIN, 3, b"r" * 32)


@pytest.mark.spec("KR-62", "RL-12")
def test_other_signers_lines_are_skipped() -> None:
    """A witness may add its own."""
    note = Checkpoint(ORIGIN, 3, b"r" * 32).to_note(KEY)
    body, ours = note.split("\n\n")
    witness = "\u2014 witness.example " + base64.b64encode(b"w" * 68).decode() + "\n"
    read = Checkpoint.from_note(f"{body}\n\n{witness}{ours}", service=KEY.public, origin=ORIGIN)
    assert read.size == 3
    with pytest.raises(IdentityError):
        Checkpoint.from_note(f"{body}\n\n{witness}", service=KEY.public, origin=ORIGIN)


@pytest.mark.spec("KR-62", "RL-12")
def test_another_signer_or_log_is_refused() -> None:
    """Only the pinned service, only for this log."""
    note = Checkpoint(ORIGIN, 3, b"r" * 32).to_note(KEY)
    for service, origin in ((SigningKey(b"x" * 32).public, ORIGIN), (KEY.public, "other/log")):
        with pytest.raises(IdentityError) as e:
            Checkpoint.from_note(note, service=service, origin=origin)
        assert e.value.code == "identity.keyservice"


@pytest.mark.spec("KR-62", "RL-12")
def test_every_changed_character_is_refused() -> None:
    """Of the body or the signature."""
    note = Checkpoint(ORIGIN, 3, b"r" * 32).to_note(KEY)
    for position in range(len(note)):
        changed = note[:position] + chr(ord(note[position]) ^ 1) + note[position + 1 :]
        with pytest.raises((MalformedError, IdentityError)):
            Checkpoint.from_note(changed, service=KEY.public, origin=ORIGIN)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "a\n1\n\n",
        "a\n01\nAAAA\n\nx\n",
        "a\n1\nAAAA\n\n",
        f"a\n1\n{'A' * 43}=\n\nno mark\n",
        f"a\n1\n{'A' * 43}=\nextension\n\n\u2014 a {'A' * 92}\n",
        f"a\n-1\n{'A' * 43}=\n\n\u2014 a {'A' * 92}\n",
        f"a\n1\n{'A' * 43}=\n\n\u2014 a !!!\n",
        "x" * 5000,
    ],
)
def test_malformed_notes_are_refused(note: str) -> None:
    """Readers of notes are strict."""
    with pytest.raises(MalformedError) as e:
        Checkpoint.from_note(note, service=KEY.public, origin="a")
    assert e.value.code == "message.malformed"


@pytest.mark.parametrize("origin", ["", " a", "a b", "a+b", "a\nb"])
def test_an_origin_is_one_plain_line(origin: str) -> None:
    """As the format wants it."""
    with pytest.raises(MalformedError):
        Checkpoint(origin, 1, b"r" * 32)


@pytest.mark.spec("KR-63", "RL-20")
@pytest.mark.parametrize("index", range(5))
def test_a_receipt_is_verified_offline(index: int) -> None:
    """Entry, path and checkpoint are enough."""
    entries = [dataclasses.replace(ENTRY, at=at).to_bytes() for at in range(5)]
    found = receipt(entries, index)
    assert Receipt.from_bytes(found.to_bytes()) == found
    assert verify_receipt(found, service=KEY.public, origin=ORIGIN).at == index


@pytest.mark.spec("KR-63", "RL-20")
def test_a_receipt_for_another_entry_is_refused() -> None:
    """An entry that the log does not hold has no receipt."""
    entries = [dataclasses.replace(ENTRY, at=at).to_bytes() for at in range(5)]
    forged = dataclasses.replace(
        receipt(entries, 2), entry=dataclasses.replace(ENTRY, subject="steal").to_bytes()
    )
    with pytest.raises(TamperedError) as e:
        verify_receipt(forged, service=KEY.public, origin=ORIGIN)
    assert e.value.code == "log.proof"


@pytest.mark.spec("KR-64")
def test_a_log_that_was_rewritten_is_seen() -> None:
    """A newer checkpoint must extend the older one."""
    entries = [merkle.leaf_hash(bytes([i])) for i in range(7)]
    old = Checkpoint(ORIGIN, 3, merkle.root_of_leaves(entries[:3]))
    new = Checkpoint(ORIGIN, 7, merkle.root_of_leaves(entries))
    verify_extension(old, new, merkle.consistency_proof(entries, 3))
    rewritten = [b"x" * 32, *entries[1:]]
    forged = Checkpoint(ORIGIN, 7, merkle.root_of_leaves(rewritten))
    with pytest.raises(TamperedError) as e:
        verify_extension(old, forged, merkle.consistency_proof(rewritten, 3))
    assert e.value.code == "log.proof"


COMMITMENT = StateCommitment(7, b"d" * 32)


@pytest.mark.spec("RL-1", "RL-2", "RL-3")
def test_a_leaf_is_of_one_of_two_kinds() -> None:
    """Its operation says which."""
    assert read_leaf(ENTRY.to_bytes()) == ENTRY
    assert read_leaf(COMMITMENT.to_bytes()) == COMMITMENT
    assert StateCommitment.from_bytes(COMMITMENT.to_bytes()) == COMMITMENT


@pytest.mark.spec("RL-1")
def test_neither_kind_reads_as_the_other() -> None:
    """A decision cannot hide as a commitment, nor the other way round."""
    with pytest.raises(MalformedError) as e:
        LogEntry.from_bytes(COMMITMENT.to_bytes())
    assert e.value.code == "message.malformed"
    with pytest.raises(MalformedError) as e:
        StateCommitment.from_bytes(ENTRY.to_bytes())
    assert e.value.code == "message.malformed"
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(ENTRY, operation="state")
    assert e.value.code == "message.malformed"
    disguised = ENTRY.to_bytes().replace(b"\x67release", b"\x65state")
    with pytest.raises(MalformedError) as e:
        read_leaf(disguised)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("RL-3")
@pytest.mark.parametrize(("sequence", "digest"), [(-1, b"d" * 32), (2**63, b"d" * 32), (0, b"d")])
def test_a_commitment_has_a_number_and_a_digest(sequence: int, digest: bytes) -> None:
    """In range, of exact length."""
    with pytest.raises(MalformedError) as e:
        StateCommitment(sequence, digest)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("RL-1")
@pytest.mark.parametrize(
    ("leaf", "code"),
    [
        (b"", "wire.malformed"),
        (b"x" * 4097, "wire.too-large"),
        (encode([1]), "message.malformed"),
        (encode({"version": 1}), "message.malformed"),
        (encode({"version": 1, "operation": 1}), "message.malformed"),
        (
            encode({"version": 2, "operation": "state", "sequence": 1, "digest": b"d" * 32}),
            "message.malformed",
        ),
        (
            encode(
                {"version": 1, "operation": "state", "sequence": 1, "digest": b"d" * 32, "x": 1}
            ),
            "message.malformed",
        ),
    ],
)
def test_other_bytes_are_no_leaf(leaf: bytes, code: str) -> None:
    """Readers are strict."""
    with pytest.raises(MalformedError) as e:
        read_leaf(leaf)
    assert e.value.code == code


@pytest.mark.spec("RL-20")
def test_a_state_commitment_has_no_receipt() -> None:
    """A receipt proves a decision."""
    found = receipt([ENTRY.to_bytes(), COMMITMENT.to_bytes()], 1)
    with pytest.raises(MalformedError) as e:
        verify_receipt(found, service=KEY.public, origin=ORIGIN)
    assert e.value.code == "message.malformed"
