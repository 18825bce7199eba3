"""Genuine Nitro documents give what is known of them, and nothing like them does."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.attestation.evidence import Evidence
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.chain import read_pem_chain
from cloister.errors import CloisterError
from cloister.tee.cose import ES384
from cloister.tee.nitro.fields import FIELDS
from cloister.tee.nitro.layout import MEDIA_TYPE, read_document
from cloister.tee.nitro.roots import NITRO_ROOTS
from cloister.tee.nitro.verifier import NitroVerifier
from spec.device_samples import mutations, read_sample, sample_folder, seconds

VERIFIER = NitroVerifier(tuple(NITRO_ROOTS))
GENUINE = ("dstack-nitro", "evervault-debug")
SAMPLES = (*GENUINE, "fortanix-tampered-signature")


@pytest.fixture
def samples() -> Path:
    """The folder of Nitro's samples."""
    return sample_folder("nitro")


def code_of(body: bytes, *, at: int) -> str:
    """Return `ok`, or the code of the refusal."""
    try:
        VERIFIER.verify(Evidence(MEDIA_TYPE, body), (), at=at)
    except CloisterError as e:
        return e.code
    return "ok"


@pytest.mark.spec("NIT-6")
def test_the_pinned_root_is_the_genuine_one(samples: Path) -> None:
    """The fingerprint is that of the certificate in the samples."""
    (root,) = read_pem_chain((samples / "aws_nitro_root_g1.pem").read_bytes())
    assert {root.fingerprint} == NITRO_ROOTS


@pytest.mark.spec("NIT-2", "NIT-3")
@pytest.mark.parametrize("name", SAMPLES)
def test_documents_are_read_as_they_are(samples: Path, name: str) -> None:
    """Each field is the expected one, and the message comes out again."""
    body, known = (samples / name / "document.cbor").read_bytes(), read_sample(samples / name)
    message, document = read_document(body)
    fields = known["expected_fields"]
    assert message.to_bytes(tagged=False) == body
    assert (message.algorithm, fields["cose_alg"]) == (ES384, ES384)
    assert document.module_id == fields["module_id"]
    assert document.timestamp == fields["timestamp_ms"]
    assert {str(n): value.hex() for n, value in document.pcrs.items()} == fields["pcrs"]
    assert len(document.cabundle) == fields["cabundle_length"]
    for key in ("nonce", "user_data", "public_key"):
        value = getattr(document, key)
        assert (None if value is None else value.hex()) == fields[key], key


@pytest.mark.spec("NIT-10", "NIT-11", "NIT-12", "NIT-13", "NIT-20", "NIT-21")
@pytest.mark.parametrize("name", GENUINE)
def test_genuine_documents_are_genuine(samples: Path, name: str) -> None:
    """The debug one reaches the rules, and is refused there."""
    body, known = (samples / name / "document.cbor").read_bytes(), read_sample(samples / name)
    at = seconds(known["verify_at"])
    claims = VERIFIER.verify(Evidence(MEDIA_TYPE, body), (), at=at)
    assert claims.hardware_rooted
    assert claims.measurement.hex() == known["expected_fields"]["pcrs"]["0"]
    verdict = appraise_claims(claims, FIELDS, default_rules(FIELDS))
    wanted = known["expect"]["default_verdict"]
    assert verdict.accepted is (wanted == "accept")
    if not verdict.accepted:
        assert wanted.startswith("reject: debug")
        assert [reason.detail.partition(":")[0] for reason in verdict.reasons] == ["debug"]


@pytest.mark.spec("NIT-12")
@pytest.mark.parametrize("name", GENUINE)
def test_documents_count_within_their_window(samples: Path, name: str) -> None:
    """Both ends included, and not one second outside."""
    body, known = (samples / name / "document.cbor").read_bytes(), read_sample(samples / name)
    first, last = seconds(known["valid_from"]), seconds(known["valid_until"])
    assert [code_of(body, at=at) for at in (first, last)] == ["ok", "ok"]
    outside = [code_of(body, at=at) for at in (first - 1, last + 1)]
    assert outside == ["endorsement.expired"] * 2


@pytest.mark.spec("NIT-13")
def test_the_tampered_signature_is_refused(samples: Path) -> None:
    """The chain is good, the signature is not."""
    folder = samples / "fortanix-tampered-signature"
    at = seconds(read_sample(folder)["verify_at"])
    assert code_of((folder / "document.cbor").read_bytes(), at=at) == "evidence.signature"


@pytest.mark.parametrize("name", GENUINE)
def test_no_mutation_is_accepted(samples: Path, name: str) -> None:
    """Bits changed, bytes cut or added, anywhere."""
    body, known = (samples / name / "document.cbor").read_bytes(), read_sample(samples / name)
    at = seconds(known["verify_at"])
    assert "ok" not in {code_of(changed, at=at) for changed in mutations(body, 1000)}
