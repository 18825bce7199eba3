"""`cloister cleanroom`, by two owners and an operator with one key service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloister.cleanroom.agreement import load_room
from cloister.cleanroom.report import Report
from cloister.cleanroom.round_rules import RoundRules
from cloister.cli import cluster_run, settings
from cloister.crypto.digest import sha256
from cloister.keyservice import clock
from cloister.launcher.local import LocalFacts
from unit.cli.conftest import Door

SPACE = "rooms/digits"


@pytest.fixture
def owners(door: Door, monkeypatch: pytest.MonkeyPatch) -> Door:
    """Keys of both owners and a principal, a charter, sealed volumes of each, and a recipe."""
    monkeypatch.setattr(clock, "read_clock", door.bench.clock)
    platform = door.bench.platform
    facts = LocalFacts(platform.anchor.text, sha256(b"launcher"), sha256(b"runtime"), platform.svn)
    monkeypatch.setattr(settings, "measure_local", lambda *_, **__: facts)
    words = []
    for name in ("ann", "ben", "asker"):
        public = door.record("key", "new", f"{name}.key")["public"]
        (door.folder / f"{name}.pub").write_text(public)
        words += ["--approver", public] if name != "asker" else []
    door.record("namespace", "draft", SPACE, *words, "-k", "2", "-o", "charter.yaml")
    door.record("namespace", "apply", "charter.yaml")
    for key, folder in (("ann", "recipe"), ("ben", "shard-0"), ("ben", "shard-1")):
        (door.folder / folder).mkdir()
        (door.folder / folder / "recipe.py").write_text(folder)
        monkeypatch.setenv(settings.KEY_VARIABLE, f"{key}.key")
        door.record("volume", "seal", folder, f"sealed/{folder}", "--namespace", SPACE)
    for key, store in (("ann", "model"), ("ann", "report-ann"), ("ben", "report-ben")):
        monkeypatch.setenv(settings.KEY_VARIABLE, f"{key}.key")
        door.record("volume", "create", f"sealed/{store}", "--namespace", SPACE)
    monkeypatch.delenv(settings.KEY_VARIABLE)
    return door


def public(door: Door, name: str) -> str:
    """Somebody's public key."""
    return (door.folder / f"{name}.pub").read_text()


def words_of_a_draft(door: Door) -> list[str]:
    """The options of a draft; one shard by its store, one by what `observe` prints."""
    seen = door.record("volume", "observe", "sealed/shard-1")
    return [
        "--name", "digits", "--namespace", SPACE,
        "--model-owner", public(door, "ann"), "--data-owner", public(door, "ben"),
        "--shard", "sealed/shard-0=60", "--shard", f"{seen['id']}@{seen['root']}=50",
        "--shape", "8,8", "--classes", "10", "--recipe", "sealed/recipe",
        "--recipe-digest", door.record("cleanroom", "digest", "recipe")["digest"],
        "--model", "sealed/model", "--model-owner-report", "sealed/report-ann",
        "--data-owner-report", "sealed/report-ben",
        "--principal", f"asker={public(door, 'asker')}",
    ]  # fmt: skip


def code_of(door: Door, *words: str | Path) -> str | None:
    """The code of a command's refusal."""
    return getattr(door.call(*words).exception, "code", None)


