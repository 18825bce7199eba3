"""`cloister doctor`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cloister.cli.main import app
from cloister.confinement import probe


def test_what_is_missing_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """State, cost and remedy of each thing, for people and machines."""
    [some] = [fact for fact in probe.probe() if fact.name == "kernel"]
    monkeypatch.setattr(probe, "probe", lambda: [some])
    found = CliRunner().invoke(app, ["doctor", "--json"])
    assert [fact["name"] for fact in json.loads(found.stdout)["facts"]] == ["kernel"]
    assert "kernel" in CliRunner().invoke(app, ["doctor"]).stdout
