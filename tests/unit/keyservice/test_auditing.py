"""Fetching lets a mirror grow only by what extends it; verifying tells each kind of lie apart."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, MalformedError, TamperedError, UnavailableError
from cloister.keyservice import auditing
from cloister.keyservice.auditing import (
    Audit,
    Evidence,
    Fetched,
    cosign,
    fetch,
    read_leaves,
    verify,
)
from cloister.keyservice.cosigning import Cosigner, Quorum
from cloister.keyservice.log import StateCommitment, verify_extension
from cloister.keyservice.mirror import Mirror, MirrorWriter
from cloister.keyservice.notes import Note, NoteLine
from cloister.keyservice.owner_replies import LogPage
from cloister.keyservice.witnessing import Prover, WitnessCircle
from cloister.testing.keyservice import ServiceBench, policy_text
from cloister.testing.log import MemoryLog, decision

WITNESS = Cosigner("w.example/1", SigningKey(b"w" * 32))


def quiet(done: int, total: int) -> None:
    """Nobody looks."""
    assert 0 <= done <= total


@pytest.fixture
def log() -> MemoryLog:
    """Ten decisions."""
    log = MemoryLog()
    log.decide(10)
    return log


@pytest.fixture
def folder(tmp_path: Path, log: MemoryLog) -> Path:
    """Their mirror."""
    update(tmp_path / "mirror", log)
    return tmp_path / "mirror"


def update(folder: Path, log: MemoryLog) -> Fetched:
    """Fetch once."""
    with MirrorWriter(folder) as mirror:
        return fetch(mirror, log, service=log.service, progress=quiet)


def audit(folder: Path, log: MemoryLog, evidence: Evidence = Evidence()) -> Audit:  # noqa: B008  # frozen
    """Verify once."""
    return verify(Mirror(folder), service=log.service, evidence=evidence, progress=quiet)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a mirror."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(folder: Path, log: MemoryLog, evidence: Evidence = Evidence()) -> str:  # noqa: B008  # frozen
    """Verify, expecting a refusal."""
    with pytest.raises(CloisterError) as e:
        audit(folder, log, evidence)
    return e.value.code


def change(folder: Path, number: int, leaf: bytes) -> None:
    """Put another leaf in place of one."""
    lines = (folder / "entries").read_bytes().split(b"\n")
    lines[number] = base64.b64encode(leaf)
    (folder / "entries").write_bytes(b"\n".join(lines))


# -- fetching


@pytest.mark.spec("RL-32", "RL-52")
def test_a_mirror_grows_with_the_log(folder: Path, log: MemoryLog) -> None:
    """And holds; fetching what is there already changes nothing."""
    assert audit(folder, log).checkpoint == log.checkpoint()
    assert update(folder, log) == Fetched(10, 10)
    log.leaves.append(decision(10, code="appraisal.code").to_bytes())
    log.commit(1)
    assert update(folder, log) == Fetched(10, 12)
    found = audit(folder, log)
    assert (found.granted, found.refused, found.states) == (10, 1, 1)
    assert list(read_leaves(Mirror(folder), 12))[11] == StateCommitment(1, b"d" * 32)


def test_an_empty_log_has_a_mirror(tmp_path: Path) -> None:
    """Of no leaves."""
    log = MemoryLog()
    assert update(tmp_path / "mirror", log) == Fetched(0, 0)
    assert audit(tmp_path / "mirror", log).checkpoint.size == 0
    log.decide(1)
    assert update(tmp_path / "mirror", log) == Fetched(0, 1)


@pytest.mark.spec("RL-32")
def test_large_logs_come_in_pages(tmp_path: Path) -> None:
    """Of at most a thousand, with progress."""
    log, steps = MemoryLog(), []
    log.decide(2500)
    with MirrorWriter(tmp_path) as mirror:
        fetch(mirror, log, service=log.service, progress=lambda *step: steps.append(step))
    assert steps == [(0, 2500), (1000, 2500), (2000, 2500), (2500, 2500)]
    assert audit(tmp_path, log).granted == 2500
    steps.clear()
    verify(
        Mirror(tmp_path),
        service=log.service,
        evidence=Evidence(),
        progress=lambda *step: steps.append(step),
    )
    assert steps[0] == (500, 2500)
    assert steps[-1] == (2500, 2500)
    assert steps == sorted(steps)


class Dying(MemoryLog):
    """A log whose service goes away after some answers."""

    answers = 3

    def read_log_page(self, *, first: int, count: int, old_size: int) -> LogPage:
        """Answer, or be gone."""
        self.answers -= 1
        if self.answers < 0:
            raise UnavailableError("gone", code="keyservice.unreachable")
        return super().read_log_page(first=first, count=count, old_size=old_size)


@pytest.mark.spec("RL-31", "RL-32")
def test_an_interrupted_fetch_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came is not fetched again, and is no part of the mirror until it is verified."""
    monkeypatch.setattr(auditing, "MAX_PAGE", 4)
    log = Dying()
    log.decide(11)
    with pytest.raises(UnavailableError):
        update(tmp_path, log)
    assert refused(tmp_path, log) == "config.missing"
    log.answers = 99
    steps: list[tuple[int, int]] = []
    with MirrorWriter(tmp_path) as mirror:
        fetch(mirror, log, service=log.service, progress=lambda *step: steps.append(step))
    assert steps[0] == (8, 11)
    assert audit(tmp_path, log).granted == 11


