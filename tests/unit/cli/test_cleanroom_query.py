"""`cloister cleanroom query` and `budget`, against an enclave in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cloister.cleanroom.room_folder import RoomFolder
from cloister.cli import settings
from cloister.cli.main import app
from cloister.testing.cleanroom import DATA_OWNER, PRINCIPAL
from unit.cleanroom.enclave import DOMAIN, ROOM, Enclave


@pytest.fixture
def enclave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Enclave]:
    """With the room's folder and keys where commands look for them."""
    monkeypatch.chdir(tmp_path)
    folder = RoomFolder(Path("room"))
    folder.write(ROOM.agreement)
    facts = {"name": DOMAIN.name, "namespace": "rooms/digits", "ca": DOMAIN.ca_pem.decode()}
    folder.trust.write_text(json.dumps(facts))
    for name, key in (("asker", PRINCIPAL), ("owner", DATA_OWNER)):
        Path(f"{name}.key").touch(mode=0o600)
        Path(f"{name}.key").write_bytes(key.to_secret())
    np.save("record.npy", np.arange(64, dtype=np.float32).reshape(8, 8))
    with Enclave(ROOM) as found:
        yield found


def call(*words: str) -> Any:
    """Run a command of `cleanroom`."""
    return CliRunner().invoke(app, ["cleanroom", *words])


def record(*words: str) -> Any:
    """Run one with `--json`; it must succeed."""
    found = call(*words, "--json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


ASKER = ("--principal", "clinic", "--key", "asker.key")


def test_a_query(enclave: Enclave) -> None:
    """Labels, scores, what is left, and who answered."""
    found = record("query", enclave.url, "record.npy", *ASKER)
    assert (found["labels"], found["scores"], found["left"]) == ([7, 6, 5], [7.0, 6.0, 5.0], 99)
    assert found["peer"].startswith("spiffe://clinic.example/rooms/digits/digits/query/")
    assert found["hardware_rooted"] is False
    said = call("query", enclave.url, "record.npy", *ASKER)
    assert said.exit_code == 0, said.output
    assert "7  7" in said.stdout
    assert "98 queries are left" in said.output


def test_a_room_that_is_another(enclave: Enclave) -> None:
    """A policy in the folder that does not follow from the terms is refused."""
    Path("room/policy.yaml").write_text("policy: cloister/v1\n")
    error = call("query", enclave.url, "record.npy", *ASKER).exception
    assert getattr(error, "code", None) == "config.value"


def test_a_principals_budget(enclave: Enclave) -> None:
    """Asked of the enclave, and free; without its address there is nobody to ask."""
    record("query", enclave.url, "record.npy", *ASKER)
    found = record("budget", "room", *ASKER, "--url", enclave.url)
    assert found == {"limit": 100, "principals": {"clinic": {"spent": 1, "left": 99}}}
    error = call("budget", "room", *ASKER).exception
    assert getattr(error, "code", None) == "config.missing"


def test_an_owner_sees_how_queries_look(enclave: Enclave, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is spent from the key service, and the signal from the enclave."""
    spent = SimpleNamespace(principal="clinic", amount=2)
    service = SimpleNamespace(budgets=lambda *_, of: [SimpleNamespace(name=of, spent=(spent,))])
    monkeypatch.setattr(settings, "client", lambda *_: service)
    found = record("budget", "room", "--key", "owner.key")
    assert found["principals"] == {"clinic": {"spent": 2, "left": 98}}
    record("query", enclave.url, "record.npy", *ASKER)
    seen = record("budget", "room", "--key", "owner.key", "--url", enclave.url)
    assert seen["principals"]["clinic"] == {
        "spent": 1, "left": 99, "answered": 1, "noticed": 0, "signal": 1.0,
    }  # fmt: skip
    said = call("budget", "room", "--key", "owner.key", "--url", enclave.url)
    assert "noticed" in said.stdout
