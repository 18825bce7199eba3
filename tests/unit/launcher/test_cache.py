"""The cache's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.launcher.cache import CacheKey, KnownFolder, read_cache, write_cache


@pytest.mark.spec("LM-23")
def test_only_the_key_that_wrote_it_reads_it(tmp_path: Path) -> None:
    """Entries come back under the same key and under no other."""
    known = {b"/a\x00l": KnownFolder(b"1 2 3 4 5 x", b"entries"), b"/b\x00l": KnownFolder(b"", b"")}
    path = tmp_path / "new" / "cache"
    write_cache(path, CacheKey(b"a" * 32), known)
    assert read_cache(path, CacheKey(b"a" * 32)) == known
    assert read_cache(path, CacheKey(b"b" * 32)) == {}


def test_no_cache_is_an_empty_one(tmp_path: Path) -> None:
    """A machine that never measured starts from nothing."""
    assert read_cache(tmp_path / "none", CacheKey(b"a" * 32)) == {}
