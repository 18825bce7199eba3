"""Claims of enclaves; what is refused is in tests/attack/test_intel_evidence.py."""

from __future__ import annotations

import pytest

from cloister.attestation.evidence import Evidence
from cloister.errors import ConfigError, EvidenceError
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

AT = 1767225600
INTEL = SimulatedIntel(b"sgx", at=AT)


@pytest.mark.spec("INTEL-50")
def test_claims_say_what_the_quote_says() -> None:
    """Common claims and the vendor's."""
    case = IntelCase("sgx3", measurement=b"m" * 32, mr_signer=b"s" * 32, report_data=b"r" * 64)
    minted = INTEL.mint(case)
    claims = SgxVerifier((INTEL.anchor,)).verify(minted.evidence, minted.endorsements, at=AT)
    assert (claims.root_of_trust, claims.anchor) == ("sgx", INTEL.anchor)
    assert (claims.measurement, claims.report_data) == (b"m" * 32, b"r" * 64)
    assert not claims.debug
    assert claims.security_version == 20240313
    assert len(claims.hardware_id) == 16
    assert claims.vendor["mr_signer"] == b"s" * 32
    assert (claims.vendor["isv_prod_id"], claims.vendor["isv_svn"]) == (3, 4)
    assert claims.vendor["tcb"] == {f"{n:02}": 7 for n in range(1, 17)} | {"pcesvn": 13}


@pytest.mark.spec("INTEL-15")
def test_without_anchors_there_is_no_verifier() -> None:
    """Nothing could be accepted."""
    with pytest.raises(ConfigError) as e:
        SgxVerifier(())
    assert e.value.code == "config.missing"


@pytest.mark.spec("INTEL-1")
def test_another_media_type_is_refused() -> None:
    """Before anything is read."""
    with pytest.raises(EvidenceError) as e:
        SgxVerifier((INTEL.anchor,)).verify(Evidence("a/b", b""), (), at=AT)
    assert e.value.code == "evidence.kind"
