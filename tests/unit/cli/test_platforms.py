"""`cloister keyservice platform`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloister.crypto.signature import SigningKey
from cloister.keyservice.clock import read_clock
from cloister.keyservice.cosigning import WitnessKey
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.store import Store
from cloister.testing.postgres import PostgresServer
from unit.cli.conftest import Door

WITNESSES = [
    WitnessKey(f"w.example/{n}", SigningKey(bytes([n]) * 32).public).text for n in (1, 2, 3)
]


@pytest.mark.spec("BR-41", "BR-43")
def test_a_platform_is_admitted_command_by_command(door: Door, postgres: PostgresServer) -> None:
    """From its request to a state that opens there."""
    address = postgres.address(postgres.database())
    TrustDomain.create(
        Path("shared"), "shared.test", moment=read_clock(), url="http://127.0.0.1:1",
        database=address,
    )  # fmt: skip
    command, here = ("keyservice", "platform"), ("--domain", "shared")
    database = ("--database", address)
    platform = door.record(*command, "prepare", "second", *here)["platform"]
    asked = door.record(*command, "request", "--out", "request", "--domain", "second")
    assert asked["platform"] == platform
    propose = (*command, "propose", "request", "--quorum", "2", "--out", "statement", *here)
    witnesses = [word for text in WITNESSES for word in ("--witness", text)]
    assert door.record(*propose, *witnesses)["platform"] == platform
    assert json.loads(Path("statement").read_text())["quorum"] == 2
    owner_key = "shared/owner/owner.key"
    words = ("keyservice", "approve", "statement", "--key", owner_key, "--out", "yes", *here)
    assert door.record(*words)["kind"] == "platform"
    admit = (*command, "admit", "request", "statement", "--out", "grant", *here, *database)
    refused = door.call(*admit)
    assert getattr(refused.exception, "code", None) == "approval.pending"
    assert door.record(*admit, "--approval", "yes")["platform"] == platform
    joined = door.call(*command, "join", "request", "grant", "--domain", "second", *database)
    assert "opens the state now" in joined.stdout
    Store.open_shared(address, TrustDomain.load(Path("second")).platform()).close()