class Crash(BaseException):
    """The process is gone."""


@pytest.mark.spec("RL-31", "RL-32")
@pytest.mark.parametrize("torn", [0, 5])
@pytest.mark.parametrize("step", range(12))
def test_a_crash_at_any_step_costs_nothing(
    folder: Path, log: MemoryLog, monkeypatch: pytest.MonkeyPatch, step: int, torn: int
) -> None:
    """The mirror is the old one or the new one, and the next fetch finishes."""
    log.decide(9)
    monkeypatch.setattr(auditing, "MAX_PAGE", 4)
    left = [step]

    def failing(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                if name == "write":
                    original(arguments[0], bytes(arguments[1])[:torn])
                raise Crash
            return original(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("write", "fsync", "ftruncate", "replace"):
            patch.setattr(os, name, failing(name))
        with contextlib.suppress(Crash):
            update(folder, log)
    assert audit(folder, log).granted in {10, 19}
    assert update(folder, log).after == 19
    assert audit(folder, log).granted == 19


@pytest.mark.spec("RL-31")
@pytest.mark.parametrize("left", [b"Zm91", b"\x00\x00\x00\n", b"!\nZm91\n"])
def test_what_a_crash_left_is_dropped(folder: Path, log: MemoryLog, left: bytes) -> None:
    """A torn line, or one whose content never reached the disk; readers do not see it."""
    with (folder / "entries").open("ab") as file:
        file.write(left)
    assert audit(folder, log).granted == 10
    log.decide(2)
    assert update(folder, log) == Fetched(10, 12)
    assert audit(folder, log).granted == 12


@pytest.mark.spec("RL-31")
def test_leaves_that_were_never_signed_for_are_dropped(folder: Path, log: MemoryLog) -> None:
    """More of them than the log has, or others than it has."""
    original = contents(folder)
    with MirrorWriter(folder) as mirror:
        mirror.append([b"forged"])
    assert audit(folder, log).granted == 10
    update(folder, log)
    assert contents(folder) == original
    with MirrorWriter(folder) as mirror:
        mirror.append([b"forged"])
    log.decide(3)
    with pytest.raises(TamperedError) as e:
        update(folder, log)
    assert e.value.code == "log.proof"
    assert contents(folder) == original
    assert update(folder, log) == Fetched(10, 13)


def test_a_log_that_went_back_is_refused(folder: Path, log: MemoryLog) -> None:
    """And the mirror stays: it is the proof."""
    before = contents(folder)
    del log.leaves[7:]
    with pytest.raises(CloisterError) as e:
        update(folder, log)
    assert (e.value.code, e.value.exit_status) == ("log.rolled-back", 81)
    assert contents(folder) == before


@pytest.mark.spec("RL-32")
@pytest.mark.parametrize("more", [0, 5])
def test_another_log_is_refused(folder: Path, log: MemoryLog, more: int) -> None:
    """Of the same size or larger: nothing is written."""
    before = contents(folder)
    log.leaves[4] = decision(99).to_bytes()
    log.decide(more)
    with pytest.raises(CloisterError) as e:
        update(folder, log)
    assert (e.value.code, e.value.exit_status) == ("log.forked", 80)
    assert contents(folder) == before


@pytest.mark.spec("RL-32")
def test_entries_that_are_withheld_are_missed(folder: Path, log: MemoryLog) -> None:
    """The service signed for more than it gives."""
    log.decide(5)
    log.withheld = 2
    with pytest.raises(CloisterError) as e:
        update(folder, log)
    assert (e.value.code, e.value.exit_status) == ("log.truncated", 79)
    assert audit(folder, log).granted == 10


class Lying(MemoryLog):
    """A log that gives other leaves than it signed for."""

    instead: bytes

    def read_log_page(self, *, first: int, count: int, old_size: int) -> LogPage:
        """Answer with one leaf exchanged."""
        page = super().read_log_page(first=first, count=count, old_size=old_size)
        return dataclasses.replace(page, leaves=page.leaves[:-1] + (self.instead,) * bool(count))


@pytest.mark.spec("RL-32")
def test_leaves_that_were_not_signed_for_are_dropped(tmp_path: Path) -> None:
    """A service that shows other decisions than it signed."""
    log = Lying()
    log.decide(5)
    log.instead = decision(77).to_bytes()
    with pytest.raises(TamperedError) as e:
        update(tmp_path, log)
    assert e.value.code == "log.proof"
    assert (tmp_path / "entries").read_bytes() == b""
    log.instead = b"no leaf"
    with pytest.raises(MalformedError) as e2:
        update(tmp_path, log)
    assert e2.value.code == "wire.malformed"
    assert (tmp_path / "entries").read_bytes() == b""


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda folder: change(folder, 3, decision(99).to_bytes()), "log.proof"),
        (lambda folder: (folder / "entries").write_bytes(b""), "log.truncated"),
        (lambda folder: (folder / "checkpoint").write_text("x"), "message.malformed"),
    ],
)
def test_a_damaged_mirror_is_not_extended(
    folder: Path, log: MemoryLog, damage: object, code: str
) -> None:
    """It would carry its damage on."""
    damage(folder)
    with pytest.raises(CloisterError) as e:
        update(folder, log)
    assert e.value.code == code


