"""`cloister audit`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from cloister.cli import settings
from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey, VerifyingKey
from cloister.errors import CloisterError
from cloister.keyservice.cosigning import Cosigner, Quorum
from cloister.keyservice.log import Checkpoint, LogEntry, Receipt
from cloister.keyservice.merkle import leaf_hash
from cloister.keyservice.notes import Note
from cloister.keyservice.witnessing import WitnessCircle
from cloister.testing.keyservice import CODE_KEY, DATA_KEY, MEASUREMENT, policy_text
from unit.cli.conftest import Door

VECTOR = Path(__file__).parents[3] / "docs/spec/vectors/receipt-v1/ok.json"


@pytest.fixture
def policy(door: Door) -> bytes:
    """A log with two volumes, a policy, a grant and a refusal."""
    door.bench.register_volumes()
    policy = door.bench.apply(policy_text(door.bench))
    release(door, policy, "train")
    with pytest.raises(CloisterError):
        release(door, policy, "steal")
    return policy


def release(door: Door, policy: bytes, workload: str) -> Receipt:
    """Ask for one release; the receipt that came with it."""
    found = door.bench.release_client().release(
        policy=policy,
        workload=workload,
        instance=f"run-{door.bench.store.log_size}",
        measurement=MEASUREMENT,
        attester=door.bench.attester(),
    )
    return found.bundle.receipt


def failure(door: Door, *words: str | Path) -> tuple[str, int]:
    """The code and status of a command that fails."""
    error = door.call(*words).exception
    assert isinstance(error, CloisterError), error
    return error.code, error.exit_status


def test_fetch_makes_and_updates_a_mirror(door: Door, policy: bytes) -> None:
    """For machines and people."""
    assert door.record("audit", "fetch", "log") == {"mirror": "log", "before": 0, "after": 5}
    with pytest.raises(CloisterError):
        release(door, policy, "steal")
    assert "log: 1 new entries, 6 in all" in door.call("audit", "fetch", "log").stdout
    assert (door.folder / "log" / "checkpoint").exists()


def test_verify_says_what_holds(door: Door, policy: bytes) -> None:
    """Counts, root, and what it was held against."""
    door.call("audit", "fetch", "log")
    (door.folder / "old").write_bytes((door.folder / "log" / "checkpoint").read_bytes())
    kept = release_later(door, policy)
    (door.folder / "kept").write_bytes(kept.to_bytes())
    door.call("audit", "fetch", "log")
    words = ("audit", "verify", "log", "--checkpoint", "old", "--receipt", "kept")
    found = door.record(*words)
    assert found["root"] == digest_to_text(door.bench.store.log_root())
    assert (found["size"], found["granted"], found["refused"]) == (6, 5, 1)
    assert (found["checkpoints"], found["receipts"], found["cosignatures"]) == (1, 1, [])
    shown = door.call(*words).stdout
    assert "log holds: 6 entries, 5 granted, 1 refused" in shown
    assert "1 checkpoints and 1 receipts are of this log" in shown


def release_later(door: Door, policy: bytes) -> Receipt:
    """The next run, after the first one's lease is over."""
    door.bench.clock.move(3600)
    return release(door, policy, "train")


