"""Pairs of fingerprint and digest: what is believed, and what counts as empty."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.launcher.cache import CacheKey
from cloister.launcher.known import KnownDigests


def _known(folder: Path, secret: bytes = b"k" * 32) -> KnownDigests:
    return KnownDigests(folder / "state" / "known", CacheKey(secret))


def test_a_pair_is_found_again(tmp_path: Path) -> None:
    """By its fingerprint, also beside others; a newer digest replaces an older one."""
    known = _known(tmp_path)
    assert known.get(b"f" * 32) is None
    known.put(b"f" * 32, b"1" * 32)
    known.put(b"g" * 32, b"2" * 32)
    known.put(b"f" * 32, b"3" * 32)
    assert known.get(b"f" * 32) == b"3" * 32
    assert known.get(b"g" * 32) == b"2" * 32


@pytest.mark.spec("LM-23")
def test_an_edited_file_counts_as_empty(tmp_path: Path) -> None:
    """Whatever byte is changed, cut off or added, and for another platform's key."""
    known = _known(tmp_path)
    known.put(b"f" * 32, b"1" * 32)
    good = known.path.read_bytes()
    edited = [good[:-1], good + b"\0", good + bytes(64), b"", b"x" * 5000]
    edited += [good[:n] + bytes((good[n] ^ 1,)) + good[n + 1 :] for n in range(len(good))]
    for data in edited:
        known.path.write_bytes(data)
        assert known.get(b"f" * 32) is None
    known.path.write_bytes(good)
    assert _known(tmp_path, b"o" * 32).get(b"f" * 32) is None


@pytest.mark.spec("LM-24")
def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """The file is 0600 in a folder of 0700."""
    known = _known(tmp_path)
    known.put(b"f" * 32, b"1" * 32)
    assert stat.S_IMODE(known.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(known.path.parent.stat().st_mode) == 0o700


def test_it_stays_small(tmp_path: Path) -> None:
    """Sixteen pairs are kept, the newest."""
    known = _known(tmp_path)
    for number in range(20):
        known.put(bytes((number,)) * 32, b"d" * 32)
    assert [number for number in range(20) if known.get(bytes((number,)) * 32)] == [*range(4, 20)]


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """With the code of an unusable file."""
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError) as caught:
        _known(tmp_path).put(b"f" * 32, b"1" * 32)
    assert caught.value.code == "config.file"
