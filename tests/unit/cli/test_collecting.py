"""The user's own collector: a key made once, and whose bundles are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.cli import collecting
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's home."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_the_own_key_is_made_once_and_is_secret(home: Path) -> None:
    """Its public half lies beside it, so that judging needs no secret."""
    key = collecting.collector_key(None)
    assert collecting.collector_key(None).public == key.public
    folder = home / "config" / "cloister"
    names = {each.name: each.stat().st_mode & 0o777 for each in folder.iterdir()}
    assert names == {"collector.key": 0o600, "collector.pub": 0o600}
    (folder / "collector.key").chmod(0o000)
    assert collecting.accepted([]) == [key.public]


def test_an_open_key_is_refused(home: Path) -> None:
    """Whoever could read it could sign."""
    collecting.collector_key(None)
    (home / "config" / "cloister" / "collector.key").chmod(0o644)
    with pytest.raises(CloisterError) as e:
        collecting.collector_key(None)
    assert e.value.code == "config.file"
    with pytest.raises(CloisterError) as e:
        collecting.collector_key(home / "nowhere")
    assert e.value.code == "config.missing"


def test_without_a_collector_nobodys_bundles_are_taken() -> None:
    """Looking makes no key; those that are named stand in its place."""
    assert collecting.accepted([]) == []
    assert not collecting.key_file().exists()
    other = SigningKey(b"\x01" * 32).public
    collecting.collector_key(None)
    assert collecting.accepted([other.text]) == [other]
    for text in ("", "ed25519:", "x", other.text.upper()):
        with pytest.raises(CloisterError) as e:
            collecting.accepted([text])
        assert e.value.code == "config.value"


def test_base_directories_are_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative one is not meant."""
    assert collecting.cache_folder() == home / "cache" / "cloister" / "endorsements"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(home))
    assert collecting.cache_folder() == home / ".cache" / "cloister" / "endorsements"
