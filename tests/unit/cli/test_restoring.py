"""`cloister keyservice backup`, `restore`, `approve` and `reset`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cloister.keyservice.store import Store
from cloister.testing.keyservice import DATA_ID
from unit.cli.conftest import Door


def lose(door: Door) -> None:
    """The disk of the state is gone."""
    door.bench.close()
    shutil.rmtree(door.bench.domain.keyservice_directory)
    door.bench.domain.keyservice_directory.mkdir(mode=0o700)


def start(door: Door) -> None:
    """Open what is there now."""
    bench = door.bench
    bench.store = Store.open(bench.domain.keyservice_directory, bench.platform)


def refused(door: Door, *words: str | Path) -> str:
    """The code of a command that fails."""
    return str(getattr(door.call(*words).exception, "code", None))


@pytest.mark.spec("BR-3", "BR-8")
def test_a_backup_is_made_and_restored(door: Door) -> None:
    """While the service has the state open; for people and for machines."""
    said = door.record("keyservice", "backup", "one")
    assert said["file"] == "one"
    assert said["record"] == door.bench.store.sequence
    assert "up to record" in door.call("keyservice", "backup", "two").stdout
    assert refused(door, "keyservice", "backup", "one") == "config.exists"
    assert refused(door, "keyservice", "restore", "one") == "keyservice.busy"
    lose(door)
    assert refused(door, "keyservice", "restore", "three") == "config.missing"
    assert door.record("keyservice", "restore", "two")["record"] == said["record"]
    start(door)


@pytest.mark.spec("BR-10", "BR-12", "BR-17")
def test_a_reset_is_proposed_approved_and_applied(door: Door) -> None:
    """By the owner here; not with no approval, and not on an earlier one."""
    door.record("keyservice", "backup", "old")
    door.bench.register_volumes()
    lose(door)
    assert refused(door, "keyservice", "restore", "old") == "state.rolled-back"
    made = door.record("keyservice", "reset", "propose", "old", "--out", "statement")
    assert made["given_up"] > made["record"]
    assert json.loads(Path("statement").read_text())["back_to"] == made["record"]
    owner_key = door.bench.domain.directory / "owner" / "owner.key"
    signed = door.record("keyservice", "approve", "statement", "--key", owner_key, "--out", "yes")
    assert signed["kind"] == "reset"
    words = ("keyservice", "reset", "apply", "old", "statement")
    assert refused(door, *words) == "approval.pending"
    assert refused(door, "keyservice", "reset", "apply", "old", "none") == "config.file"
    assert "goes on after record" in door.call(*words, "--approval", "yes").stdout
    start(door)
    assert door.bench.store.volume(DATA_ID) is None
    assert door.bench.store.sequence == made["given_up"] + 1


def test_for_another_platform_the_owner_says_what_is_lost(door: Door) -> None:
    """Nobody here knows it."""
    door.record("keyservice", "backup", "old")
    key = door.bench.domain.owner.text
    words = ("keyservice", "reset", "propose", "old", "--out", "statement", "--platform", key)
    assert refused(door, *words) == "config.value"
    assert door.record(*words, "--given-up", "500")["given_up"] == 500
    assert json.loads(Path("statement").read_text())["platform"] == key


@pytest.mark.spec("BR-11")
def test_a_statement_about_another_service_is_not_signed(door: Door) -> None:
    """Somebody handed in the wrong file."""
    door.record("keyservice", "backup", "old")
    door.record("keyservice", "reset", "propose", "old", "--out", "statement")
    tree = json.loads(Path("statement").read_text())
    tree["service"] = door.bench.domain.owner.text
    Path("other").write_text(json.dumps(tree))
    owner_key = door.bench.domain.directory / "owner" / "owner.key"
    words = ("keyservice", "approve", "other", "--key", owner_key)
    assert refused(door, *words) == "config.value"
