"""A volume's key is replaced, as its owner types it, between runs of an unmodified program."""

from __future__ import annotations

import pytest

from integration.cli.conftest import SECRET
from integration.cli.desk import Desk

pytestmark = pytest.mark.fuse


def test_a_key_is_replaced_between_runs(desk: Desk) -> None:
    """Runs before, between and after; the content stays, and the old key is gone at the end."""
    store = "sealed/out"
    desk.json("run", "policy.yaml", "--workload", "copy").good()
    point = desk.folder / "point"
    point.mkdir()
    words = ("volume", "mount", store, point, "--write", "--", "/bin/sh", "-c")
    desk.run(*words, f"head -c 3000000 /dev/zero > {point}/mounted").good()
    before = desk.read(store)
    assert SECRET.encode() in before["copy.txt"]
    assert desk.json("volume", "rotate", store).good().record["key_epoch"] == 2
    assert desk.read(store) == before
    desk.json("run", "policy.yaml", "--workload", "small").good()
    assert desk.json("volume", "retire", store).code == "release.key-in-use"
    between = desk.read(store)
    assert between.keys() > before.keys()
    desk.run(*words, f"head -c 3000000 /dev/zero > {point}/later").good()
    done = desk.json("volume", "rekey", store).good().record
    assert done["key_epoch"] == 2
    assert 3_000_000 <= done["resealed_bytes"] < 6_000_000
    assert desk.json("volume", "rekey", store).good().record["resealed_bytes"] == 0
    assert desk.json("volume", "retire", store).good().record["oldest_key"] == 2
    desk.stop_service()
    after = desk.read(store)
    assert after == between | {"later": bytes(3_000_000)}
    desk.json("volume", "verify", store).good()
    desk.json("run", "policy.yaml", "--workload", "copy").good()
    assert desk.read(store)["copy.txt"] == before["copy.txt"]
    assert desk.json("volume", "observe", store).good().record["version"] > 3


def test_a_sealed_volume_is_sealed_again_instead(desk: Desk) -> None:
    """Its key never changes; the refusal says what to do."""
    refused = desk.json("volume", "rotate", "sealed/data")
    assert refused.code == "config.value"
    assert "seal" in refused.error["hint"]
