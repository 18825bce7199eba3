"""Somebody wants a relying party to believe an attestation that no pinned issuer made for it.

The attacker has keys of his own, every public key, and tokens that the issuer made: for himself,
for others, earlier, and of simulation. None is believed, each is refused by its own code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from typing import Any

import pytest

from cloister.attestation.ear import VerifiedEar, ear_claims, issue_ear, verify_ear
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult, RuleHit
from cloister.crypto.jose import (
    KeySet,
    TokenSigningKey,
    from_base64url,
    jwks_document,
    to_base64url,
)
from cloister.errors import CloisterError
from cloister.wire.strict_json import write_json

AT, NONCE = 1_800_000_000, b"the relying party's"
ISSUER = TokenSigningKey.generate("EdDSA")
ISSUER_EC = TokenSigningKey.generate("ES256")
ATTACKER = TokenSigningKey.generate("EdDSA")
PINNED = KeySet.from_bytes(jwks_document([ISSUER.public, ISSUER_EC.public]))
SIMULATED = AttestationResult(
    policy=b"p" * 32,
    workload="serve",
    root_of_trust="sim",
    hardware_rooted=False,
    anchor=b"a" * 32,
    measurement=b"m" * 32,
    security_version=1,
    debug=False,
    launch=LaunchMeasurement(b"c" * 32, b"r" * 32),
    checked=(RuleHit("roots_of_trust", "one of sim", "sim"),),
    not_checked=(),
)
HARDWARE = dataclasses.replace(SIMULATED, root_of_trust="snp", hardware_rooted=True)
# What the attacker would like to be believed.
WISH = ear_claims(
    HARDWARE, issuer="https://keys.example", audience="rp", nonce=NONCE, at=AT, lifetime_s=300
)


def believe(token: str, *, at: int = AT, jwks: KeySet = PINNED) -> VerifiedEar:
    """The relying party: wants hardware, and everything checked."""
    return verify_ear(
        token,
        jwks=jwks,
        audience="rp",
        nonce=NONCE,
        at=at,
        accept_simulated=False,
        at_least="affirming",
    )


def refused(token: str, **changes: Any) -> str:
    with pytest.raises(CloisterError) as caught:
        believe(token, **changes)
    return caught.value.code


def genuine(result: AttestationResult = HARDWARE, **changes: Any) -> str:
    """What the issuer gives to whoever is entitled to it."""
    wanted: dict[str, Any] = {"issuer": "https://keys.example", "audience": "rp", "nonce": NONCE}
    wanted |= {"key": ISSUER, "at": AT, "lifetime_s": 300}
    return issue_ear(result, **(wanted | changes))


def unsigned(**header: Any) -> str:
    """Header and claims of the attacker's."""
    first = {"alg": "EdDSA", "kid": ISSUER.public.kid, "typ": "eat+jwt"} | header
    return f"{to_base64url(write_json(first))}.{to_base64url(write_json(WISH))}"


def forged(key: TokenSigningKey = ATTACKER, **header: Any) -> str:
    """The wish, signed by the attacker."""
    signed = unsigned(**header)
    return f"{signed}.{to_base64url(key.sign(signed.encode()))}"


def test_the_genuine_token_is_believed() -> None:
    """Otherwise the refusals below would show nothing."""
    assert believe(genuine()).hardware_rooted


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
def test_no_algorithm(name: str) -> None:
    """With an empty signature, and with one."""
    assert refused(unsigned(alg=name) + ".") == "token.algorithm"
    assert refused(forged(alg=name)) == "token.algorithm"


def test_a_public_key_as_a_secret() -> None:
    """An HMAC under the issuer's public bytes, under its JWK, and under the whole JWKS."""
    signed = unsigned(alg="HS256")
    raw = from_base64url(ISSUER.public.jwk["x"], what="x")
    for secret in (raw, write_json(ISSUER.public.jwk), jwks_document([ISSUER.public])):
        mac = hmac.digest(secret, signed.encode(), hashlib.sha256)
        assert refused(f"{signed}.{to_base64url(mac)}") == "token.algorithm"


def test_one_key_s_name_with_the_other_s_algorithm() -> None:
    """EdDSA under an EC key's name, and the other way round."""
    assert refused(forged(kid=ISSUER_EC.public.kid)) == "token.algorithm"
    assert refused(forged(alg="ES256")) == "token.algorithm"


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": {**ATTACKER.public.jwk, "kid": ATTACKER.public.kid}},
        {"jwk": {**ATTACKER.public.jwk, "kid": ISSUER.public.kid}},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/chain.pem"},
        {"x5c": ["MIIB"]},
        {"crit": ["jwk"], "jwk": dict(ATTACKER.public.jwk)},
    ],
)
def test_a_key_that_the_token_brings(header: dict[str, Any]) -> None:
    """Under its own name and under the issuer's."""
    for kid in (ATTACKER.public.kid, ISSUER.public.kid):
        assert refused(forged(kid=kid, **header)) == "token.malformed"


