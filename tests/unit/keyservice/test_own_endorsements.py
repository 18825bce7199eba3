"""Endorsements of the service's own: read at once, read again, and kept where that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import ConfigError
from cloister.keyservice.own_endorsements import OwnEndorsements
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

COLLATERAL = SimulatedIntel(b"seed", at=NOW).mint(IntelCase("tdx5")).collateral
LIST = SimulatedAmd(b"seed", "Milan").revocations()


@pytest.mark.spec("KR-103")
def test_files_and_folders_are_read(tmp_path: Path) -> None:
    """Each endorsement once."""
    (tmp_path / "intel").mkdir()
    (tmp_path / "intel" / "collateral.json").write_bytes(COLLATERAL)
    (tmp_path / "amd.crl").write_bytes(LIST)
    paths = [tmp_path / "intel", tmp_path / "amd.crl", tmp_path / "amd.crl"]
    assert [each.body for each in OwnEndorsements(paths)()] == [COLLATERAL, LIST]
    assert OwnEndorsements([])() == ()


@pytest.mark.parametrize("data", [b"", b"hello", b"{}", b"0", b"<a/>", b'{"tcb_info": 1}'])
@pytest.mark.spec("KR-103")
def test_what_is_of_no_use_is_refused_at_the_start(tmp_path: Path, data: bytes) -> None:
    """Not when the first release is judged by it."""
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ConfigError) as e:
        OwnEndorsements([tmp_path / "file"])
    assert e.value.code == "config.value"
    assert str(tmp_path / "file") in e.value.public


def test_a_file_that_is_not_there_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    """A mistyped name must not mean that nothing is looked at."""
    with pytest.raises(ConfigError) as e:
        OwnEndorsements([tmp_path / "absent"])
    assert e.value.code == "config.file"
    with pytest.raises(ConfigError) as e:
        OwnEndorsements([tmp_path])
    assert e.value.code == "config.value"


@pytest.mark.spec("KR-103")
def test_reading_again_takes_what_is_there_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Or keeps what was read before, and says so."""
    path = tmp_path / "list"
    path.write_bytes(LIST)
    own = OwnEndorsements([path])
    caplog.set_level("INFO")
    path.write_bytes(COLLATERAL)
    own.reload()
    assert [each.body for each in own()] == [COLLATERAL]
    assert "endorsements.read count=1" in caplog.text
    path.write_bytes(b"hello")
    own.reload()
    assert [each.body for each in own()] == [COLLATERAL]
    assert "endorsements.kept code=config.value" in caplog.text


def test_whoever_sends_some_along_reads_them_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that outlasts what was true at its start; without files there is nothing to read."""
    path = tmp_path / "list"
    path.write_bytes(LIST)
    own = OwnEndorsements([path])
    path.write_bytes(COLLATERAL)
    assert [each.body for each in own.fresh()] == [COLLATERAL]
    path.write_bytes(b"")
    assert [each.body for each in own.fresh()] == [COLLATERAL]
    assert "endorsements.kept" in caplog.text
    assert OwnEndorsements([]).fresh() == ()