def test_another_services_mirror_is_not_extended(folder: Path) -> None:
    """The mirrored checkpoint is not the pinned service's."""
    with pytest.raises(CloisterError) as e:
        update(folder, MemoryLog(key=SigningKey(b"o" * 32)))
    assert e.value.code == "identity.keyservice"


def test_the_real_service_is_mirrored(bench: ServiceBench, tmp_path: Path) -> None:
    """Through the owner's operation; and no key is in what is kept."""
    bench.apply(policy_text(bench))
    with MirrorWriter(tmp_path / "mirror") as mirror:
        fetched = fetch(mirror, bench.owner(), service=bench.pinned, progress=quiet)
    assert fetched.after == bench.store.log_size == 3
    found = verify(
        Mirror(tmp_path / "mirror"), service=bench.pinned, evidence=Evidence(), progress=quiet
    )
    assert (found.granted, found.refused) == (3, 0)


# -- verifying


@pytest.mark.spec("RL-53", "RL-54", "RL-56")
def test_all_that_is_at_hand_agrees(folder: Path, log: MemoryLog) -> None:
    """Older checkpoints, receipts old and new, and witnesses."""
    note = Note.from_text(log.note())
    signed = Note(note.body, (*note.lines, WITNESS.cosign(note, at=5)))
    (folder / "checkpoint").write_text(signed.to_text())
    evidence = Evidence(
        notes=[log.note(size) for size in range(11)],
        receipts=[log.receipt(index, size) for index, size in ((0, 1), (3, 7), (9, 10))],
        quorum=Quorum((WITNESS.public,), 1),
    )
    found = audit(folder, log, evidence)
    assert [each.at for each in found.cosignatures] == [5]


@pytest.mark.spec("RL-51")
@pytest.mark.parametrize("lost", [1, 9, 10])
def test_a_cut_mirror_is_truncated(folder: Path, log: MemoryLog, lost: int) -> None:
    """By any number of leaves, or within one."""
    lines = (folder / "entries").read_bytes().splitlines(keepends=True)
    (folder / "entries").write_bytes(b"".join(lines[: 10 - lost]))
    assert refused(folder, log) == "log.truncated"
    (folder / "entries").write_bytes(b"".join(lines)[:-1])
    assert refused(folder, log) == "log.truncated"
    (folder / "entries").unlink()
    assert refused(folder, log) == "log.truncated"


