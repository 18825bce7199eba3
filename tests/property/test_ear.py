"""Whatever a result says, its token says, and simulation never becomes hardware."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.ear import issue_ear, trustworthiness, verify_ear
from cloister.attestation.ear_claims import TRUST_CLAIMS, tier_of
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult, NotChecked, RuleHit
from cloister.crypto.digest import digest_to_text
from cloister.crypto.jose import KeySet, TokenSigningKey, jwks_document

KEYS = [TokenSigningKey.generate("EdDSA"), TokenSigningKey.generate("ES256")]
JWKS = KeySet.from_bytes(jwks_document([key.public for key in KEYS]))
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=63)
_DIGESTS = st.binary(min_size=32, max_size=32)
_RULES = st.sampled_from(
    [f"roots_of_trust.{root}.{leaf}" for root in ("sim", "snp") for leaf in ("anchors", "debug")]
    + ["roots_of_trust.snp.minimum_svn", "roots_of_trust.snp.measurement", "workloads.w.runtime"]
    + ["workloads.w.code.digests", "volumes.v.root", "workloads.w.volumes[/v]"]
)


@st.composite
def results(draw: st.DrawFn) -> AttestationResult:
    """Any result that an appraisal can have."""
    root = draw(st.sampled_from(["sim", "snp"]))
    return AttestationResult(
        policy=draw(_DIGESTS),
        workload=draw(_NAMES),
        root_of_trust=root,
        hardware_rooted=root != "sim" and draw(st.booleans()),
        anchor=draw(_DIGESTS),
        measurement=draw(st.binary(max_size=64)),
        security_version=draw(st.integers(0, 2**63 - 1)),
        debug=draw(st.booleans()),
        launch=LaunchMeasurement(draw(_DIGESTS), draw(_DIGESTS)),
        checked=tuple(
            draw(st.lists(st.builds(RuleHit, _RULES, _TEXTS, _TEXTS), min_size=1, max_size=8))
        ),
        not_checked=tuple(draw(st.lists(st.builds(NotChecked, _TEXTS, _TEXTS), max_size=3))),
    )


@given(
    results(),
    st.sampled_from(KEYS),
    _NAMES,
    _NAMES,
    st.binary(min_size=8, max_size=64),
    st.integers(0, 2**40),
    st.integers(1, 86400),
)
def test_a_token_says_what_its_result_says(  # noqa: PLR0917  # hypothesis passes them
    result: AttestationResult,
    key: TokenSigningKey,
    issuer: str,
    audience: str,
    nonce: bytes,
    at: int,
    lifetime_s: int,
) -> None:
    """Issued, it holds; every fact comes back; affirming means hardware and every check."""
    token = issue_ear(
        result,
        key=key,
        issuer=issuer,
        audience=audience,
        nonce=nonce,
        at=at,
        lifetime_s=lifetime_s,
    )
    found = verify_ear(
        token,
        jwks=JWKS,
        audience=audience,
        nonce=nonce,
        at=at + lifetime_s - 1,
        accept_simulated=not result.hardware_rooted,
        at_least="warning",
    )
    (run,) = found.appraisals
    assert (found.kid, found.issuer, run.label) == (key.public.kid, issuer, result.workload)
    assert run.policies == (digest_to_text(result.policy),)
    assert run.facts is not None
    for name in ("root_of_trust", "hardware_rooted", "anchor", "measurement", "security_version"):
        assert getattr(run.facts, name) == getattr(result, name)
    assert (run.facts.debug, run.facts.launch) == (result.debug, result.launch)
    assert run.facts.not_checked == result.not_checked
    whole = result.hardware_rooted and not result.debug and not result.not_checked
    assert found.status == ("affirming" if whole else "warning")
    assert found.hardware_rooted is result.hardware_rooted
    assert dict(run.vector) == trustworthiness(result)


@given(results())
def test_a_vector_is_whole_and_affirms_no_hardware_that_is_not_there(
    result: AttestationResult,
) -> None:
    """It has all eight claims, contraindicates nothing, and affirms hardware only where it is."""
    vector = trustworthiness(result)
    assert tuple(vector) == TRUST_CLAIMS
    tiers = {name: tier_of(value) for name, value in vector.items()}
    assert "contraindicated" not in tiers.values()
    if not result.hardware_rooted:
        assert tiers["hardware"] == tiers["runtime-opaque"] == "warning"
