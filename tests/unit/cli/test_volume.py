"""`cloister volume`."""

from __future__ import annotations

from pathlib import Path

from unit.cli.conftest import Door


def test_what_is_sealed_can_be_listed_verified_and_opened(door: Door, plain: Path) -> None:
    """The whole way there and back."""
    sealed = door.record("volume", "seal", plain, "store", "--kind", "code")
    assert sealed["version"] == 1
    assert {entry["path"] for entry in door.record("volume", "ls", "store")["entries"]} >= {
        "one.txt",
        "two.sh",
    }
    verified = door.record("volume", "verify", "store")
    assert (verified["files"], verified["root"]) == (2, sealed["root"])
    assert door.record("volume", "observe", "store")["id"] == sealed["id"]
    opened = door.record("volume", "open", "store", "back")
    assert opened["version"] == 1
    assert (door.folder / "back" / "one.txt").read_text() == "one\n"


def test_people_get_lines(door: Door, plain: Path) -> None:
    """The same facts, to be read."""
    assert "version  1" in door.call("volume", "seal", plain, "store").stdout
    assert "one.txt" in door.call("volume", "ls", "store").stdout
    assert "whole and the newest" in door.call("volume", "verify", "store").stdout
    assert "2 names of version 1" in door.call("volume", "open", "store", "back").stdout


def test_an_empty_volume_is_made_for_results(door: Door) -> None:
    """The key service knows it by the kind that was given."""
    made = door.record("volume", "create", "out", "--kind", "model")
    [record] = door.record("keyservice", "status")["volumes"]
    assert (record["kind"], record["id"]) == ("model", made["id"])


def test_a_store_that_is_in_use_is_left_alone(door: Door, plain: Path) -> None:
    """Nothing is sealed over something."""
    found = door.call("volume", "seal", plain, plain)
    assert getattr(found.exception, "code", None) == "config.exists"
    assert (plain / "one.txt").read_text() == "one\n"