@pytest.mark.spec("RL-52")
@pytest.mark.parametrize("number", range(10))
def test_a_changed_leaf_is_seen(folder: Path, log: MemoryLog, number: int) -> None:
    """Each of them; readable or not."""
    change(folder, number, decision(99).to_bytes())
    assert refused(folder, log) == "log.proof"
    change(folder, number, b"garbage")
    assert refused(folder, log) == "log.proof"


@pytest.mark.spec("RL-51", "RL-52")
def test_every_changed_byte_of_the_leaves_is_seen(folder: Path, log: MemoryLog) -> None:
    """A line that is none, a line that is another, or a line too few."""
    original = (folder / "entries").read_bytes()
    for position in range(0, len(original), 7):
        changed = bytearray(original)
        changed[position] ^= 1
        (folder / "entries").write_bytes(changed)
        assert refused(folder, log) in {"log.proof", "log.truncated"}


@pytest.mark.spec("RL-52")
def test_leaves_in_another_order_are_seen(folder: Path, log: MemoryLog) -> None:
    """Each has its place."""
    lines = (folder / "entries").read_bytes().splitlines(keepends=True)
    (folder / "entries").write_bytes(b"".join([*lines[1:], lines[0]]))
    assert refused(folder, log) == "log.proof"


@pytest.mark.spec("RL-50")
def test_a_checkpoint_of_somebody_else_is_refused(folder: Path, log: MemoryLog) -> None:
    """The newest, an older one, or a receipt's."""
    other = MemoryLog(key=SigningKey(b"o" * 32))
    other.leaves = log.leaves
    assert refused(folder, log, Evidence(notes=[other.note(3)])) == "identity.keyservice"
    assert refused(folder, log, Evidence(receipts=[other.receipt(3)])) == "identity.keyservice"
    (folder / "checkpoint").write_text(other.note())
    assert refused(folder, log) == "identity.keyservice"


@pytest.mark.spec("RL-50")
def test_a_checkpoint_that_is_none_is_malformed(folder: Path, log: MemoryLog) -> None:
    """The newest, an older one, or a receipt's."""
    bad = dataclasses.replace(log.receipt(3), checkpoint="x")
    assert refused(folder, log, Evidence(notes=["x"])) == "message.malformed"
    assert refused(folder, log, Evidence(receipts=[bad])) == "message.malformed"
    (folder / "checkpoint").write_text("x")
    assert refused(folder, log) == "message.malformed"


@pytest.mark.spec("RL-53")
def test_an_older_checkpoint_that_is_larger_means_rolled_back(folder: Path, log: MemoryLog) -> None:
    """Its own, or a receipt's."""
    log.decide(4)
    assert refused(folder, log, Evidence(notes=[log.note(12)])) == "log.rolled-back"
    assert refused(folder, log, Evidence(receipts=[log.receipt(2)])) == "log.rolled-back"


@pytest.mark.spec("RL-53")
@pytest.mark.parametrize("size", [1, 5, 10])
def test_an_older_checkpoint_of_another_log_means_forked(
    folder: Path, log: MemoryLog, size: int
) -> None:
    """Its own, or a receipt's; of any size that the mirror has."""
    other = MemoryLog()
    other.decide(size - 1)
    other.leaves.append(decision(55).to_bytes())
    assert refused(folder, log, Evidence(notes=[log.note(2), other.note()])) == "log.forked"
    assert refused(folder, log, Evidence(receipts=[other.receipt(0)])) == "log.forked"


@pytest.mark.spec("RL-54")
def test_a_receipt_that_does_not_hold_is_refused(folder: Path, log: MemoryLog) -> None:
    """Another entry than its checkpoint has."""
    bad = dataclasses.replace(log.receipt(3), entry=decision(55).to_bytes())
    assert refused(folder, log, Evidence(receipts=[bad])) == "log.proof"


@pytest.mark.spec("RL-55")
def test_a_leaf_that_is_none_is_malformed(folder: Path, log: MemoryLog) -> None:
    """Even where the service signed for it."""
    log.leaves.append(b"no leaf")
    with MirrorWriter(folder) as mirror:
        mirror.append([b"no leaf"])
        mirror.put_note(log.note())
    assert refused(folder, log) == "wire.malformed"