def test_verify_needs_no_service(
    door: Door, policy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the pinned facts; nothing is asked."""
    door.call("audit", "fetch", "log")
    monkeypatch.setattr(settings, "owner", None)
    monkeypatch.setattr(settings, "connect", None)
    door.bench.down = True
    assert door.record("audit", "verify", "log")["size"] == 5


@pytest.mark.spec("RL-57")
def test_each_lie_has_its_status(door: Door, policy: bytes) -> None:
    """Cut, changed, of another service."""
    door.call("audit", "fetch", "log")
    entries = door.folder / "log" / "entries"
    original = entries.read_bytes()
    entries.write_bytes(original[: len(original) // 2])
    assert failure(door, "audit", "verify", "log") == ("log.truncated", 79)
    lines = original.splitlines(keepends=True)
    entries.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    assert failure(door, "audit", "verify", "log") == ("log.proof", 76)
    assert failure(door, "audit", "show", "log") == ("log.proof", 76)
    entries.write_bytes(original)
    origin = door.bench.domain.origin
    key = door.bench.service._key
    forked = Checkpoint(origin, 2, b"x" * 32).to_note(key)
    larger = Checkpoint(origin, 9, b"x" * 32).to_note(key)
    foreign = Checkpoint(origin, 2, b"x" * 32).to_note(SigningKey(b"o" * 32))
    for note, expected in (
        (forked, ("log.forked", 80)),
        (larger, ("log.rolled-back", 81)),
        (foreign, ("identity.keyservice", 77)),
    ):
        (door.folder / "note").write_text(note)
        assert failure(door, "audit", "verify", "log", "--checkpoint", "note") == expected


def test_witnesses_are_counted(door: Door, policy: bytes) -> None:
    """All that are named, unless a quorum is."""
    door.call("audit", "fetch", "log")
    path = door.folder / "log" / "checkpoint"
    note = Note.from_text(path.read_text())
    witnesses = [Cosigner(f"w{n}", SigningKey(bytes([n]) * 32)) for n in range(2)]
    line = witnesses[0].cosign(note, at=1_800_000_000)
    path.write_text(Note(note.body, (*note.lines, line)).to_text())
    words = ["audit", "verify", "log"]
    for witness in witnesses:
        words += ["--witness", witness.public.text]
    assert failure(door, *words) == ("log.witnesses", 82)
    assert failure(door, *words, "--quorum", "3") == ("config.value", 65)
    assert failure(door, *words, "--quorum", "0") == ("config.value", 65)
    assert failure(door, "audit", "verify", "log", "--quorum", "1") == ("config.value", 65)
    assert failure(door, "audit", "verify", "log", "--witness", "x") == ("message.malformed", 71)
    found = door.record(*words, "--quorum", "1")
    assert found["cosignatures"] == [{"witness": "w0", "at": 1_800_000_000}]
    assert "cosigned by w0 at 2027-01-15" in door.call(*words, "--quorum", "1").stdout


def test_show_lists_decisions(door: Door, policy: bytes) -> None:
    """All, or those of one policy, one operation, or refusals."""
    door.call("audit", "fetch", "log")
    found = door.record("audit", "show", "log")
    assert [each["number"] for each in found["entries"]] == [0, 1, 2, 3, 4]
    refused = door.record("audit", "show", "log", "--refused")["entries"]
    assert [(each["operation"], each["decision"]) for each in refused] == [
        ("release", "release.workload-unknown")
    ]
    named = digest_to_text(policy)
    of_policy = door.record("audit", "show", "log", "--policy", named)["entries"]
    assert {each["policy"] for each in of_policy} == {named}
    registered = door.record("audit", "show", "log", "--operation", "volume.register")["entries"]
    assert [each["number"] for each in registered] == [0, 1]
    shown = door.call("audit", "show", "log").stdout
    assert "5 of 5 entries" in shown
    assert named.removeprefix("sha256:")[:8] in shown
    assert failure(door, "audit", "show", "log", "--policy", "x") == ("wire.malformed", 71)


@pytest.mark.spec("RL-4")
def test_no_key_is_in_any_of_it(door: Door, policy: bytes) -> None:
    """Neither in the mirror nor in what is shown."""
    door.call("audit", "fetch", "log")
    texts = [door.call("audit", "show", "log", "--json").stdout.encode()]
    texts += list(door.bench.store.entries(0, 100))
    record = door.bench.store.volume(b"d" * 16)
    assert record is not None
    assert record.holder is not None
    for secret in (CODE_KEY, DATA_KEY, record.holder.secret, door.bench.owner_key.to_secret()):
        assert all(secret not in text and secret.hex().encode() not in text for text in texts)


def test_a_releases_receipt_is_explained(door: Door, policy: bytes) -> None:
    """What it proves, for machines and people."""
    kept = release_later(door, policy)
    (door.folder / "kept").write_bytes(kept.to_bytes())
    found = door.record("audit", "receipt", "kept")
    assert (found["number"], found["size"], found["decision"]) == (5, 6, "granted")
    assert (found["subject"], found["instance"]) == ("train", "run-5")
    shown = door.call("audit", "receipt", "kept").stdout
    assert "entry 5 of 6 in the log example.test/cloister-log" in shown
    assert "train" in shown


def test_a_runs_receipt_is_checked_and_explained(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher's JSON, with the key service's receipt inside."""
    vector = json.loads(VECTOR.read_text())
    pinned = dataclasses.replace(
        door.bench.domain,
        identity=VerifyingKey.from_text(vector["service"]),
        ca=vector["ca"].encode(),
    )
    monkeypatch.setattr(settings, "find_domain", lambda _domain: pinned)
    (door.folder / "receipt.json").write_text(vector["receipt"])
    found = door.record("audit", "receipt", "receipt.json")
    assert (found["number"], found["size"], found["instance"]) == (0, 1, "train-1")
    assert found["spent"] == {}
    spending = json.loads(VECTOR.with_name("ok-spent.json").read_text())["receipt"]
    (door.folder / "spent.json").write_text(spending)
    assert door.record("audit", "receipt", "spent.json")["spent"] == {"exposure": 15}
    assert "spent      exposure: 15" in door.call("audit", "receipt", "spent.json").stdout
    changed = vector["receipt"].replace('"status": 0', '"status": 1')
    (door.folder / "receipt.json").write_text(changed)
    assert failure(door, "audit", "receipt", "receipt.json") == ("identity.peer", 77)


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"", "wire.malformed"), (b"x" * 20000, "wire.too-large"), (b"{", "message.malformed")],
)
def test_other_files_are_no_receipts(door: Door, data: bytes, code: str) -> None:
    """Whatever they are."""
    (door.folder / "file").write_bytes(data)
    assert failure(door, "audit", "receipt", "file")[0] == code


