"""Which endorsements evidence is judged by, for each kind."""

from __future__ import annotations

import pytest

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.errors import MalformedError
from cloister.tee.azure.layout import SNP_TYPE, TDX_TYPE, AzureEvidence
from cloister.tee.choice import require_usable
from cloister.tee.registry import ROOTS_OF_TRUST, by_media_type, by_name
from cloister.tee.snp.layout import MEDIA_TYPE as SNP_REPORT
from cloister.tee.tdx.layout import LOGGED_TYPE, LoggedQuote
from cloister.tee.tpm.layout import QuoteParts
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

DAY_S = 86400
INTEL = SimulatedIntel(b"seed", at=NOW)
AMD = SimulatedAmd(b"seed", "Milan")
CHIP = AMD.chip()
OLD = (NOW - 9 * DAY_S, NOW + DAY_S)
PARTS = ("pck_crl", "root_crl", "tcb_info", "qe_identity")
FRESH = INTEL.mint(IntelCase("tdx5"))
STALE = INTEL.mint(IntelCase("tdx5", windows=dict.fromkeys(PARTS, OLD)))
SENT = tuple(AMD.endorsements(CHIP, revocations=AMD.revocations(validity=OLD)))
NEWER = Endorsement("application/pkix-crl", AMD.revocations())


def azure(report: bytes) -> bytes:
    """Azure's evidence around a report; nothing else of it is looked at here."""
    return AzureEvidence(report, b"{}", QuoteParts(b"", b"", (), b"")).to_bytes()


@pytest.mark.parametrize(
    "evidence",
    [
        FRESH.evidence,
        Evidence(LOGGED_TYPE, LoggedQuote(FRESH.quote, "ccel", b"log").to_bytes()),
        Evidence(TDX_TYPE, azure(FRESH.quote)),
    ],
    ids=["bare", "logged", "azure"],
)
@pytest.mark.spec("KR-100")
def test_newer_collateral_of_the_judges_counts(evidence: Evidence) -> None:
    """And newer collateral that came along as well."""
    root = by_media_type(evidence.media_type)
    assert root.choose(evidence, STALE.endorsements, FRESH.endorsements) == [*FRESH.endorsements]
    assert root.choose(evidence, FRESH.endorsements, STALE.endorsements) == [*FRESH.endorsements]
    assert root.choose(evidence, (), STALE.endorsements) == [*STALE.endorsements]
    assert [*root.choose(evidence, STALE.endorsements, ())] == [*STALE.endorsements]
    foreign = SimulatedIntel(b"other", at=NOW).mint(IntelCase("tdx5")).endorsements
    assert [*root.choose(evidence, STALE.endorsements, foreign)] == [*STALE.endorsements]


@pytest.mark.parametrize(
    "evidence",
    [Evidence(SNP_REPORT, CHIP.report()), Evidence(SNP_TYPE, azure(CHIP.report()))],
    ids=["bare", "azure"],
)
@pytest.mark.spec("KR-100")
def test_a_newer_list_of_the_judges_counts(evidence: Evidence) -> None:
    """The sender's host cannot hold it back."""
    root = by_media_type(evidence.media_type)
    assert root.choose(evidence, SENT, (NEWER,)) == [*SENT[:2], NEWER]
    assert root.choose(evidence, (*SENT[:2], NEWER), (SENT[2],)) == [*SENT[:2], NEWER]
    assert [*root.choose(evidence, SENT, FRESH.endorsements)] == [*SENT]


@pytest.mark.spec("KR-102")
def test_what_a_kind_does_not_allow_is_left_for_its_verifier_to_refuse() -> None:
    """Two bundles, a bundle of another kind, a certificate twice: whatever the judge has."""
    root = by_name("tdx")
    assert root is not None
    for sent in (STALE.endorsements * 2, SENT[:1], (*STALE.endorsements, SENT[0])):
        assert root.choose(FRESH.evidence, sent, FRESH.endorsements) == sent
        with pytest.raises(MalformedError) as e:
            root.verifier((INTEL.anchor,)).verify(FRESH.evidence, sent, at=NOW)
        assert e.value.code == "endorsement.malformed"
    snp = by_name("snp")
    assert snp is not None
    report = Evidence(SNP_REPORT, CHIP.report())
    for sent in ((*SENT, SENT[0]), (*SENT, *FRESH.endorsements)):
        assert snp.choose(report, sent, (NEWER,)) == sent
        with pytest.raises(MalformedError) as e:
            snp.verifier((AMD.anchor,)).verify(report, sent, at=NOW)
        assert e.value.code == "endorsement.malformed"


@pytest.mark.spec("KR-102")
def test_kinds_without_endorsements_get_none_of_the_judges() -> None:
    """What came along goes to their verifiers, which refuse it."""
    for root in ROOTS_OF_TRUST:
        if not root.choice_at:
            evidence = Evidence(root.media_types[0], b"")
            assert [*root.choose(evidence, (), (NEWER, *FRESH.endorsements))] == []
            assert [*root.choose(evidence, (NEWER,), ())] == [NEWER]


@pytest.mark.spec("KR-103")
def test_what_a_judge_keeps_is_of_use() -> None:
    """Intel's collateral and AMD's certificates and lists; nothing else is chosen from."""
    for each in (*FRESH.endorsements, *SENT):
        require_usable(each)
    for media_type, body in (("application/swid+xml", b"<a/>"), ("application/pkix-crl", b"0")):
        with pytest.raises(MalformedError):
            require_usable(Endorsement(media_type, body))
