"""Quotes are judged against what the caller pins."""

from typing import Any

import pytest

from cloister.attestation.evidence import Evidence
from cloister.crypto.digest import sha256
from cloister.errors import ConfigError, EndorsementError, EvidenceError, MalformedError
from cloister.tee.tpm.layout import MEDIA_TYPE, Quote
from cloister.tee.tpm.roots import TPM_ROOTS
from cloister.tee.tpm.verifier import TpmVerifier
from cloister.testing.manufacturers.tpm import SimulatedTpm

TPM = SimulatedTpm(b"verifier")
NONCE = b"n" * 32
REPLAYED = ["sha256:0", "sha256:4", "sha256:7", "sha256:9"]


@pytest.mark.spec("TPM-20")
def test_there_is_no_built_in_anchor() -> None:
    """A verifier without anchors cannot be made, nor one with something else."""
    for anchors, code in (([], "config.missing"), ([b"short"], "config.value")):
        with pytest.raises(ConfigError) as e:
            TpmVerifier(anchors)
        assert e.value.code == code


@pytest.mark.spec("TPM-1", "TPM-20")
def test_another_kind_is_refused() -> None:
    """It is not looked into."""
    with pytest.raises(EvidenceError) as e:
        TpmVerifier([TPM.anchor]).verify(Evidence("a/b", TPM.evidence(NONCE)), [], at=TPM.now)
    assert e.value.code == "evidence.kind"


@pytest.mark.spec("TPM-26", "TPM-27")
@pytest.mark.parametrize("scheme", ["RSASSA", "RSAPSS", "ECDSA"])
def test_what_a_genuine_quote_says(scheme: Any) -> None:
    """By a certified key; never rooted in hardware."""
    tpm = SimulatedTpm(b"verifier", scheme=scheme)
    body = tpm.evidence(NONCE)
    claims = TpmVerifier([tpm.anchor]).verify(
        Evidence(MEDIA_TYPE, body), tpm.endorsements(), at=tpm.now
    )
    quote = Quote.from_bytes(tpm.quote(NONCE).message)
    assert (claims.root_of_trust, claims.anchor) == ("tpm", tpm.anchor)
    assert (claims.hardware_rooted, claims.debug, claims.security_version) == (False, False, 0)
    assert (claims.report_data, claims.measurement) == (NONCE, sha256(quote.info_bytes()))
    assert claims.hardware_id == b""
    assert claims.vendor["ak"] == sha256(tpm.ak)
    assert claims.vendor["ak_pinned"] is False
    assert claims.vendor["vouched_by"] == ""
    assert claims.vendor["ak_subject"] == "Simulated attestation key"
    assert claims.vendor["revocation_checked"] is True
    assert (claims.vendor["clock"], claims.vendor["reset_count"]) == (123456, 2)
    assert claims.vendor["firmware_version"] == 0x2026000100000000


@pytest.mark.spec("TPM-26")
def test_a_pinned_key() -> None:
    """It is its own anchor, and there is nobody who could revoke it."""
    claims = TpmVerifier([sha256(TPM.ak)]).verify(
        Evidence(MEDIA_TYPE, TPM.evidence(NONCE)), [], at=0
    )
    assert (claims.anchor, claims.hardware_rooted) == (sha256(TPM.ak), False)
    assert (claims.vendor["ak_pinned"], claims.vendor["revocation_checked"]) == (True, True)


@pytest.mark.spec("TPM-22")
def test_simulated_evidence_is_refused_under_the_pinned_roots() -> None:
    """What a simulated maker certifies stays a simulation."""
    with pytest.raises(EndorsementError) as e:
        TpmVerifier([root.sha256 for root in TPM_ROOTS]).verify(
            Evidence(MEDIA_TYPE, TPM.evidence(NONCE)), TPM.endorsements(), at=TPM.now
        )
    assert e.value.code == "endorsement.anchor"


@pytest.mark.spec("TPM-28")
def test_every_flipped_bit_is_refused() -> None:
    """One bit anywhere in the evidence, and it is not accepted as what it was."""
    body = TPM.evidence(NONCE)
    verifier = TpmVerifier([sha256(TPM.ak)])
    good = verifier.verify(Evidence(MEDIA_TYPE, body), [], at=0)
    for place in range(len(body)):
        changed = body[:place] + bytes([body[place] ^ 1 << place % 8]) + body[place + 1 :]
        try:
            found = verifier.verify(Evidence(MEDIA_TYPE, changed), [], at=0)
        except (MalformedError, EvidenceError, EndorsementError):
            continue
        # Words about events are not signed; whatever is claimed of them is, by their digests.
        assert body.index(b"Spec ID Event03") < place
        assert found.vendor["secure_boot"] in (good.vendor["secure_boot"], "unknown")
        assert found.vendor["replayed"] in (REPLAYED, REPLAYED[:-1])
        rest = {"secure_boot": "", "replayed": []}
        assert found.vendor | rest == good.vendor | rest
