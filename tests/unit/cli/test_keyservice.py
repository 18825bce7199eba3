"""`cloister keyservice`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.cli import settings
from cloister.errors import ConfigError
from cloister.keyservice import server
from cloister.keyservice.clock import read_clock
from cloister.keyservice.view.token import ViewToken
from unit.cli.conftest import Door


def test_status_lists_what_is_there(door: Door, plain: Path) -> None:
    """For people as tables; nothing secret is in them."""
    assert door.record("keyservice", "status") == {"policies": [], "volumes": [], "log_size": 0}
    made = door.record("volume", "seal", plain, "store")
    found = door.call("keyservice", "status")
    assert "Volumes" in found.stdout
    assert "log: 1 entries" in found.stdout
    [record] = door.record("keyservice", "status")["volumes"]
    assert record["id"] == made["id"]
    assert "key" not in record


def test_serve_runs_the_server_for_this_domain(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its status is the command's."""
    calls: list[list[str]] = []
    monkeypatch.setattr(server, "main", lambda words: calls.append(words) or 7)
    found = door.call("keyservice", "serve", "--listen", "127.0.0.1:0")
    assert found.exit_code == 7
    domain = str(door.bench.domain.directory)
    assert calls == [["--domain", domain, "--listen", "127.0.0.1:0"]]


def test_serve_passes_the_logs_format_on(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """And refuses one that there is not."""
    calls: list[list[str]] = []
    monkeypatch.setattr(server, "main", lambda words: calls.append(words) or 0)
    assert door.call("keyservice", "serve", "--log-format", "json").exit_code == 0
    assert calls[0][2:] == ["--log-format", "json"]
    error = door.call("keyservice", "serve", "--log-format", "xml").exception
    assert isinstance(error, ConfigError)
    assert error.code == "config.value"


@pytest.mark.spec("KH-21")
def test_a_view_token_is_made_offline(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is not asked; the token is for it, and nothing else is printed."""
    monkeypatch.setattr(settings, "hide_memory", lambda: None)
    door.bench.down = True
    found = door.call("keyservice", "view-token", "--hours", "2", "--scope", "metrics")
    domain, at = door.bench.domain, read_clock().at
    token = ViewToken.from_text(
        found.stdout.strip(), service=domain.identity, owner=domain.owner, at=at
    )
    assert token.scope == "metrics"
    assert at + 7190 < token.expires <= at + 7200
    assert found.stdout.count("\n") == 1


def test_a_view_token_needs_the_owners_key(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the public facts alone makes none."""
    monkeypatch.setattr(settings, "hide_memory", lambda: None)
    (door.bench.domain.directory / "owner" / "owner.key").unlink()
    error = door.call("keyservice", "view-token").exception
    assert isinstance(error, ConfigError)
    assert error.code == "config.missing"


def test_the_doctor_says_what_is_risky_and_fails_on_problems(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For people and machines; a problem is the exit status."""
    monkeypatch.setattr(settings, "hide_memory", lambda: None)
    found = door.record("keyservice", "doctor", "--listen", "0.0.0.0:1")["findings"]
    states = {finding["name"]: finding["state"] for finding in found}
    assert states["address"] == states["owner's key"] == states["clock"] == "warning"
    assert states["files"] == states["state"] == "ok"
    door.bench.domain.keyservice_directory.chmod(0o755)
    said = door.call("keyservice", "doctor", "--json")
    assert said.exit_code == ConfigError.exit_status
    assert "keyservice (0755)" in said.stdout
