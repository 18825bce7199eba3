"""Tokens of a simulated maker through the verifier: every way to be wrong."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import CloisterError, ConfigError
from cloister.tee.cca.fields import FIELDS
from cloister.tee.cca.layout import MEDIA_TYPE, CcaToken, PlatformToken
from cloister.tee.cca.verifier import CcaVerifier
from cloister.testing.manufacturers.cca import SimulatedCca, sign_token
from cloister.testing.manufacturers.device_pki import device_key, spki
from cloister.wire.foreign_cbor import write_foreign

MAKER = SimulatedCca("verifier")
OTHER = SimulatedCca("other")


def code_of(
    evidence: Evidence,
    endorsements: Sequence[Endorsement] = (MAKER.key,),
    *,
    anchors: Sequence[bytes] = (MAKER.anchor,),
) -> str:
    """Return the code of the refusal."""
    with pytest.raises(CloisterError) as caught:
        CcaVerifier(anchors).verify(evidence, endorsements, at=0)
    return caught.value.code


@pytest.mark.spec("CCA-10", "CCA-12", "CCA-14", "CCA-20", "CCA-21")
@pytest.mark.parametrize("curve", ["P-256", "P-384"])
def test_a_token_is_accepted_and_is_no_hardware(curve: str) -> None:
    """The claims are what it says; the anchor is the platform's key."""
    maker = SimulatedCca("curves", curve="P-256" if curve == "P-256" else "P-384")
    realm = maker.realm()
    platform = maker.platform(realm, verification_service="https://example.test/")
    evidence = maker.evidence(platform=platform, realm=realm)
    claims = CcaVerifier([maker.anchor]).verify(evidence, [maker.key], at=0)
    assert appraise_claims(claims, FIELDS, default_rules(FIELDS)).accepted
    assert (claims.root_of_trust, claims.anchor) == ("cca", maker.anchor)
    assert not claims.hardware_rooted
    assert not claims.debug
    assert claims.measurement == realm.initial_measurement
    assert claims.report_data == realm.challenge
    assert claims.hardware_id == platform.instance_id
    assert claims.vendor["lifecycle"] == "secured"
    assert claims.vendor["verification_service"] == "https://example.test/"
    assert len(claims.vendor["software"]) == 2


@pytest.mark.spec("CCA-20")
@pytest.mark.parametrize(
    ("lifecycle", "name", "debug"),
    [
        (0x0000, "unknown", False),
        (0x1000, "assembly_and_test", False),
        (0x20FF, "platform_rot_provisioning", False),
        (0x4000, "non_cca_platform_debug", True),
        (0x5001, "recoverable_cca_platform_debug", True),
        (0x6000, "decommissioned", False),
        (0x3100, "0x3100", False),
    ],
)
def test_other_lifecycles_are_told_and_refused_by_default(
    lifecycle: int, name: str, *, debug: bool
) -> None:
    """Only a secured platform passes the default rules."""
    realm = MAKER.realm()
    evidence = MAKER.evidence(platform=MAKER.platform(realm, lifecycle=lifecycle), realm=realm)
    claims = CcaVerifier([MAKER.anchor]).verify(evidence, [MAKER.key], at=0)
    assert (claims.vendor["lifecycle"], claims.debug) == (name, debug)
    verdict = appraise_claims(claims, FIELDS, default_rules(FIELDS))
    broken = {reason.detail.partition(":")[0] for reason in verdict.reasons}
    assert broken == ({"lifecycle", "debug"} if debug else {"lifecycle"})


@pytest.mark.spec("CCA-20")
def test_different_software_has_different_texts() -> None:
    """Spaces and signs within names do not make one component look like another."""
    realm = MAKER.realm()
    platform = MAKER.platform(realm)
    first = platform.components[0]
    texts = set()
    for measurement_type, version in (("a b", ""), ("a", "b"), ("a%20b", ""), ("", "a b")):
        component = replace(first, measurement_type=measurement_type, version=version)
        changed = replace(platform, components=(component,))
        evidence = MAKER.evidence(platform=changed, realm=realm)
        claims = CcaVerifier([MAKER.anchor]).verify(evidence, [MAKER.key], at=0)
        texts.add(claims.vendor["software"][0])
    assert len(texts) == 4


@pytest.mark.spec("CCA-8")
def test_there_is_no_built_in_anchor() -> None:
    """A verifier without anchors cannot be made."""
    with pytest.raises(ConfigError) as caught:
        CcaVerifier(())
    assert caught.value.code == "config.missing"


