"""`cloister namespace`."""

from __future__ import annotations

import json

import pytest

from cloister.keyservice import clock
from unit.cli.conftest import Door


def charter(door: Door, *keys: str, threshold: int = 1) -> None:
    """Draft and apply a charter of `lab` for new keys of these names."""
    options = []
    for key in keys:
        options += ["--approver", door.record("key", "new", f"{key}.key")["public"]]
    words = ("lab", *options, "-k", threshold, "-o", "lab.yaml")
    assert door.record("namespace", "draft", *words) == {"file": "lab.yaml"}
    assert door.record("namespace", "apply", "lab.yaml")["namespace"] == "lab"


def test_a_draft_is_applied_and_shown(door: Door) -> None:
    """To those who govern, and to nobody else."""
    charter(door, "ann", "ben", threshold=2)
    shown = door.record("namespace", "show", "lab/deep", "--key", "ann.key")
    assert (shown["governed_by"], shown["threshold"], len(shown["approvers"])) == ("lab", 2, 2)
    assert shown["name"] == door.bench.domain.name
    assert "BEGIN CERTIFICATE" in shown["ca"]
    assert "2 of these approve" in door.call("namespace", "show", "lab", "--key", "ben.key").stdout
    above = door.call("namespace", "show", "lab")
    assert getattr(above.exception, "code", None) == "release.not-owner"
    assert door.record("namespace", "show", "/")["charter"] is None
    [listed] = door.record("namespace", "list", "--key", "ann.key")["charters"]
    assert listed == {"namespace": "lab", "hash": shown["charter"], "at": listed["at"]}
    assert "lab  sha256:" in door.call("namespace", "list", "--key", "ann.key").stdout
    assert door.record("namespace", "list") == {"charters": []}


def test_a_draft_that_is_no_charter_is_not_written(door: Door) -> None:
    """More approvals than approvers; an existing file is left alone."""
    key = door.record("key", "new", "ann.key")["public"]
    found = door.call("namespace", "draft", "lab", "--approver", key, "-k", "2")
    assert getattr(found.exception, "code", None) == "charter.invalid"
    assert not (door.folder / "charter.yaml").exists()
    (door.folder / "charter.yaml").touch()
    found = door.call("namespace", "draft", "lab", "--approver", key)
    assert getattr(found.exception, "code", None) == "config.exists"


def test_a_change_of_the_charter_takes_carried_approvals(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One applies what two have signed."""
    monkeypatch.setattr(clock, "read_clock", door.bench.clock)
    charter(door, "ann", "ben", threshold=2)
    text = (door.folder / "lab.yaml").read_text()
    digest = door.record("namespace", "show", "lab", "--key", "ann.key")["charter"]
    text = text.replace("predecessor: none", f"predecessor: {digest}")
    (door.folder / "next.yaml").write_text(text.replace("threshold: 2", "threshold: 1"))
    alone = door.record("namespace", "apply", "next.yaml", "--key", "ann.key")
    assert (alone["state"], alone["lacking"]) == ("approval.pending", 1)
    pending = door.call("policy", "pending", "--key", "ann.key").stdout
    assert pending.startswith("charter lab sha256:")
    for name in ("ann", "ben"):
        words = ("next.yaml", "--key", f"{name}.key", "--out", f"{name}.txt")
        made = door.call("policy", "approve", *words, "--json")
        assert json.loads(made.stdout)["kind"] == "charter"
    carried = ("--approval", "ann.txt", "--approval", "ben.txt")
    done = door.record("namespace", "apply", "next.yaml", *carried, "--key", "ben.key")
    assert "state" not in done
