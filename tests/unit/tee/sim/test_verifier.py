"""Simulated evidence is judged against the caller's anchors."""

from pathlib import Path

import pytest

from cloister.attestation.evidence import Evidence, ReportData
from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, EndorsementError, EvidenceError, MalformedError
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.layout import MEDIA_TYPE, REPORT_LABEL, SignedReport, SimReport
from cloister.tee.sim.platform import SimPlatform
from cloister.tee.sim.verifier import SimVerifier

DATA = ReportData(b"d" * 64)


@pytest.fixture
def platform(tmp_path: Path) -> SimPlatform:
    """A new simulated platform."""
    return SimPlatform.create(tmp_path / "platform", svn=3, debug=False)


@pytest.mark.spec("SIM-14")
def test_genuine_evidence_gives_claims_that_no_hardware_rooted(platform: SimPlatform) -> None:
    """The claims say what the platform said, and never that hardware did."""
    attester = SimAttester(platform)
    claims = SimVerifier((platform.anchor,)).verify(attester.collect(DATA), (), at=0)
    assert claims.report_data == DATA.value
    assert claims.measurement == attester.measurement
    assert (claims.root_of_trust, claims.hardware_rooted) == ("sim", False)
    assert (claims.security_version, claims.debug) == (3, False)
    assert claims.anchor == platform.anchor.identity


@pytest.mark.spec("SIM-5")
def test_there_is_no_built_in_anchor() -> None:
    """A verifier without anchors cannot be made."""
    with pytest.raises(ConfigError) as e:
        SimVerifier(())
    assert e.value.code == "config.missing"


@pytest.mark.spec("SIM-12")
def test_another_platform_is_refused(platform: SimPlatform) -> None:
    """Genuine evidence of a platform that nobody accepted is refused."""
    verifier = SimVerifier((SigningKey.generate().public,))
    with pytest.raises(EndorsementError) as e:
        verifier.verify(SimAttester(platform).collect(DATA), (), at=0)
    assert e.value.code == "endorsement.anchor"


@pytest.mark.spec("SIM-10")
def test_another_kind_is_refused(platform: SimPlatform) -> None:
    """A media type of another root is not looked into."""
    body = SimAttester(platform).collect(DATA).body
    with pytest.raises(EvidenceError) as e:
        SimVerifier((platform.anchor,)).verify(Evidence("application/other", body), (), at=0)
    assert e.value.code == "evidence.kind"


@pytest.mark.spec("SIM-13")
def test_a_report_signed_by_somebody_else_is_refused(platform: SimPlatform) -> None:
    """Naming an accepted anchor is not being it."""
    report = SimReport(platform.anchor.raw, b"m" * 32, DATA.value, debug=False, svn=9).to_bytes()
    forged = SignedReport(report, SigningKey.generate().sign(REPORT_LABEL, report))
    with pytest.raises(EvidenceError) as e:
        SimVerifier((platform.anchor,)).verify(Evidence(MEDIA_TYPE, forged.to_bytes()), (), at=0)
    assert e.value.code == "evidence.signature"


@pytest.mark.spec("SIM-13")
def test_a_signature_under_another_label_is_refused(platform: SimPlatform) -> None:
    """What the platform signs elsewhere is no evidence."""
    report = SimReport(platform.anchor.raw, b"m" * 32, DATA.value, debug=False, svn=9).to_bytes()
    foreign = SignedReport(report, platform.sign(b"another purpose", report))
    with pytest.raises(EvidenceError) as e:
        SimVerifier((platform.anchor,)).verify(Evidence(MEDIA_TYPE, foreign.to_bytes()), (), at=0)
    assert e.value.code == "evidence.signature"


@pytest.mark.spec("SIM-11")
def test_every_flipped_bit_is_refused(platform: SimPlatform) -> None:
    """One bit anywhere in the evidence, and it is not accepted."""
    body = SimAttester(platform).collect(DATA).body
    verifier = SimVerifier((platform.anchor,))
    for position in range(len(body)):
        changed = bytearray(body)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises((MalformedError, EvidenceError, EndorsementError)):
            verifier.verify(Evidence(MEDIA_TYPE, bytes(changed)), (), at=0)
