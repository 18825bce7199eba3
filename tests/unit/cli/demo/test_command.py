"""`cloister demo`: its words and its table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cloister.cli.demo import network, story
from cloister.cli.main import app
from cloister.errors import ConfigError


class FakeStory:
    """Proves what it is told to."""

    facts = story.Facts(
        accuracy=0.99,
        predictions_equal=True,
        plaintext_hits=0,
        found_without_protection=["code", "data", "query", "weights"],
        attacks={"a theft": {"refused": True, "code": "x.y"}},
    )
    roots: list[Path] = []  # noqa: RUF012  # emptied by the fixture

    def __init__(self, root: Path, **_: Any) -> None:
        self.roots.append(root)
        (root / "file").write_text("x")

    def tell(self) -> story.Facts:
        return self.facts


@pytest.fixture(autouse=True)
def _fake_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "enter_own_network", lambda: None)
    monkeypatch.setattr(story, "Story", FakeStory)
    FakeStory.roots.clear()


def test_the_table_says_that_it_is_simulated_and_the_folder_goes() -> None:
    """Every claim is a row; nothing is left behind."""
    found = CliRunner().invoke(app, ["demo"])
    assert found.exit_code == 0
    for text in ("99.00%", "SIMULATED", "a theft", "refused, x.y"):
        assert text in found.stdout
    assert not FakeStory.roots[0].exists()


def test_a_named_folder_stays(tmp_path: Path) -> None:
    """With all that was made in it."""
    found = CliRunner().invoke(app, ["demo", "--folder", str(tmp_path / "here"), "--json"])
    assert json.loads(found.stdout)["accuracy"] == 0.99
    assert (tmp_path / "here" / "file").exists()


def test_what_was_not_proved_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit status tells."""
    monkeypatch.setattr(FakeStory, "facts", story.Facts())
    assert CliRunner().invoke(app, ["demo", "--json"]).exit_code == 1


def test_the_folder_goes_after_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain data of the owner is in it."""

    def fail(_self: object) -> story.Facts:
        raise ConfigError("no", code="config.value")

    monkeypatch.setattr(FakeStory, "tell", fail)
    CliRunner().invoke(app, ["demo"])
    assert not FakeStory.roots[0].exists()
