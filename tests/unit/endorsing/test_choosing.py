"""Of a bundle about many machines: what is about this evidence, and the newest that counts."""

from __future__ import annotations

import pytest

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.endorsing.choosing import choose
from cloister.errors import CloisterError, UnavailableError
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.tee.registry import by_name
from cloister.tee.snp.verifier import SnpVerifier
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from endorsing_bench import INTEL, MINTED, NOW
from evidence_samples import folder, instant, load

DAY = 86400
MILAN, GENOA = (SimulatedAmd(b"seed", name, now=NOW) for name in ("Milan", "Genoa"))
CHIP, OTHER = MILAN.chip(), MILAN.chip("other")
REPORT = Evidence("application/vnd.cloister.snp", CHIP.report())
MAKER = SimulatedNvidia("seed", at=NOW)
GPU = MAKER.gpu("HOPPER")
NONCE = bytes(32)


def collateral(**case: object) -> Endorsement:
    """Collateral of a case."""
    return INTEL.mint(IntelCase("tdx5", **case)).endorsements[0]  # type: ignore[arg-type]  # a test's knobs


@pytest.mark.spec("EB-13")
def test_collateral_is_that_of_the_quotes_model() -> None:
    """Not another model's, TEE's or authority's; the verifier takes what is left."""
    others = [
        collateral(fmspc=bytes(6)),
        INTEL.mint(IntelCase("sgx3")).endorsements[0],
        collateral(names={"ca": "Intel SGX PCK Processor CA"}),
        *MILAN.endorsements(CHIP),
    ]
    (right,) = MINTED.endorsements
    assert choose(MINTED.evidence, "tdx", [*others, right, *others], at=NOW) == [right]
    assert choose(MINTED.evidence, "tdx", others, at=NOW) == []
    with pytest.raises(UnavailableError):
        TdxVerifier((INTEL.anchor,)).verify(MINTED.evidence, [], at=NOW)


@pytest.mark.spec("EB-14")
def test_of_the_same_the_newest_that_counts_is_taken() -> None:
    """A later one that does not count yet waits; where none counts, the newest is stale."""
    windows = [(NOW - 50 * DAY, NOW - 20 * DAY), (NOW - 25 * DAY, NOW + 5 * DAY)]
    windows += [(NOW - DAY, NOW + 29 * DAY), (NOW + 10 * DAY, NOW + 40 * DAY)]
    given = [collateral(windows={"tcb_info": window}) for window in windows]
    for order in (given, given[::-1]):
        assert choose(MINTED.evidence, "tdx", order, at=NOW) == [given[2]]
        assert choose(MINTED.evidence, "tdx", order[:2], at=NOW) in ([given[1]], [given[2]])
    late = NOW + 400 * DAY
    assert choose(MINTED.evidence, "tdx", given, at=late) == [given[3]]
    with pytest.raises(UnavailableError) as e:
        TdxVerifier((INTEL.anchor,)).verify(MINTED.evidence, [given[3]], at=late)
    assert e.value.code == "endorsement.stale"


@pytest.mark.spec("EB-13", "EB-14")
def test_amds_are_those_of_the_chip_and_its_product() -> None:
    """Another chip's, version's, product's and key's are left; of two lists the newer is taken."""
    old = MILAN.revocations(validity=(NOW - 9 * DAY, NOW + DAY))
    given = [
        *MILAN.endorsements(OTHER, revocations=old),
        *MILAN.endorsements(MILAN.chip(tcb={"snp": 1})),
        *MILAN.endorsements(MILAN.chip(kind="VLEK")),
        *GENOA.endorsements(GENOA.chip()),
        *MILAN.endorsements(CHIP),
    ]
    once = list(dict.fromkeys(given))
    for order in (once, once[::-1]):
        chosen = choose(REPORT, "snp", order, at=NOW)
        assert sorted(chosen, key=str) == sorted(MILAN.endorsements(CHIP), key=str)
    SnpVerifier([MILAN.anchor]).verify(REPORT, choose(REPORT, "snp", once, at=NOW), at=NOW)


