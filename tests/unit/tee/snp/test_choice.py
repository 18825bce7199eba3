"""Of AMD's certificates what came along counts, and of lists the newest."""

from __future__ import annotations

import pytest

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.errors import MalformedError
from cloister.tee.snp.choice import choose_certificates, read_own
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.tee.snp.layout import MEDIA_TYPE, Product, Report
from cloister.tee.snp.verifier import SnpVerifier
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd

AMD = SimulatedAmd(b"seed", "Genoa")
CHIP = AMD.chip()
REPORT = Report.from_bytes(CHIP.report())
DAY_S = 86400
OLD = AMD.revocations(validity=(NOW - 20 * DAY_S, NOW + DAY_S))
NEW = AMD.revocations(validity=(NOW - DAY_S, NOW + DAY_S))


def bodies(chosen: list[Endorsement]) -> list[bytes]:
    """What was chosen."""
    return [each.body for each in chosen]


@pytest.mark.spec("SNP-19")
def test_the_newest_list_counts_whoever_has_it() -> None:
    """Certificates are those that came along."""
    leaf, chain = AMD.endorsements(CHIP, revocations=b"")
    for sent, own in ((OLD, NEW), (NEW, OLD)):
        chosen = choose_certificates(
            REPORT, [leaf, chain, Endorsement(LIST_TYPE, sent)], [Endorsement(LIST_TYPE, own)]
        )
        assert chosen == [leaf, chain, Endorsement(LIST_TYPE, NEW)]
    # Nothing came along, or nothing is there.
    assert choose_certificates(REPORT, [leaf, chain], [Endorsement(LIST_TYPE, OLD)])[2].body == OLD
    assert choose_certificates(REPORT, [leaf, chain], []) == [leaf, chain]


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
@pytest.mark.spec("SNP-19")
def test_what_did_not_come_along_is_the_judges_own(product: Product) -> None:
    """The certificate of this chip in this version, its chain, and that root's list."""
    amd = SimulatedAmd(b"seed", product)
    chip = amd.chip()
    others = [amd.chip("other"), amd.chip(tcb={"snp": 25}), amd.chip(kind="VLEK")]
    own = [each for other in others for each in amd.endorsements(other)]
    own += SimulatedAmd(b"other", product).endorsements(SimulatedAmd(b"other", product).chip())
    own += amd.endorsements(chip)
    chosen = choose_certificates(Report.from_bytes(chip.report()), [], own)
    assert [each.media_type for each in chosen] == [CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE]
    assert chosen[0].body == chip.certificate
    claims = SnpVerifier([amd.anchor]).verify(Evidence(MEDIA_TYPE, chip.report()), chosen, at=NOW)
    assert claims.vendor["revocation_checked"]
    # Without a certificate there is nothing to choose for.
    assert choose_certificates(REPORT, [], []) == []
    leaf = Endorsement(CERTIFICATE_TYPE, CHIP.certificate)
    assert choose_certificates(REPORT, [leaf], []) == [leaf]


@pytest.mark.spec("SNP-19")
def test_a_foreign_list_that_came_along_does_not_displace_ones_own() -> None:
    """It is left out where there is one of the root's, and refused where there is none."""
    leaf, chain = AMD.endorsements(CHIP, revocations=b"")
    foreign = Endorsement(LIST_TYPE, SimulatedAmd(b"seed", "Milan").revocations())
    own = Endorsement(LIST_TYPE, OLD)
    assert choose_certificates(REPORT, [leaf, chain, foreign], [own]) == [leaf, chain, own]
    assert choose_certificates(REPORT, [leaf, chain, foreign], []) == [leaf, chain, foreign]


def test_what_cannot_be_read_is_refused() -> None:
    """Of each kind."""
    for each in AMD.endorsements(CHIP):
        read_own(each)
    for media_type in (CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE):
        with pytest.raises(MalformedError):
            read_own(Endorsement(media_type, b"0\x00"))
