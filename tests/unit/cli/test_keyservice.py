"""`cloister keyservice`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.keyservice import server
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
    door.call("keyservice", "serve", "--listen", "h:1", "--database", "postgresql://u@h/d")
    assert calls == [
        ["--domain", domain, "--listen", "127.0.0.1:0"],
        ["--domain", domain, "--listen", "h:1", "--database", "postgresql://u@h/d"],
    ]