def test_the_issuer_s_name_over_the_attacker_s_signature() -> None:
    """And the attacker's own name."""
    assert refused(forged()) == "token.signature"
    assert refused(forged(kid=ATTACKER.public.kid)) == "token.key-unknown"


def test_the_issuer_s_name_on_the_attacker_s_key() -> None:
    """A JWKS in which somebody renamed a key is refused as a whole."""
    document = json.loads(jwks_document([ATTACKER.public]))
    document["keys"][0]["kid"] = ISSUER.public.kid
    with pytest.raises(CloisterError) as caught:
        KeySet.from_bytes(write_json(document))
    assert caught.value.code == "token.malformed"


def test_parts_of_two_tokens() -> None:
    """Claims of one under the signature of another."""
    first, second = genuine().split("."), genuine(SIMULATED).split(".")
    assert refused(".".join((second[0], first[1], second[2]))) == "token.signature"


def test_a_name_that_is_a_path_or_a_query() -> None:
    """`kid` is looked up in what is pinned, and is nothing but a name."""
    for kid in ("../../dev/null", "' OR 1=1 --", "https://evil.example", "\0" * 43, "é" * 43):
        assert refused(forged(kid=kid)) == "token.malformed"


def test_yesterday_s_token_and_tomorrow_s() -> None:
    """Each is genuine."""
    assert refused(genuine(), at=AT + 300) == "token.expired"
    assert refused(genuine(at=AT + 61)) == "token.expired"


def test_a_token_for_somebody_else() -> None:
    """The attacker is a relying party too, and passes on what he got."""
    assert refused(genuine(audience="attacker")) == "token.audience"


def test_a_token_that_answers_another_question() -> None:
    """Recorded from an earlier exchange with the same relying party."""
    assert refused(genuine(nonce=b"an earlier nonce")) == "token.nonce"


def test_simulation_is_no_hardware() -> None:
    """Genuine and simulated; and forged under a stolen key, each way of hiding it."""
    assert refused(genuine(SIMULATED)) == "token.simulated"
    with pytest.raises(CloisterError) as caught:
        genuine(dataclasses.replace(SIMULATED, hardware_rooted=True))
    assert caught.value.code == "token.malformed"
    for changes in ({"hardware_rooted": True, "root_of_trust": "sim"}, {"hardware_rooted": False}):
        assert refused(stolen(changes)) == "token.malformed"
    assert refused(stolen(None)) == "token.simulated"


def stolen(changes: dict[str, Any] | None) -> str:
    """A token under the issuer's own key whose claim of Cloister's is changed, or gone."""
    run = dict(WISH["submods"]["serve"])
    facts = run.pop("cloister_appraisal")
    if changes is not None:
        run["cloister_appraisal"] = facts | changes
    claims = WISH | {"submods": {"serve": run}}
    header = {"alg": "EdDSA", "kid": ISSUER.public.kid, "typ": "eat+jwt"}
    signed = f"{to_base64url(write_json(header))}.{to_base64url(write_json(claims))}"
    return f"{signed}.{to_base64url(ISSUER.sign(signed.encode()))}"


def test_a_simulated_part_beside_a_real_one() -> None:
    """One appraisal by hardware does not speak for the other."""
    good = WISH["submods"]["serve"]
    claims = ear_claims(SIMULATED, issuer="i", audience="rp", nonce=NONCE, at=AT, lifetime_s=300)
    claims["submods"]["real"] = good
    header = {"alg": "EdDSA", "kid": ISSUER.public.kid, "typ": "eat+jwt"}
    signed = f"{to_base64url(write_json(header))}.{to_base64url(write_json(claims))}"
    token = f"{signed}.{to_base64url(ISSUER.sign(signed.encode()))}"
    assert refused(token) == "token.simulated"


def test_another_kind_of_token_by_the_same_issuer() -> None:
    """An access token under the issuer's key is no attestation."""
    header = {"alg": "EdDSA", "kid": ISSUER.public.kid, "typ": "at+jwt"}
    signed = f"{to_base64url(write_json(header))}.{to_base64url(write_json(WISH))}"
    token = f"{signed}.{to_base64url(ISSUER.sign(signed.encode()))}"
    assert refused(token) == "token.malformed"
