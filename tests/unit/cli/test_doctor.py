"""`cloister doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloister.cli.main import app
from cloister.confinement import probe
from cloister.tee.registry import ROOTS_OF_TRUST
from cloister.testing.swtpm import SoftwareTpm


def test_what_is_missing_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """State, cost and remedy of each thing, for people and machines."""
    [some] = [fact for fact in probe.probe() if fact.name == "kernel"]
    monkeypatch.setattr(probe, "probe", lambda: [some])
    found = CliRunner().invoke(app, ["doctor", "--json"])
    assert [fact["name"] for fact in json.loads(found.stdout)["facts"]] == ["kernel"]
    assert "kernel" in CliRunner().invoke(app, ["doctor"]).stdout


def test_roots_of_trust_are_listed_with_what_is_missing(
    tmp_path: Path, swtpm: SoftwareTpm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind, by which interface; for people and machines, at the places that are named."""
    monkeypatch.setattr(probe, "probe", list)
    monkeypatch.setenv("CLOISTER_TPM", str(swtpm.path))
    words = ["doctor", "--tsm", str(tmp_path / "tsm"), "--nvml", str(tmp_path / "nvml.so")]
    found = CliRunner().invoke(app, [*words, "--json"])
    roots = {each["kind"]: each for each in json.loads(found.stdout)["roots_of_trust"]}
    assert list(roots) == [each.name for each in ROOTS_OF_TRUST]
    assert {kind for kind, each in roots.items() if each["offered"]} == {"sim", "tpm"}
    assert set(roots["tdx"]) == {"kind", "offered", "interface", "missing", "remedy"}
    said = CliRunner().invoke(app, words).stdout
    for kind, each in roots.items():
        assert kind in said
        if not each["offered"]:
            assert f"{kind}: " in said
