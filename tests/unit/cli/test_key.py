"""`cloister key`."""

from __future__ import annotations

import stat

from cloister.cli import settings
from unit.cli.conftest import Door


def test_a_new_key_is_secret_and_shows_its_public_half(door: Door) -> None:
    """0600; the file holds what the printed key belongs to, and nothing is overwritten."""
    made = door.record("key", "new", "ann.key")
    file = door.folder / "ann.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert settings.read_key(file).public.text == made["public"]
    again = door.call("key", "new", "ann.key")
    assert getattr(again.exception, "code", None) == "config.exists"
    assert door.call("key", "new", "ben.key").stdout.startswith("ed25519:")


def test_what_is_no_key_is_refused(door: Door) -> None:
    """Open to others, too short, or not there."""
    door.call("key", "new", "ann.key")
    file = door.folder / "ann.key"
    for content, mode, code in (
        (b"short", 0o600, "config.file"),
        (b"k" * 32, 0o644, "config.file"),
    ):
        file.write_bytes(content)
        file.chmod(mode)
        found = door.call("namespace", "list", "--key", file)
        assert getattr(found.exception, "code", None) == code
    found = door.call("namespace", "list", "--key", "nowhere.key")
    assert getattr(found.exception, "code", None) == "config.missing"
