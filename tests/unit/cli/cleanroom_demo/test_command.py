"""`cloister cleanroom demo`: its words and its tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloister.cli.cleanroom_demo import story
from cloister.cli.cleanroom_demo.facts import Facts
from cloister.cli.demo import network
from cloister.cli.main import app
from unit.cli.cleanroom_demo.test_facts import GOOD


class FakeStory:
    """Saw what it is told to."""

    facts = GOOD
    roots: list[Path] = []  # noqa: RUF012  # emptied by the fixture

    def __init__(self, root: Path, **_: Any) -> None:
        self.roots.append(root)
        (root / "file").write_text("x")

    def tell(self) -> Facts:
        return replace(self.facts, seconds={})


@pytest.fixture(autouse=True)
def _fake_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "enter_own_network", lambda **_: None)
    monkeypatch.setattr(story, "Story", FakeStory)
    monkeypatch.setattr(FakeStory, "facts", GOOD)
    FakeStory.roots.clear()


def test_the_tables_say_what_each_sees_and_the_folder_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it is simulated, and what is not shown, as well; nothing is left behind."""
    monkeypatch.setenv("COLUMNS", "200")
    found = CliRunner().invoke(app, ["cleanroom", "demo"])
    assert found.exit_code == 0, found.output
    for text in (
        "model owner",
        "there: data-owner",
        "refused, x.y",
        "EPERM",
        "SIMULATED",
        "4 of 4",
    ):
        assert text in found.stdout
    assert not FakeStory.roots[0].exists()


def test_what_was_not_proved_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit status tells, and the table does; a named folder stays."""
    bad = replace(GOOD, attempts=[{"party": "operator", "what": "looks", "code": ""}])
    monkeypatch.setattr(FakeStory, "facts", bad)
    monkeypatch.setenv("COLUMNS", "200")
    words = ["cleanroom", "demo", "--folder", str(tmp_path / "here")]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 1
    assert "NOT REFUSED" in found.stdout
    assert (tmp_path / "here" / "file").exists()
    found = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(found.stdout)["proved"] is False