def test_files_that_are_not_there_are_named(door: Door) -> None:
    """Receipt, checkpoint and mirror."""
    assert failure(door, "audit", "receipt", "none") == ("config.file", 65)
    assert failure(door, "audit", "verify", "none") == ("config.missing", 65)
    words = ("audit", "verify", "none", "--checkpoint", "none")
    assert failure(door, *words) == ("config.file", 65)


def test_nothing_that_a_requester_chose_commands_the_terminal(door: Door) -> None:
    """Control characters are shown as what they are not."""
    entry = LogEntry(1, "release", "", b"p" * 32, "a\x1b[31mb", "i\nj", b"e" * 32, b"r" * 32)
    data = entry.to_bytes()
    checkpoint = Checkpoint(door.bench.domain.origin, 1, leaf_hash(data))
    kept = Receipt(data, 0, (), checkpoint.to_note(door.bench.service._key))
    (door.folder / "kept").write_bytes(kept.to_bytes())
    shown = door.call("audit", "receipt", "kept").stdout
    assert "\x1b" not in shown
    assert "a\ufffd[31mb" in shown


def test_cosign_asks_witnesses_for_the_copy(
    door: Door, policy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that are named, unless a quorum is."""
    door.call("audit", "fetch", "log")
    key = Cosigner("w0", SigningKey(b"0" * 32))

    def cosigned(self: WitnessCircle, note: str, prove: object) -> str:
        assert self.quorum == Quorum((key.public,), 1)
        parsed = Note.from_text(note)
        return Note(parsed.body, (*parsed.lines, key.cosign(parsed, at=9))).to_text()

    monkeypatch.setattr(WitnessCircle, "cosign", cosigned)
    witness = f"http://127.0.0.1:1={key.public.text}"
    words = ("audit", "cosign", "log", "--witness", witness)
    assert door.record(*words) == {"mirror": "log", "size": 5, "required": 1}
    assert "cosigned by 1 or more" in door.call(*words).stdout
    found = door.record("audit", "verify", "log", "--witness", key.public.text)
    assert found["cosignatures"] == [{"witness": "w0", "at": 9}]
    assert failure(door, *words, "--quorum", "2") == ("config.value", 65)
    assert failure(door, *words[:4], "nonsense") == ("message.malformed", 71)
    assert failure(door, *words[:4], f"nonsense={key.public.text}") == ("config.value", 65)
    assert failure(door, "audit", "cosign", "none", *words[3:]) == ("config.missing", 65)
    assert not (door.folder / "none").exists()


def test_a_namespace_is_shown_without_a_copy(door: Door, policy: bytes) -> None:
    """Each entry proved, of that namespace only, and filtered like those of a copy."""
    found = door.record("audit", "show", "--namespace", "lab")
    size = door.bench.store.log_size
    assert (found["namespace"], found["size"]) == ("lab", size)
    operations = [entry["operation"] for entry in found["entries"]]
    assert operations == ["policy.apply", "release", "release"]
    refused = door.record("audit", "show", "--namespace", "lab", "--refused")["entries"]
    assert [entry["decision"] for entry in refused] == ["release.workload-unknown"]
    assert f"3 of {size} entries" in door.call("audit", "show", "--namespace", "lab").stdout


def test_a_namespaces_reader_shows_it_with_a_key_of_his(door: Door, policy: bytes) -> None:
    """Who reads another namespace gets nothing."""
    seeds = {"rex": b"r" * 32, "eve": b"e" * 32}
    rex, eve = (SigningKey(seed) for seed in seeds.values())
    bench = door.bench
    bench.owner().propose_charter(bench.charter("lab", (bench.owner_key,), readers=[rex]))
    bench.owner().propose_charter(bench.charter("other", (eve,)))
    for name, seed in seeds.items():
        (door.folder / name).write_bytes(seed)
        (door.folder / name).chmod(0o600)
    words = ("audit", "show", "--namespace", "lab", "--key")
    assert len(door.record(*words, "rex")["entries"]) == 4
    assert failure(door, *words, "eve") == ("release.not-owner", 77)


@pytest.mark.parametrize("words", [(), ("log", "--namespace", "lab")])
def test_show_is_of_a_copy_or_of_a_namespace(door: Door, words: tuple[str, ...]) -> None:
    """One of them."""
    assert failure(door, "audit", "show", *words) == ("config.value", 65)


def test_a_receipt_of_a_namespaces_entry_is_had_and_checked(door: Door, policy: bytes) -> None:
    """Into a new file, which checks offline from then on."""
    number = door.record("audit", "show", "--namespace", "lab")["entries"][1]["number"]
    words = ("audit", "receipt", "kept", "--namespace", "lab", "--number", str(number))
    found = door.record(*words)
    assert (found["number"], found["operation"], found["subject"]) == (number, "release", "train")
    door.bench.down = True
    assert door.record("audit", "receipt", "kept") == found
    door.bench.down = False
    assert failure(door, *words) == ("config.exists", 65)
    assert failure(door, *words[:2], "other", *words[3:-1], "0") == ("config.missing", 65)
    assert failure(door, *words[:2], "no/where", *words[3:]) == ("config.file", 65)
    assert failure(door, *words[:-2]) == ("config.value", 65)
