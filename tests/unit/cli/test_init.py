"""`cloister init`."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloister.cli.main import app
from cloister.tee import registry


def test_a_trust_domain_is_made(tmp_path: Path) -> None:
    """Public facts are printed; secrets are closed to others."""
    folder = tmp_path / "domain"
    found = CliRunner().invoke(app, ["init", str(folder), "--name", "lab.test", "--json"])
    facts = json.loads(found.stdout)
    assert (found.exit_code, facts["name"], facts["hardware_rooted"]) == (0, "lab.test", False)
    key = folder / "owner" / "owner.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_bytes().hex() not in found.output


def test_whether_hardware_vouches_is_what_the_platform_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command has no opinion of its own."""
    sim = registry.by_name("sim")
    assert sim is not None
    monkeypatch.setattr(registry, "by_name", lambda _name: replace(sim, hardware_rooted=True))
    made = CliRunner().invoke(app, ["init", str(tmp_path / "one"), "--json"])
    assert json.loads(made.stdout)["hardware_rooted"] is True
    said = CliRunner().invoke(app, ["init", str(tmp_path / "two")])
    assert "(rooted in hardware)" in said.stdout
    assert "SIMULATED" not in said.stdout


def test_a_person_is_told_that_it_is_simulated(tmp_path: Path) -> None:
    """And what to type next."""
    found = CliRunner().invoke(app, ["init", str(tmp_path / "domain")])
    assert "SIMULATED" in found.stdout
    assert f"export CLOISTER_DOMAIN={tmp_path}/domain" in found.stdout


def test_a_bad_name_is_refused(tmp_path: Path) -> None:
    """Names end up in certificates."""
    found = CliRunner().invoke(app, ["init", str(tmp_path / "domain"), "--name", "No Name"])
    assert getattr(found.exception, "code", None) == "config.value"


def test_init_says_which_folders_it_made(tmp_path: Path) -> None:
    """For people and, under `made`, for machines."""
    shown = CliRunner().invoke(app, ["init", str(tmp_path / "work" / "domain")])
    assert shown.exit_code == 0
    assert f"new folder   {tmp_path / 'work'}  (only you may enter)" in shown.output
    again = CliRunner().invoke(app, ["init", str(tmp_path / "work" / "second"), "--json"])
    assert json.loads(again.output)["made"] == []