@pytest.mark.spec("CCA-10")
def test_other_kinds_are_refused() -> None:
    """A media type of another root is not looked into."""
    assert code_of(Evidence("application/other", MAKER.evidence().body)) == "evidence.kind"


@pytest.mark.spec("CCA-11")
def test_the_platforms_key_is_there_and_accepted() -> None:
    """Missing, twice, another's, of another kind."""
    evidence = MAKER.evidence()
    assert code_of(evidence, ()) == "endorsement.missing"
    assert code_of(evidence, (MAKER.key, MAKER.key)) == "endorsement.mismatch"
    assert code_of(evidence, (OTHER.key,)) == "endorsement.anchor"
    assert code_of(evidence, anchors=(OTHER.anchor,)) == "endorsement.anchor"
    strange = Endorsement("application/pkix-cert", MAKER.key.body)
    assert code_of(evidence, (MAKER.key, strange)) == "endorsement.malformed"


@pytest.mark.spec("CCA-12")
def test_a_platform_token_that_another_key_signed_is_refused() -> None:
    """Another platform, and a platform whose curve is not the header's."""
    both = (MAKER.anchor, OTHER.anchor)
    assert code_of(MAKER.evidence(), (OTHER.key,), anchors=both) == "evidence.signature"
    small = SimulatedCca("small", curve="P-256")
    assert code_of(MAKER.evidence(), (small.key,), anchors=(small.anchor,)) == "evidence.signature"


@pytest.mark.spec("CCA-13")
def test_a_realm_of_another_platform_is_refused() -> None:
    """Both tokens are genuine, and of two machines."""
    ours, theirs = (CcaToken.from_bytes(maker.evidence().body) for maker in (MAKER, OTHER))
    mixed = CcaToken(ours.platform, theirs.realm)
    assert code_of(Evidence(MEDIA_TYPE, mixed.to_bytes())) == "evidence.parts"


@pytest.mark.spec("CCA-13")
def test_the_key_is_bound_as_its_bytes_stand() -> None:
    """The same point in another encoding has another digest."""
    realm = MAKER.realm()
    point = EcdsaKey.from_spki(spki(MAKER.realm_key), "P-384").point
    other = write_foreign({-1: 2, 1: 2, -2: point[:48], -3: point[48:]})
    again = replace(realm, public_key=other)
    evidence = MAKER.evidence(platform=MAKER.platform(realm), realm=again)
    assert code_of(evidence) == "evidence.parts"
    hashed = replace(realm, key_hash_algorithm="sha-256")
    evidence = MAKER.evidence(platform=MAKER.platform(realm), realm=hashed)
    assert code_of(evidence) == "evidence.parts"


@pytest.mark.spec("CCA-14")
def test_a_realm_token_that_another_key_signed_is_refused() -> None:
    """The bound key, and no other; the platform's signs no realm."""
    realm = MAKER.realm()
    platform = sign_token(MAKER.platform_key, MAKER.platform(realm).to_bytes())
    for key in (device_key("stranger"), MAKER.platform_key, device_key("small", "P-256")):
        token = CcaToken(platform, sign_token(key, realm.to_bytes()))
        assert code_of(Evidence(MEDIA_TYPE, token.to_bytes())) == "evidence.signature"
    good = CcaToken.from_bytes(MAKER.evidence().body)
    other = replace(realm, challenge=bytes(64)).to_bytes()
    changed = CcaToken(good.platform, replace(good.realm, payload=other))
    assert code_of(Evidence(MEDIA_TYPE, changed.to_bytes())) == "evidence.signature"


@pytest.mark.spec("CCA-10", "CCA-12")
def test_tokens_are_not_taken_for_each_other() -> None:
    """A platform's token in the place of a realm's, and the other way round."""
    good = CcaToken.from_bytes(MAKER.evidence().body)
    swapped = CcaToken(good.realm, good.platform)
    assert code_of(Evidence(MEDIA_TYPE, swapped.to_bytes())) == "evidence.malformed"
    assert PlatformToken.from_bytes(good.platform.payload).config == b"\xcf" * 4


def test_tokens_are_the_same_for_the_same_seed() -> None:
    """Vectors can be made again."""
    assert SimulatedCca("verifier").evidence() == MAKER.evidence()
    assert SimulatedCca("verifier").key == MAKER.key