@pytest.mark.spec("EB-13")
def test_a_silent_report_has_the_product_of_its_certificate() -> None:
    """Which has to be that of its key; a provider's key is known by its versions."""
    given = [*GENOA.endorsements(GENOA.chip()), *MILAN.endorsements(CHIP)]
    silent = Evidence("application/vnd.cloister.snp", CHIP.report(version=2))
    assert len(choose(silent, "snp", given, at=NOW)) == 3
    provider = MILAN.chip(kind="VLEK")
    report = Evidence("application/vnd.cloister.snp", provider.report())
    given += MILAN.endorsements(provider)
    chosen = choose(report, "snp", given, at=NOW)
    SnpVerifier([MILAN.anchor]).verify(report, chosen, at=NOW)


@pytest.mark.spec("EB-13")
def test_what_cannot_be_read_is_left_in() -> None:
    """So that it is refused, and does not silently become a check less."""
    bad = Endorsement("application/pkix-crl", b"0\x82 not a list")
    chosen = choose(REPORT, "snp", [*MILAN.endorsements(CHIP), bad], at=NOW)
    assert bad in chosen
    with pytest.raises(CloisterError):
        SnpVerifier([MILAN.anchor]).verify(REPORT, chosen, at=NOW)


@pytest.mark.spec("EB-13")
def test_evidence_that_says_nothing_gets_everything() -> None:
    """It is for the verifier to refuse."""
    given = MILAN.endorsements(CHIP)
    for kind, evidence in (
        ("snp", Evidence("application/vnd.cloister.snp", b"x")),
        ("tdx", Evidence("application/vnd.cloister.tdx", b"x")),
        ("nvidia", Evidence("application/vnd.cloister.nvidia", b"x")),
        ("tpm", Evidence("application/vnd.cloister.tpm+cbor", b"x")),
    ):
        assert choose(evidence, kind, given, at=NOW) == given


@pytest.mark.spec("EB-13", "EB-14")
def test_nvidias_are_those_of_the_gpus_and_their_versions() -> None:
    """Of several bare reports each has its own chain."""
    other = MAKER.gpu("BLACKWELL")
    second = MAKER.gpu("HOPPER", number=2)
    window = (NOW - 9 * DAY, NOW + DAY)
    given = [
        *MAKER.endorsements(other),
        second.chain,
        *MAKER.endorsements(GPU),
        *MAKER.ocsp_responses(GPU, validity=window),
        *MAKER.ocsp_responses(other),
        *MAKER.revocation_lists(GPU, validity=window),
    ]
    evidence = GPU.evidence(NONCE)
    chosen = choose(evidence, "nvidia", given, at=NOW)
    claims = NvidiaVerifier(MAKER.anchors).verify(evidence, chosen, at=NOW)
    assert (claims.vendor["measres"], claims.vendor["revocation"]) == ("success", "good")
    assert GPU.chain in chosen
    assert second.chain not in chosen
    late = choose(evidence, "nvidia", given, at=NOW + 2 * DAY)
    NvidiaVerifier(MAKER.anchors).verify(
        evidence,
        [each for each in late if each.media_type != "application/ocsp-response"],
        at=NOW + 2 * DAY,
    )


@pytest.mark.spec("EB-13", "EB-14")
@pytest.mark.parametrize("kind", ["sgx", "tdx"])
def test_one_bundle_of_all_genuine_collateral_is_as_good_as_the_right_one(kind: str) -> None:
    """Intel's, of several models and instants, where it is here: no verdict changes."""
    root = by_name(kind)
    assert root is not None
    verifier = root.verifier(sorted(root.manufacturer_roots()))
    cases: list[tuple[Evidence, Endorsement, int]] = []
    for described in sorted(folder(kind).glob("*/sample.json")):
        evidence = Evidence(root.media_types[0], (described.parent / "quote.bin").read_bytes())
        for check in load(described)["checks"]:
            body = (described.parent / check["collateral"]).read_bytes()
            own = Endorsement("application/vnd.cloister.intel-collateral+json", body)
            cases.append((evidence, own, instant(check["verify_at"])))
    everything = list(dict.fromkeys(own for _, own, _ in cases))
    assert len(everything) > 3

    def said(evidence: Evidence, given: list[Endorsement], at: int) -> str:
        try:
            return verifier.verify(evidence, given, at=at).status
        except CloisterError as e:
            return e.code

    for evidence, own, at in cases:
        chosen = choose(evidence, kind, everything, at=at)
        assert said(evidence, chosen, at) == said(evidence, [own], at)
