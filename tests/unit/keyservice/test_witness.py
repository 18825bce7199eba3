"""What a witness signs, and every reason for which it does not."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.crypto.signature import SigningKey
from cloister.errors import MalformedError
from cloister.keyservice.cosigning import Cosigner
from cloister.keyservice.merkle import EMPTY_ROOT
from cloister.keyservice.notes import Note, NoteLine
from cloister.keyservice.witness import (
    MAX_REQUEST_BYTES,
    SIZE_MEDIA_TYPE,
    AddCheckpoint,
    Held,
    Verdict,
    Witness,
)
from cloister.testing.log import ORIGIN, MemoryLog, decision

COSIGNER = Cosigner("w.example/1", SigningKey(b"w" * 32))
AT = 1_800_000_000


@pytest.fixture
def log() -> MemoryLog:
    """Seven decisions."""
    log = MemoryLog()
    log.decide(7)
    return log


def judge(log: MemoryLog, request: AddCheckpoint | bytes, held: Held = Held()) -> Verdict:  # noqa: B008  # frozen
    """Judge one request; the witness knows the log, and has seen `held` of it."""
    data = request if isinstance(request, bytes) else request.to_bytes()
    witness = Witness(COSIGNER, {ORIGIN: SigningKey(b"k" * 32).public})
    return witness.judge(data, {ORIGIN: held} if held.size else {}, at=AT)


def held(log: MemoryLog, size: int) -> Held:
    """What somebody has seen who saw so many leaves."""
    return Held(size, log.checkpoint(size).root)


@pytest.mark.spec("RL-41", "RL-43")
@pytest.mark.parametrize("size", range(8))
def test_what_extends_is_cosigned(log: MemoryLog, size: int) -> None:
    """From nothing, from any earlier size, and the same again; and what it is goes to be kept."""
    request = AddCheckpoint(size, log.prove(size), log.note())
    verdict = judge(log, request, held(log, size))
    assert verdict.status == 200
    assert (verdict.origin, verdict.held) == (ORIGIN, held(log, 7))
    assert verdict.keep == log.note()
    line = NoteLine.from_text(verdict.body.decode().removesuffix("\n"))
    found = COSIGNER.public.verify(Note(Note.from_text(log.note()).body, (line,)))
    assert found is not None
    assert found.at == AT


@pytest.mark.spec("RL-41")
def test_an_unknown_log_is_404(log: MemoryLog) -> None:
    """Even if well signed."""
    other = MemoryLog(origin="other.test/cloister-log")
    assert judge(log, AddCheckpoint(0, (), other.note())) == Verdict(404)


@pytest.mark.spec("RL-41")
def test_another_signer_is_403(log: MemoryLog) -> None:
    """Even for a known log."""
    other = MemoryLog(key=SigningKey(b"o" * 32))
    assert judge(log, AddCheckpoint(0, (), other.note())) == Verdict(403)


@pytest.mark.spec("RL-41")
def test_an_old_size_over_the_new_one_is_400(log: MemoryLog) -> None:
    """Whatever is held."""
    assert judge(log, AddCheckpoint(8, (), log.note()), held(log, 7)) == Verdict(400)


@pytest.mark.spec("RL-41")
@pytest.mark.parametrize(("old", "size"), [(0, 7), (3, 7), (5, 7), (3, 3)])
def test_an_old_size_that_is_not_held_is_409(log: MemoryLog, old: int, size: int) -> None:
    """With the size that is; a smaller tree is one of these."""
    request = AddCheckpoint(old, log.prove(old) if size == 7 else (), log.note(size))
    found = judge(log, request, held(log, 4))
    assert found == Verdict(409, b"4\n", SIZE_MEDIA_TYPE)


@pytest.mark.spec("RL-41")
def test_another_root_of_the_same_size_is_409(log: MemoryLog) -> None:
    """A fork that is as long."""
    other = MemoryLog()
    other.decide(6)
    other.leaves.append(decision(99).to_bytes())
    found = judge(log, AddCheckpoint(7, (), other.note()), held(log, 7))
    assert found == Verdict(409, b"7\n", SIZE_MEDIA_TYPE)


@pytest.mark.spec("RL-41")
def test_a_fork_is_422(log: MemoryLog) -> None:
    """A longer log that is not the one that was seen, with the best proof that it has."""
    before = held(log, 4)
    log.leaves[2] = decision(99).to_bytes()
    assert judge(log, AddCheckpoint(4, log.prove(4), log.note()), before) == Verdict(422)


@pytest.mark.spec("RL-41")
def test_a_wrong_proof_is_422(log: MemoryLog) -> None:
    """Cut, longer, of another size, or from nothing."""
    proof = log.prove(4)
    for wrong in (proof[:-1], (*proof, b"x" * 32), log.prove(3), ()):
        found = judge(log, AddCheckpoint(4, wrong, log.note()), held(log, 4))
        assert found == Verdict(422)
    assert judge(log, AddCheckpoint(0, proof, log.note())) == Verdict(422)


@pytest.mark.spec("RL-43")
def test_an_empty_tree_has_one_root(log: MemoryLog) -> None:
    """A signed size of 0 with another root is a conflict with nothing seen."""
    empty = MemoryLog()
    assert judge(log, AddCheckpoint(0, (), empty.note())).status == 200
    forged = dataclasses.replace(empty.checkpoint(), root=b"x" * 32).to_note(empty.key)
    assert judge(log, AddCheckpoint(0, (), forged)) == Verdict(409, b"0\n", SIZE_MEDIA_TYPE)
    assert Held() == Held(0, EMPTY_ROOT)


@pytest.mark.spec("RL-40")
def test_a_request_has_one_form(log: MemoryLog) -> None:
    """What was written is read."""
    request = AddCheckpoint(4, log.prove(4), log.note())
    assert AddCheckpoint.from_bytes(request.to_bytes()) == request


@pytest.mark.spec("RL-40")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"old 0\n",
        b"old 0\n\n",
        b"old 0\n\n\xff",
        b"old 00\n\nx",
        b"old -1\n\nx",
        b"OLD 0\n\nx",
        b"old 0 \n\nx",
        b"old 0\r\n\nx",
        b"old 0\nAA==\n\nx",
        b"old 0\n!\n\nx",
        b"old 0\n" + b"A" * 43 + b"=\n" * 64 + b"\nx",
        b"old 9999999999999999999999\n\nx",
        b"old 0\n\n" + b"x" * MAX_REQUEST_BYTES,
    ],
)
def test_other_bytes_are_400(log: MemoryLog, data: bytes) -> None:
    """Readers are strict."""
    assert judge(log, data) == Verdict(400)


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """Are a request in its one spelling, or malformed."""
    with contextlib.suppress(MalformedError):
        assert AddCheckpoint.from_bytes(data).to_bytes() == data