def test_two_owners_agree_and_end_it(owners: Door) -> None:
    """Draft, offer, show, accept by both, status at each step; then one of them closes alone."""
    door = owners
    assert door.record("cleanroom", "draft", *words_of_a_draft(door)) == {"file": "terms.yaml"}
    made = door.record("cleanroom", "offer", "terms.yaml", "--key", "ann.key")
    assert (made["signed"], made["missing"]) == (["model_owner"], ["data_owner"])
    shown = door.record("cleanroom", "show", "room.offer")
    assert shown["digest"] == made["digest"]
    assert shown["terms"]["queries"]["limit"] == 1000
    assert any("simulated" in line for line in shown["remarks"])
    said = door.call("cleanroom", "show", "room.offer").stdout
    assert "signed by the model owner" in said
    assert "cloister/cleanroom-terms/v1" in said

    first = door.record("cleanroom", "accept", "room.offer", "--key", "ben.key", "--room", "ben")
    assert (first["state"], first["lacking"]) == ("approval.pending", 1)
    room = load_room(Path("ben/code/terms.cbor"))
    assert made["digest"] == "sha256:" + room.digest.hex()
    waiting = door.record("cleanroom", "status", "ben", "--key", "ben.key")
    assert (waiting["state"], waiting["missing"]) == ("waiting", [public(door, "ann")])
    words = ("cleanroom", "accept", "ben/code/terms.cbor", "--key", "ann.key", "--room", "ann")
    said = door.call(*words)
    assert said.exit_code == 0, said.output
    assert "closing.model-owner.txt" in said.stdout
    for path in ("policy.yaml", "closing.yaml", "code/terms.cbor"):
        assert Path("ann", path).read_bytes() == Path("ben", path).read_bytes()
    found = door.record("cleanroom", "status", "ann", "--key", "ann.key")
    assert (found["state"], found["roles"]["trainer"]) == ("in force", {"live": 0, "maximum": 2})
    assert "trainer   0 of 2" in door.call("cleanroom", "status", "ann", "--key", "ben.key").stdout
    for owner in ("ann", "ben"):
        counted = door.record("cleanroom", "budget", "ann", "--key", f"{owner}.key")
        assert counted["principals"] == {"asker": {"spent": 0, "left": 1000}}
    assert code_of(door, "policy", "lint", "ann/policy.yaml") is None

    (ours := Path("ben/closing.model-owner.txt")).write_bytes(
        Path("ann/closing.model-owner.txt").read_bytes()
    )
    assert ours.exists()
    ended = door.record("cleanroom", "close", "ben", "--key", "ben.key")
    assert "state" not in ended
    assert door.record("cleanroom", "status", "ann", "--key", "ann.key")["state"] == "closed"


def test_an_end_without_the_others_approval_waits(owners: Door) -> None:
    """Until both have closed it."""
    door = owners
    agree(door)
    ended = door.record("cleanroom", "close", "ben", "--key", "ben.key")
    assert ended["state"] == "approval.pending"
    status = door.record("cleanroom", "status", "ben", "--key", "ben.key")
    assert (status["state"], status["closing"]) == ("in force", True)
    assert "its end waits" in door.call("cleanroom", "status", "ben", "--key", "ben.key").stdout
    assert "state" not in door.record("cleanroom", "close", "ann", "--key", "ann.key")


