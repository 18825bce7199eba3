"""`cloister keyservice rekey`: propose, approve, apply."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.keyservice.store import Store
from unit.cli.conftest import Door

COMMAND = ("keyservice", "rekey")


def refused(door: Door, *words: str | Path) -> str:
    """The code of a command that fails."""
    return str(getattr(door.call(*words).exception, "code", None))


@pytest.mark.spec("BR-50", "BR-51", "BR-52", "BR-54")
def test_the_key_is_changed_command_by_command(door: Door) -> None:
    """From a statement to a state under another key; the same again is no mistake."""
    domain = door.bench.domain
    platform = door.bench.platform.anchor.text
    assert door.record(*COMMAND, "propose", "--out", "statement")["platform"] == platform
    assert refused(door, *COMMAND, "propose", "--out", "statement") == "config.exists"
    key = domain.directory / "owner" / "owner.key"
    approved = door.record("keyservice", "approve", "statement", "--key", key, "--out", "yes")
    assert approved["kind"] == "rekey"
    change = (*COMMAND, "apply", "statement")
    assert refused(door, *change, "--approval", "yes") == "keyservice.busy"
    before = door.bench.store.key.name.hex()
    door.bench.close()
    assert refused(door, *change) == "approval.pending"
    done = door.record(*change, "--approval", "yes")
    assert done["changed"]
    assert done["key"] != before
    assert done["left_out"] == []
    again = door.record(*change, "--approval", "yes")
    assert again == done | {"changed": False}
    assert "nothing was changed now" in door.call(*change, "--approval", "yes").stdout
    door.bench.store = Store.open(domain.keyservice_directory, door.bench.platform)
    assert door.bench.store.key.name.hex() == done["key"]


def test_another_platform_can_be_named(door: Door) -> None:
    """Who proposes need not sit there; where it is not that one, nothing is changed."""
    other = "ed25519:" + "ab" * 32
    said = door.call(*COMMAND, "propose", "--platform", other, "--out", "statement")
    assert other in said.stdout
    key = door.bench.domain.directory / "owner" / "owner.key"
    door.record("keyservice", "approve", "statement", "--key", key, "--out", "yes")
    door.bench.close()
    assert refused(door, *COMMAND, "apply", "statement", "--approval", "yes") == "approval.invalid"
    door.bench.store = Store.open(door.bench.domain.keyservice_directory, door.bench.platform)
    assert refused(door, *COMMAND, "propose", "--platform", "x", "--out", "y") != "None"
    assert not Path("y").exists()