@pytest.mark.spec("RL-3", "RL-55")
@pytest.mark.parametrize("again", [3, 2, 0])
def test_a_state_that_was_put_back_is_seen(folder: Path, log: MemoryLog, again: int) -> None:
    """A service that goes on from an older state signs a number that the log has already."""
    for sequence in (2, 3):
        log.commit(sequence)
    update(folder, log)
    assert audit(folder, log).states == 2
    log.commit(again)
    update(folder, log)
    assert refused(folder, log) == "log.rolled-back"


@pytest.mark.spec("RL-56")
def test_too_few_witnesses_are_refused(folder: Path, log: MemoryLog) -> None:
    """With their own status."""
    with pytest.raises(CloisterError) as e:
        audit(folder, log, Evidence(quorum=Quorum((WITNESS.public,), 1)))
    assert (e.value.code, e.value.exit_status) == ("log.witnesses", 82)


# -- having it cosigned


class InMemory(WitnessCircle):
    """Witnesses that are asked without a network."""

    def __init__(self, *witnesses: Cosigner, held: int) -> None:
        """They have seen so many leaves."""
        self.witnesses = witnesses
        self.size = held

    def cosign(self, note: str, prove: Prover) -> str:
        """Check the proof as a witness does, and add the lines."""
        parsed = Note.from_text(note)
        if not self.witnesses:
            raise UnavailableError("none", code="keyservice.witnesses")
        proof = prove(self.size)
        log = MemoryLog()
        log.decide(10)
        verify_extension(log.checkpoint(self.size), log.checkpoint(), proof)
        lines = (witness.cosign(parsed, at=5) for witness in self.witnesses)
        return Note(parsed.body, (*parsed.lines, *lines)).to_text()


@pytest.mark.spec("RL-44")
@pytest.mark.parametrize("held", range(1, 11))
def test_a_mirror_is_cosigned_without_the_service(folder: Path, log: MemoryLog, held: int) -> None:
    """Proofs come from the mirror; fetching the same checkpoint again keeps the lines."""
    quorum = Evidence(quorum=Quorum((WITNESS.public,), 1))
    with MirrorWriter(folder) as mirror:
        found = cosign(mirror, InMemory(WITNESS, held=held), service=log.service)
    assert found == log.checkpoint()
    assert len(audit(folder, log, quorum).cosignatures) == 1
    update(folder, log)
    assert len(audit(folder, log, quorum).cosignatures) == 1
    log.decide(1)
    update(folder, log)
    assert refused(folder, log, quorum) == "log.witnesses"


def test_what_cannot_be_cosigned_stays_as_it_was(folder: Path, log: MemoryLog) -> None:
    """Too few witnesses, a mirror that does not hold, or another service's."""
    before = contents(folder)
    with MirrorWriter(folder) as mirror:
        with pytest.raises(UnavailableError) as e:
            cosign(mirror, InMemory(held=1), service=log.service)
        assert e.value.code == "keyservice.witnesses"
        other = MemoryLog(key=SigningKey(b"o" * 32))
        with pytest.raises(CloisterError) as e2:
            cosign(mirror, InMemory(WITNESS, held=1), service=other.service)
        assert e2.value.code == "identity.keyservice"
    assert contents(folder) == before
    change(folder, 3, decision(99).to_bytes())
    with MirrorWriter(folder) as mirror, pytest.raises(TamperedError) as e3:
        cosign(mirror, InMemory(WITNESS, held=1), service=log.service)
    assert e3.value.code == "log.proof"


def test_lines_that_have_no_room_are_let_go(folder: Path, log: MemoryLog) -> None:
    """The service's own note is what counts."""
    note = Note.from_text(log.note())
    filler = [NoteLine("x" * 64, bytes([n]) * 4, b"s" * 72) for n in range(22)]
    (folder / "checkpoint").write_text(Note(note.body, (*filler, *note.lines)).to_text())
    cosigned = Note(note.body, (*note.lines, WITNESS.cosign(note, at=5))).to_text()
    log.note = lambda *_: cosigned
    update(folder, log)
    assert (folder / "checkpoint").read_text() == cosigned