def test_an_owner_reads_his_report_with_the_status(
    owners: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From his volume: what was told of each round, and what was not in time; or nothing yet."""
    door = owners
    agree(door)
    words = ("cleanroom", "status", "ben", "--key", "ben.key", "--report")
    assert door.record(*words, "sealed/report-ben")["report"] is None
    assert "nothing yet" in door.call(*words, "sealed/report-ben").stdout
    report = Report(RoundRules.of(load_room(Path("ben/code/terms.cbor"))), 2, 10)
    report.add(10, {"loss": 0.5, "accuracy": None})
    (door.folder / "told").mkdir()
    (door.folder / "told" / "training.json").write_bytes(report.to_bytes())
    monkeypatch.setenv(settings.KEY_VARIABLE, "ben.key")
    door.record("volume", "seal", "told", "sealed/told", "--namespace", SPACE)
    monkeypatch.delenv(settings.KEY_VARIABLE)
    (entry,) = door.record(*words, "sealed/told")["report"]["entries"]
    assert (entry["round"], entry["metrics"]["loss"]) == (10, "0.50")
    said = door.call(*words, "sealed/told").stdout
    assert "round 10  loss 0.50, accuracy not in time" in said
    assert "rounds    20, an exchange of" in said
    with_hers = ("cleanroom", "status", "ann", "--key", "ann.key", "--report", "sealed/told")
    assert code_of(door, *with_hers) == "release.volume-unknown"


def agree(door: Door) -> None:
    """Bring a room into force; each owner has a folder."""
    door.record("cleanroom", "draft", *words_of_a_draft(door))
    door.record("cleanroom", "offer", "terms.yaml", "--key", "ann.key")
    door.record("cleanroom", "accept", "room.offer", "--key", "ben.key", "--room", "ben")
    words = ("ben/code/terms.cbor", "--key", "ann.key", "--room", "ann")
    assert "state" not in door.record("cleanroom", "accept", *words)


@pytest.mark.spec("CT-34")
def test_what_an_owner_does_not_sign(owners: Door) -> None:
    """A stranger's key, another key service, an offer alone, a charter with one more approver."""
    door = owners
    door.record("cleanroom", "draft", *words_of_a_draft(door))
    offer = ("cleanroom", "offer", "terms.yaml")
    assert code_of(door, *offer, "--key", "asker.key") == "config.value"
    door.record(*offer, "--key", "ann.key")
    assert code_of(door, *offer, "--key", "ann.key") == "config.exists"
    accept = ("cleanroom", "accept", "room.offer")
    assert code_of(door, *accept, "--key", "ann.key") == "terms.signature"
    assert code_of(door, *accept, "--key", "asker.key") == "config.value"
    assert not Path("room").exists()
    text = Path("terms.yaml").read_text()
    Path("far.yaml").write_text(text.replace("service:", "service: &a"))
    assert code_of(door, "cleanroom", "offer", "far.yaml", "--key", "ann.key") == "terms.malformed"
    service = door.bench.domain.identity.text
    Path("far.yaml").write_text(text.replace(service, public(door, "asker")))
    far = ("cleanroom", "offer", "far.yaml", "--key", "ann.key", "-o", "far.offer")
    assert code_of(door, *far) == "config.value"
    Path("other.yaml").write_text(text.replace(SPACE, "rooms/other"))
    keys = [word for name in ("ann", "ben", "asker") for word in ("--approver", public(door, name))]
    door.record("namespace", "draft", "rooms/other", *keys, "-k", "2", "-o", "other-charter.yaml")
    door.record("namespace", "apply", "other-charter.yaml")
    door.record("cleanroom", "offer", "other.yaml", "--key", "ann.key", "-o", "other.offer")
    other = ("cleanroom", "accept", "other.offer", "--key", "ben.key", "--room", "other")
    assert code_of(door, *other) == "config.value"
    assert not Path("other").exists()
    mine, hers = (
        door.record("volume", "observe", f"sealed/report-{n}")["id"] for n in ("ben", "ann")
    )
    swapped = text.replace(mine, "x").replace(hers, mine).replace('x"', f'{hers}"')
    Path("swapped.yaml").write_text(swapped)
    door.record("cleanroom", "offer", "swapped.yaml", "--key", "ann.key", "-o", "swapped.offer")
    accept = ("cleanroom", "accept", "swapped.offer", "--key", "ben.key", "--room", "other")
    assert code_of(door, *accept) == "config.value"
    assert not Path("other").exists()


def test_training_is_a_cluster_run_of_the_policy(
    owners: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Server and trainers, from the room's code, until their schedule is over; no key is needed."""
    door = owners
    agree(door)
    given: dict[str, Any] = {}

    def run(file: Path, **options: Any) -> None:
        given.update(options, file=file)

    monkeypatch.setattr(cluster_run, "command", run)
    assert door.call("cleanroom", "train", "ben", "--volume", "model=sealed/model").exit_code == 0
    terms = load_room(Path("ben/code/terms.cbor")).terms
    assert (given["file"], given["code"]) == (Path("ben/policy.yaml"), Path("ben/code"))
    assert (given["only"], given["until"]) == (["server", "trainer"], [])
    assert given["volume"] == ["model=sealed/model"]
    assert given["trust"] == Path("ben/trust.json")
    shown = door.record("namespace", "show", SPACE, "--key", "ann.key")
    assert json.loads(given["trust"].read_text())["ca"] == shown["ca"] != door.bench.domain.ca
    assert given["deadline"] > terms.training.seconds
    Path("ben/policy.yaml").write_text(Path("ben/policy.yaml").read_text().replace("7600", "7601"))
    given.clear()
    assert code_of(door, "cleanroom", "train", "ben") == "config.value"
    assert given == {}


def test_words_that_are_no_shard_principal_or_shape(owners: Door) -> None:
    """Each is named, and nothing is written."""
    door = owners
    words = words_of_a_draft(door)
    for option, value in (
        ("--shard", "sealed/shard-0"),
        ("--shard", "sealed/shard-0=many"),
        ("--principal", "asker"),
        ("--shape", "8,,8"),
    ):
        changed = list(words)
        changed[changed.index(option) + 1] = value
        assert code_of(door, "cleanroom", "draft", *changed) == "config.value"
    assert code_of(door, "cleanroom", "draft", *words, "--framework", "caffe") == "terms.invalid"
    assert not Path("terms.yaml").exists()
