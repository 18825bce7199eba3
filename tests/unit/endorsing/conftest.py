"""Sources on loopback for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.testing.endorsers import FakeEndorsers
from endorsing_bench import AUTHORITY, MINTED, NOW, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A simulated Intel behind its service."""
    with FakeEndorsers(AUTHORITY, at=NOW) as endorsers:
        endorsers.intel(MINTED)
        yield Bench(endorsers, tmp_path / "cache")
