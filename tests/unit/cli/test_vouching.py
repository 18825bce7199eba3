"""What files and bundles say about a machine: what goes along, and what stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cloister.attestation.endorsement_bundle import Collected, EndorsementBundle
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.cli.vouching import GivenEndorsements, given_endorsements
from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, EndorsementError
from cloister.keyservice.clock import Moment
from cloister.tee.snp.layout import MEDIA_TYPE as SNP_TYPE
from cloister.tee.tdx.layout import MEDIA_TYPE as TDX_TYPE
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia, packed_evidence

KEY = SigningKey.generate()
INTEL = SimulatedIntel(b"seed", at=NOW)
HERE = INTEL.mint(IntelCase("tdx5"))
ELSEWHERE = INTEL.mint(IntelCase("tdx5", fmspc=bytes.fromhex("00906ed50001")))
AMD = SimulatedAmd(b"seed", "Genoa")
CHIP = AMD.chip()
GPUS = SimulatedNvidia("seed", at=NOW)
GPU, OTHER_GPU = GPUS.gpu("HOPPER"), GPUS.gpu("BLACKWELL")
TD = Evidence(TDX_TYPE, HERE.quote)
GUEST = Evidence(SNP_TYPE, CHIP.report(report_data=bytes(64)))


def write(path: Path, *endorsements: Endorsement, key: SigningKey = KEY) -> Path:
    """Write a bundle."""
    items = [Collected(each, "https://here.example", NOW) for each in endorsements]
    path.write_bytes(EndorsementBundle.make(items, key)[1])
    return path


def given(*paths: Path, collectors: Sequence[SigningKey] = (KEY,)) -> GivenEndorsements:
    """What these paths say, at the simulated manufacturers' time."""
    return GivenEndorsements(
        paths, collectors=[each.public for each in collectors], clock=lambda: Moment(NOW, 0.0)
    )


@pytest.mark.spec("EB-13")
def test_a_bundle_about_many_machines_gives_what_is_about_this_one(tmp_path: Path) -> None:
    """Another platform's collateral and chip's certificate, and other GPUs' manifests stay here."""
    rims, others = GPUS.rims(GPU), GPUS.rims(OTHER_GPU)
    amd = AMD.endorsements(CHIP)
    stranger = SimulatedAmd(b"another", "Milan")
    found = given(
        write(
            tmp_path / "bundle",
            *HERE.endorsements,
            *ELSEWHERE.endorsements,
            *amd,
            *stranger.endorsements(stranger.chip()),
            *rims,
            *others,
        )
    )
    assert tuple(found(TD, "tdx")) == HERE.endorsements
    assert {*found(GUEST, "snp")} == {*amd}
    assert {*found(packed_evidence([GPU], b"n" * 32), "nvidia")} == {*rims}
    assert {*found(packed_evidence([OTHER_GPU], b"n" * 32), "nvidia")} == {*others}


def test_files_that_were_named_are_looked_at_likewise_for_gpus(tmp_path: Path) -> None:
    """For processors the launcher takes what is about the evidence."""
    for number, each in enumerate([*HERE.endorsements, *GPUS.rims(GPU), *GPUS.rims(OTHER_GPU)]):
        (tmp_path / f"file-{number}").write_bytes(each.body)
    found = given(tmp_path)
    assert {*found(packed_evidence([GPU], b"n" * 32), "nvidia")} == {*GPUS.rims(GPU)}
    assert HERE.endorsements[0] in found(TD, "tdx")


def test_files_are_read_each_time_and_kept_where_that_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run outlasts what was true at its start, and a file that is being written."""
    path = write(tmp_path / "bundle", *ELSEWHERE.endorsements)
    found = given(path)
    assert found(TD, "tdx") == []
    write(path, *HERE.endorsements)
    assert tuple(found(TD, "tdx")) == HERE.endorsements
    write(path, *ELSEWHERE.endorsements, key=SigningKey.generate())
    assert tuple(found(TD, "tdx")) == HERE.endorsements
    assert "endorsements.kept code=endorsement.collector" in caplog.text


def test_what_a_file_holds_does_not_reach_the_terminal_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The message that says why the older ones are kept has no character that moves a cursor."""
    path = write(tmp_path / "a\x1b[2J", *HERE.endorsements)
    found = given(path)
    path.unlink()
    assert found(TD, "tdx")
    assert "endorsements.kept" in caplog.text
    assert "\x1b" not in caplog.text


def test_what_cannot_be_meant_is_told_at_once(tmp_path: Path) -> None:
    """Files that are none, empty folders, other collectors; nothing named is nothing given."""
    (tmp_path / "file").write_bytes(b"hello")
    (tmp_path / "empty").mkdir()
    for name in ("file", "empty", "absent"):
        with pytest.raises(ConfigError) as wrong:
            given(tmp_path / name)
        assert name in wrong.value.public
    for collectors in ((), (SigningKey.generate(),)):
        with pytest.raises(EndorsementError) as e:
            given(write(tmp_path / "bundle", *HERE.endorsements), collectors=collectors)
        assert e.value.code == "endorsement.collector"
    assert given_endorsements([], []) is None
