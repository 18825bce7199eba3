"""Evidence of each kind says what to ask for; collecting asks once for each."""

from __future__ import annotations

import pytest

from cloister.attestation.evidence import Evidence
from cloister.endorsing.amd import AmdWish
from cloister.endorsing.intel import IntelWish
from cloister.endorsing.nvidia import NvidiaWish
from cloister.endorsing.wishes import KINDS, collect, wish_of
from cloister.errors import CloisterError, ConfigError
from cloister.tee.azure.layout import AzureEvidence
from cloister.tee.registry import ROOTS_OF_TRUST
from cloister.testing.endorsers import BOARD
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureVm
from cloister.testing.manufacturers.intel import IntelCase
from cloister.testing.manufacturers.nvidia import SimulatedNvidia, evidence_list, packed_evidence
from endorsing_bench import INTEL, MINTED, NOW, WISH, Bench


@pytest.mark.spec("ES-2")
def test_each_kind_says_what_it_takes() -> None:
    """With a log, as a list, packed: as it travels."""
    logged = INTEL.mint(IntelCase("tdx5", log=("dstack", b"[]"))).evidence
    for evidence in (MINTED.evidence, logged):
        assert wish_of(evidence, "tdx", product="", endorsements=[]) == WISH
    for kind, other in (("sgx", MINTED.evidence), ("tdx", INTEL.mint(IntelCase("sgx3")).evidence)):
        with pytest.raises(CloisterError) as e:
            wish_of(other, kind, product="", endorsements=[])
        assert e.value.code == "evidence.kind"
    amd = SimulatedAmd(b"seed", "Genoa", now=NOW)
    report = Evidence("application/vnd.cloister.snp", amd.chip().report())
    found = wish_of(report, "snp", product="", endorsements=[])
    assert isinstance(found, AmdWish)
    assert found.product == "Genoa"


@pytest.mark.spec("ES-2")
def test_gpus_bring_their_chains_or_get_them() -> None:
    """A bare report needs its chain from somewhere."""
    maker = SimulatedNvidia("seed", at=NOW)
    gpu = maker.gpu("HOPPER")
    bare = Evidence(
        "application/vnd.cloister.nvidia", gpu.report(bytes(32), board=BOARD).to_bytes()
    )
    wish = wish_of(bare, "nvidia", product="", endorsements=[gpu.chain])
    assert isinstance(wish, NvidiaWish)
    assert len(wish.rims) == 2
    for given in ([], [gpu.chain, gpu.chain]):
        with pytest.raises(ConfigError):
            wish_of(bare, "nvidia", product="", endorsements=given)
    for several in (evidence_list([gpu], bytes(32)), packed_evidence([gpu], bytes(32))):
        with pytest.raises(CloisterError) as e:  # read, and without a board
            wish_of(several, "nvidia", product="", endorsements=[])
        assert e.value.detail == "project"


@pytest.mark.spec("ES-2")
def test_azures_evidence_holds_a_report_of_amds_or_a_quote() -> None:
    """What Azure wraps is asked about as if it were bare."""
    vm = SimulatedAzureVm(b"seed", now=NOW)
    evidence = Evidence("application/vnd.cloister.azure-snp+cbor", vm.evidence(bytes(32)))
    found = wish_of(evidence, "azure-snp", product="", endorsements=[])
    assert isinstance(found, AmdWish)
    assert found.chip_id == vm.chip.chip_id
    wrapped = AzureEvidence(MINTED.quote, b"{}", vm.tpm.quote(bytes(32))).to_bytes()
    evidence = Evidence("application/vnd.cloister.azure-tdx+cbor", wrapped)
    assert wish_of(evidence, "azure-tdx", product="", endorsements=[]) == WISH


def test_kinds_are_roots_of_trust() -> None:
    """The others bring along what vouches, or it is pinned by hand."""
    names = {each.name for each in ROOTS_OF_TRUST}
    assert set(KINDS) < names
    for kind in names - set(KINDS):
        with pytest.raises(ConfigError):
            wish_of(MINTED.evidence, kind, product="", endorsements=[])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_evidence_asks_for_nothing(kind: str) -> None:
    """With our errors only."""
    types = {each.name: each.media_types for each in ROOTS_OF_TRUST}
    for media_type in types[kind]:
        for body in (b"", b"x" * 2000, bytes(1184), MINTED.quote[:-9]):
            with pytest.raises(CloisterError):
                wish_of(Evidence(media_type, body), kind, product="Milan", endorsements=[])


def test_the_same_wish_is_collected_once(bench: Bench) -> None:
    """However many pieces of evidence have it."""
    again = IntelWish("tdx", WISH.fmspc, "platform")
    assert len(collect([WISH, again], bench.asking().answer)) == 1
    assert len(bench.endorsers.asked) == 4
