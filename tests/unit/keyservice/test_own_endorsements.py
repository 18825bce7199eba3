"""Endorsements of the service's own: read at once, read again, and kept where that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.attestation.endorsement_bundle import Collected, EndorsementBundle
from cloister.attestation.evidence import Endorsement
from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, EndorsementError
from cloister.keyservice.own_endorsements import OwnEndorsements
from cloister.tee.intel.endorsements import COLLATERAL_TYPE
from cloister.tee.snp.endorsements import LIST_TYPE
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia

COLLATERAL = SimulatedIntel(b"seed", at=NOW).mint(IntelCase("tdx5")).collateral
MAKER = SimulatedAmd(b"seed", "Milan")
LIST = MAKER.revocations()
AMD = MAKER.endorsements(MAKER.chip())
COLLECTOR = SigningKey.generate()


def bundle(folder: Path, *endorsements: Endorsement, by: SigningKey = COLLECTOR) -> Path:
    """Write a bundle."""
    path = folder / "all.bundle"
    items = [Collected(each, "https://here.example", NOW) for each in endorsements]
    path.write_bytes(EndorsementBundle.make(items, by)[1])
    return path


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


@pytest.mark.spec("KR-105")
def test_bundles_of_named_collectors_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As what is in them; what is about GPUs and TPMs is left out."""
    maker = SimulatedNvidia("own", at=NOW)
    of_gpus = maker.endorsements(maker.gpu("HOPPER"))
    path = bundle(tmp_path, *AMD, Endorsement(COLLATERAL_TYPE, COLLATERAL), *of_gpus)
    found = OwnEndorsements([path], collectors=[COLLECTOR.public])()
    lists = [each for each in of_gpus if each.media_type == LIST_TYPE]
    assert {each.body for each in found} == {COLLATERAL, *(e.body for e in [*AMD, *lists])}
    # A list of another issuer's is about no report of AMD's; the rest would be no use at all.
    path = bundle(tmp_path, *maker.rims(maker.gpu("HOPPER")))
    with pytest.raises(ConfigError) as e:
        OwnEndorsements([path], collectors=[COLLECTOR.public])
    assert e.value.code == "config.value"
    own = OwnEndorsements([bundle(tmp_path, *AMD)], collectors=[COLLECTOR.public])
    caplog.set_level("INFO")
    bundle(tmp_path, Endorsement(COLLATERAL_TYPE, COLLATERAL))
    own.reload()
    assert [each.body for each in own()] == [COLLATERAL]
    bundle(tmp_path, *AMD, by=SigningKey.generate())
    own.reload()
    assert [each.body for each in own()] == [COLLATERAL]
    assert "endorsements.kept code=endorsement.collector" in caplog.text


@pytest.mark.spec("KR-105")
def test_a_bundle_of_somebody_else_is_refused_at_the_start(tmp_path: Path) -> None:
    """Of whoever was not named, of everybody where nobody was, and one that was changed."""
    path = bundle(tmp_path, *AMD)
    another = SigningKey.generate().public
    for named in ([], [another]):
        with pytest.raises(EndorsementError) as e:
            OwnEndorsements([path], collectors=named)
        assert e.value.code == "endorsement.collector"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(EndorsementError) as e:
        OwnEndorsements([path], collectors=[COLLECTOR.public])
    assert e.value.code == "endorsement.signature"


@pytest.mark.parametrize("media_type", [COLLATERAL_TYPE, LIST_TYPE])
@pytest.mark.spec("KR-105")
def test_what_cannot_be_read_in_a_bundle_is_refused(tmp_path: Path, media_type: str) -> None:
    """Where nothing else could be meant: a list that is passed over would revoke nobody."""
    path = bundle(tmp_path, *AMD, Endorsement(media_type, b"0hello"))
    with pytest.raises(ConfigError) as e:
        OwnEndorsements([path], collectors=[COLLECTOR.public])
    assert e.value.code == "config.value"
