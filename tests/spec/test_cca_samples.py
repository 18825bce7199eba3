"""A CCA token that others' tools made gives what is known of it, and nothing like it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.digest import sha256
from cloister.crypto.jose import from_base64url
from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import CloisterError
from cloister.tee.cca.endorsements import KEY_MEDIA_TYPE
from cloister.tee.cca.fields import FIELDS
from cloister.tee.cca.layout import MEDIA_TYPE, CcaToken, PlatformToken, RealmToken
from cloister.tee.cca.verifier import CcaVerifier
from cloister.wire.strict_json import read_json
from spec.device_samples import mutations, read_sample, sample_folder


@pytest.fixture
def sample() -> Path:
    """The folder of the sample."""
    return sample_folder("cca") / "veraison-good"


def anchor_of(jwk: bytes) -> bytes:
    """Compute the anchor of a key by hand."""
    found = read_json(jwk, what="key", max_bytes=999, max_depth=1, code="endorsement.malformed")
    point = b"".join(from_base64url(found[name], what=name) for name in ("x", "y"))
    return sha256(EcdsaKey.from_point(point, "P-256").spki)


def verify(folder: Path, body: bytes) -> Claims:
    jwk = (folder / "cpak.jwk.json").read_bytes()
    endorsement = Endorsement(KEY_MEDIA_TYPE, jwk)
    verifier = CcaVerifier([anchor_of(jwk)])
    return verifier.verify(Evidence(MEDIA_TYPE, body), [endorsement], at=0)


@pytest.mark.spec("CCA-2", "CCA-3", "CCA-4", "CCA-5")
def test_the_token_is_read_as_it_is(sample: Path) -> None:
    """Each field is the expected one."""
    body = (sample / "token.cbor").read_bytes()
    token, known = CcaToken.from_bytes(body), read_sample(sample)["expected_fields"]
    assert token.to_bytes() == body
    platform, wanted = PlatformToken.from_bytes(token.platform.payload), known["platform"]
    assert platform.profile == wanted["profile"]
    assert platform.challenge.hex() == wanted["challenge"]
    assert platform.implementation_id.hex() == wanted["implementation_id"]
    assert platform.instance_id.hex() == wanted["instance_id"]
    assert platform.config.hex() == wanted["config"]
    assert platform.lifecycle == wanted["lifecycle"]
    assert platform.hash_algorithm == wanted["hash_alg"]
    assert len(platform.components) == wanted["sw_components"]
    assert platform.verification_service == wanted["verification_service"]
    realm, wanted = RealmToken.from_bytes(token.realm.payload), known["realm"]
    assert realm.to_bytes() == token.realm.payload
    assert realm.profile == wanted["profile"]
    assert realm.challenge.hex() == wanted["challenge"]
    assert realm.personalization_value.hex() == wanted["personalization_value"]
    assert realm.initial_measurement.hex() == wanted["initial_measurement"]
    assert [each.hex() for each in realm.extensible_measurements] == wanted[
        "extensible_measurements"
    ]
    assert realm.hash_algorithm == wanted["hash_alg"]
    assert realm.public_key.hex() == wanted["public_key"]
    assert realm.key_hash_algorithm == wanted["public_key_hash_alg"]


@pytest.mark.spec("CCA-11", "CCA-12", "CCA-13", "CCA-14", "CCA-20", "CCA-21")
def test_the_token_is_accepted(sample: Path) -> None:
    """Both signatures hold, the platform is secured, and nothing calls it hardware."""
    claims = verify(sample, (sample / "token.cbor").read_bytes())
    assert read_sample(sample)["expect"]["default_verdict"] == "accept"
    assert appraise_claims(claims, FIELDS, default_rules(FIELDS)).accepted
    assert not claims.hardware_rooted


def test_no_mutation_is_accepted(sample: Path) -> None:
    """Bits changed, bytes cut or added, anywhere."""
    body = (sample / "token.cbor").read_bytes()
    accepted = []
    for changed in mutations(body, 1000):
        try:
            verify(sample, changed)
        except CloisterError:
            continue
        accepted.append(changed)
    assert accepted == []
