"""A thousand kills of the volume's server: nothing that was promised is lost (`make soak`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from soak.volume_kills import soak


@pytest.mark.fuse
@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_thousand_kills_lose_nothing(tmp_path: Path) -> None:
    """After each of 1 000 kills the volume opens at the last promised state, or a newer one."""
    report = soak(tmp_path, kills=1000, seed=20261121)
    assert report.kills == 1000
    assert report.checkpoints > 1000
