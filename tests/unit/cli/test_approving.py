"""`cloister policy approve`, `pending`, `diff` and `history`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cloister.keyservice import clock
from cloister.testing.keyservice import policy_text
from unit.cli.conftest import Door
from unit.cli.test_namespace import charter


@pytest.fixture
def policy(door: Door) -> Path:
    """A policy in a namespace that two of three govern."""
    charter(door, "ann", "ben", "cat", threshold=2)
    file = door.folder / "policy.yaml"
    file.write_text(policy_text(door.bench))
    return file


@pytest.mark.spec("PA-26", "PA-22")
def test_approvals_are_made_offline_and_carried(
    door: Door, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With domain.json and a key alone; then one person applies."""
    monkeypatch.setattr(clock, "read_clock", door.bench.clock)
    before = len(door.bench.requests)
    monkeypatch.delattr(socket, "socket")
    for name in ("ann", "ben"):
        made = door.call(
            "policy", "approve", policy, "--key", f"{name}.key", "--out", f"{name}.txt"
        )
        assert made.exit_code == 0, made.output
    shown = door.call("policy", "approve", policy, "--key", "cat.key")
    assert shown.stdout.startswith("-----BEGIN CLOISTER APPROVAL-----")
    assert len(door.bench.requests) == before
    words = ("--approval", "ann.txt", "--approval", "ben.txt", "--key", "cat.key")
    assert door.record("policy", "apply", policy, *words)["policy"] == "lab/digits"
    again = door.call("policy", "approve", policy, "--key", "ann.key", "--out", "ann.txt")
    assert getattr(again.exception, "code", None) == "config.exists"


@pytest.mark.spec("PA-34", "KR-80")
def test_what_waits_is_listed_with_who_is_missing(door: Door, policy: Path) -> None:
    """For those who may read; applying by the second brings it into force."""
    assert "nothing waits" in door.call("policy", "pending", "--key", "ann.key").stdout
    said = door.call("policy", "apply", policy, "--key", "ann.key")
    assert said.exit_code == 0
    assert "not in force yet" in said.stdout
    [waiting] = door.record("policy", "pending", "--key", "ben.key")["proposals"]
    assert (waiting["kind"], waiting["namespace"], waiting["lacking"]) == ("policy", "lab", 1)
    assert len(waiting["missing"]) == 2
    lines = door.call("policy", "pending", "--key", "ben.key").stdout
    assert "policy lab/digits sha256:" in lines
    assert "needed    1 more" in lines
    assert door.record("policy", "pending") == {"proposals": []}
    assert "state" not in door.record("policy", "apply", policy, "--key", "ben.key")
    history = door.record("policy", "history", "lab/digits", "--key", "cat.key")["versions"]
    assert [(v["current"], len(v["approved"])) for v in history] == [(True, 2)]
    assert "in force" in door.call("policy", "history", "lab/digits", "--key", "cat.key").stdout
    wrong = door.call("policy", "history", "digits")
    assert getattr(wrong.exception, "code", None) == "config.value"


def test_a_file_that_is_no_approval_is_refused(door: Door, policy: Path) -> None:
    """Before anything is sent."""
    (door.folder / "bad.txt").write_text("yes")
    for name, code in (("bad.txt", "approval.malformed"), ("none.txt", "config.file")):
        found = door.call("policy", "apply", policy, "--approval", name, "--key", "ann.key")
        assert getattr(found.exception, "code", None) == code


def test_diff_marks_what_weakens(door: Door, policy: Path) -> None:
    """By path, for people and for machines."""
    newer = door.folder / "newer.yaml"
    newer.write_text(policy.read_text().replace("debug: refused", "debug: accepted"))
    shown = door.call("policy", "diff", policy, newer).stdout
    assert "WEAKER    roots_of_trust.sim.debug" in shown
    assert "1 changes, 1 of them weaker" in shown
    [change] = door.record("policy", "diff", policy, newer)["changes"]
    assert (change["before"], change["after"], change["effect"]) == (
        "refused",
        "accepted",
        "weaker",
    )
