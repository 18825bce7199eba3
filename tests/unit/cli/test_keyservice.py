"""`cloister keyservice`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.keyservice import server, witness_server
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


def test_witness_runs_one_for_the_named_logs(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each origin with its key; the server's status is the command's."""
    calls: list[witness_server.WitnessSettings] = []
    monkeypatch.setattr(witness_server, "main", lambda found: calls.append(found) or 7)
    key = door.bench.domain.identity
    words = ("keyservice", "witness", "--state", "w", "--name", "w.example")
    found = door.call(*words, "--origin", "a/log", "--service-key", key.text)
    assert found.exit_code == 7
    assert calls == [
        witness_server.WitnessSettings(Path("w"), "w.example", "127.0.0.1:0", {"a/log": key})
    ]


@pytest.mark.parametrize(
    ("origins", "keys", "code"),
    [
        (["a"], [], "config.value"),
        (["a", "a"], ["k", "k"], "config.value"),
        (["a"], ["x"], "wire.malformed"),
    ],
)
def test_witness_wants_one_key_for_each_log(
    door: Door, origins: list[str], keys: list[str], code: str
) -> None:
    """And each log once."""
    words = ["keyservice", "witness", "--state", "w", "--name", "w"]
    text = door.bench.domain.identity.text
    words += [word for origin in origins for word in ("--origin", origin)]
    words += [word for key in keys for word in ("--service-key", text if key == "k" else key)]
    if not keys:
        words += ["--service-key", text, "--service-key", text]
    found = door.call(*words)
    assert getattr(found.exception, "code", None) == code
