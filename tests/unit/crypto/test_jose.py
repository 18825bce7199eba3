"""Compact JWS under pinned keys."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloister.crypto import jose
from cloister.crypto.jose import (
    Algorithm,
    KeySet,
    TokenSigningKey,
    TokenVerifyingKey,
    from_base64url,
    jwks_document,
    sign_compact,
    to_base64url,
    verify_compact,
)
from cloister.errors import CloisterError, EvidenceError, MalformedError
from cloister.wire.strict_json import write_json

SHARED = Path(os.environ.get("CLOISTER_SHARED", Path(__file__).parents[4] / "shared"))
SAMPLES = SHARED / "vectors" / "ear" / "ear-jwt-samples.json"

ED = TokenSigningKey.generate("EdDSA")
EC = TokenSigningKey.generate("ES256")
KEYS = KeySet((ED.public, EC.public))
TYPES = ("test+jwt",)


def refused(token: str, *, keys: KeySet = KEYS) -> str:
    with pytest.raises(CloisterError) as caught:
        verify_compact(token, keys=keys, types=TYPES)
    return caught.value.code


def forged(key: TokenSigningKey = ED, payload: bytes = b"{}", **changes: Any) -> str:
    """A token whose header says something else, signed all the same; None leaves a member out."""
    header = {"alg": key.public.algorithm, "kid": key.public.kid, "typ": "test+jwt"} | changes
    left = {name: value for name, value in header.items() if value is not None}
    signed = f"{to_base64url(write_json(left))}.{to_base64url(payload)}"
    return f"{signed}.{to_base64url(key.sign(signed.encode()))}"


def jwks_refused(value: object) -> str:
    data = value if isinstance(value, bytes) else write_json(value)
    with pytest.raises(CloisterError) as caught:
        KeySet.from_bytes(data)
    return caught.value.code


def jwk(key: TokenSigningKey = ED, **changes: Any) -> dict[str, Any]:
    found = {**key.public.jwk, "kid": key.public.kid} | changes
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize("key", [ED, EC])
def test_what_was_signed_is_read(key: TokenSigningKey) -> None:
    """With either algorithm; the header has three members."""
    token = sign_compact(b"payload", key=key, typ="test+jwt")
    found = verify_compact(token, keys=KEYS, types=TYPES)
    assert (found.payload, found.kid, found.typ) == (b"payload", key.public.kid, "test+jwt")
    header = json.loads(from_base64url(token.split(".")[0], what="x"))
    assert header == {"alg": key.public.algorithm, "kid": key.public.kid, "typ": "test+jwt"}


def test_thumbprints_are_those_of_the_rfcs() -> None:
    """The key and the thumbprint of RFC 8037, appendix A."""
    key = TokenVerifyingKey.from_jwk(
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        }
    )
    assert key.algorithm == "EdDSA"


def test_a_signature_of_the_rfc_holds() -> None:
    """RFC 7515, appendix A.3: ES256 over another header's bytes, by the key itself."""
    public = {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        "kid": "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
    }
    signed = (
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGF"
        "tcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    )
    signature = (
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    )
    key = TokenVerifyingKey.from_jwk(public)
    key.verify(signed.encode(), from_base64url(signature, what="x"))
    assert refused(f"{signed}.{signature}", keys=KeySet([key])) == "token.malformed"


@pytest.mark.parametrize("text", ["A", "AA==", "AB", "A A", "A+/A", "AAA\n", "ÄAAA"])
def test_base64url_has_one_spelling(text: str) -> None:
    """No padding, no other alphabet, no bits that no byte has."""
    with pytest.raises(MalformedError) as caught:
        from_base64url(text, what="x")
    assert caught.value.code == "token.malformed"


@pytest.mark.parametrize("token", ["", ".", "..", "a.b", "a.b.c.d", "e30.e30.e30"])
def test_three_parts_or_nothing(token: str) -> None:
    """And the first is a header."""
    assert refused(token) == "token.malformed"


def test_a_large_token_is_refused_unread() -> None:
    """And is not signed either."""
    assert refused("a" * (jose.MAX_TOKEN_BYTES + 1)) == "wire.too-large"
    assert refused(forged(alg="x" * 2000)) == "wire.too-large"
    with pytest.raises(MalformedError) as caught:
        sign_compact(b"x" * jose.MAX_TOKEN_BYTES, key=ED, typ="test+jwt")
    assert caught.value.code == "wire.too-large"


@pytest.mark.parametrize(
    "changes",
    [
        {"jku": "x"},
        {"jwk": {}},
        {"x5u": "x"},
        {"x5c": []},
        {"x5t": "x"},
        {"crit": ["exp"]},
        {"b64": False},
        {"zip": "DEF"},
        {"cty": "JWT"},
        {"alg": None},
        {"kid": None},
        {"typ": None},
        {"alg": 1},
        {"kid": []},
        {"typ": {}},
        {"kid": ""},
        {"kid": "x" * 42},
        {"typ": "JWT"},
    ],
)
def test_a_header_has_three_members(changes: dict[str, Any]) -> None:
    """Nothing brings a key along, nothing changes what is signed, nothing is missing."""
    assert refused(forged(**changes)) == "token.malformed"


def test_a_header_is_an_object() -> None:
    """Not an array, even one that says alg."""
    body = to_base64url(b'["alg","jwk"]')
    assert refused(f"{body}.{body}.{body}") == "token.malformed"


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES256", "Ed25519", "eddsa", ""])
def test_the_key_says_which_algorithm(algorithm: str) -> None:
    """A header that says another is refused, whatever it says."""
    assert refused(forged(alg=algorithm)) == "token.algorithm"


def test_a_key_that_is_not_pinned_is_unknown() -> None:
    """However good its signature."""
    stranger = TokenSigningKey.generate("EdDSA")
    assert refused(forged(stranger)) == "token.key-unknown"


def test_a_signature_holds_for_its_bytes_only() -> None:
    """Another payload, another key of the same name, a cut signature, halves swapped."""
    head, _, signature = forged(EC, b"{}").split(".")
    assert refused(f"{head}.{to_base64url(b'[]')}.{signature}") == "token.signature"
    assert refused(forged(ED, kid=EC.public.kid, alg="ES256")) == "token.signature"
    for key in (ED, EC):
        signed, _, last = forged(key).rpartition(".")
        raw = from_base64url(last, what="x")
        for bad in (b"", raw[:-1], raw + b"\0", bytes(64), raw[32:] + raw[:32], b"\xff" * 64):
            assert refused(f"{signed}.{to_base64url(bad)}") == "token.signature"


def test_a_document_is_read_as_a_key_set() -> None:
    """Both kinds, and nothing private is in it."""
    document = jwks_document([EC.public, ED.public])
    assert document == jwks_document([ED.public, EC.public])
    keys = KeySet.from_bytes(document)
    assert keys.find(ED.public.kid) == ED.public
    assert keys.find(EC.public.kid) == EC.public
    members = {name for key in json.loads(document)["keys"] for name in key}
    assert members == {"kty", "crv", "x", "y", "kid", "alg", "use"}
    with pytest.raises(MalformedError):
        jwks_document([])
    with pytest.raises(MalformedError):
        jwks_document([ED.public, ED.public])


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"keys": []},
        {"keys": {}},
        {"keys": [1]},
        {"keys": [{}]},
        {"keys": [jwk()], "more": 1},
        {"keys": [jwk(), jwk()]},
        b'{"keys":[],"keys":[]}',
        {"keys": [jwk()] * 65},
    ],
)
def test_a_key_set_holds_keys_and_nothing_else(value: object) -> None:
    """One to 64, each once."""
    assert jwks_refused(value) == "token.malformed"


@pytest.mark.parametrize("name", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_a_private_member_refuses_the_set(name: str) -> None:
    """Somebody published a secret: that must not go unnoticed."""
    with pytest.raises(MalformedError, match="private") as caught:
        KeySet.from_bytes(write_json({"keys": [jwk(**{name: "AA"})]}))
    assert caught.value.code == "token.malformed"


@pytest.mark.parametrize(
    "key",
    [
        jwk(kty=None),
        jwk(crv=None),
        jwk(x=None),
        jwk(kid=None),
        jwk(kid=EC.public.kid),
        jwk(kty="RSA"),
        jwk(kty="oct"),
        jwk(crv="X25519"),
        jwk(crv="Ed448"),
        jwk(kty="EC"),
        jwk(x="AA"),
        jwk(x=1),
        jwk(alg="ES256"),
        jwk(alg=None, use="enc"),
        jwk(key_ops=["sign"]),
        jwk(key_ops=["verify", "sign"]),
        jwk(x5c=[]),
        jwk(exp=1),
        jwk(EC, y=None),
        jwk(EC, y=to_base64url(b"y" * 32)),
        jwk(EC, crv="P-384"),
        jwk(EC, crv="secp256k1"),
        jwk(EC, x=to_base64url(b"\xff" * 32)),
        jwk(EC, alg="EdDSA"),
        jwk(y="AA"),
    ],
)
def test_a_key_that_is_not_wholly_understood_is_refused(key: dict[str, Any]) -> None:
    """Type, curve, coordinates, name and use are checked; nothing is skipped."""
    assert jwks_refused({"keys": [key]}) == "token.malformed"


def test_a_use_that_allows_verifying_is_read() -> None:
    """As RFC 7517 spells it."""
    found = jwk(alg="EdDSA", use="sig", key_ops=["verify"])
    assert KeySet.from_bytes(write_json({"keys": [found]})).find(ED.public.kid) == ED.public


def test_large_and_deep_key_sets_are_refused() -> None:
    """Before they are read."""
    assert jwks_refused(b" " * (jose.MAX_JWKS_BYTES + 1)) == "wire.too-large"
    assert jwks_refused({"keys": [jwk(x5c=[[[[]]]])]}) == "wire.too-large"


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256"])
def test_a_key_is_sealed_and_loaded(algorithm: Algorithm) -> None:
    """The same key comes back; its `repr` shows no secret."""
    key = TokenSigningKey.generate(algorithm)
    again = TokenSigningKey.from_secret(key.to_secret())
    assert again.public == key.public
    assert hash(again.public) == hash(key.public)
    assert key.public.kid in repr(key.public)
    assert "object" in repr(key)


def test_other_secrets_are_no_keys_for_tokens() -> None:
    """RSA, another curve, and noise."""
    keys = (
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        ec.generate_private_key(ec.SECP384R1()),
    )
    secrets = [key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()) for key in keys]
    for secret in (*secrets, b"", b"noise"):
        with pytest.raises(MalformedError) as caught:
            TokenSigningKey.from_secret(secret)
        assert caught.value.code == "token.malformed"


def test_an_unknown_key_says_what_to_do() -> None:
    """A person sees the next step."""
    with pytest.raises(EvidenceError) as caught:
        KEYS.find("x" * 43)
    assert "JWKS" in str(caught.value.hint)


@pytest.mark.skipif(not SAMPLES.exists(), reason=f"no samples at {SAMPLES}; set CLOISTER_SHARED")
def test_samples_of_others_that_name_no_key_or_bring_one_are_refused() -> None:
    """Their signatures hold under their own keys; our reader wants the key pinned and named."""
    samples = json.loads(SAMPLES.read_text("utf-8"))
    assert len(samples) > 5
    for sample in samples:
        token = sample["token"]
        public = sample["public_key"]
        keys = KEYS
        if public is not None and sample["signature_valid"]:
            numbers = (
                int.from_bytes(from_base64url(public[name], what=name), "big") for name in "xy"
            )
            key = TokenVerifyingKey(
                ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key()
            )
            signed, _, signature = token.rpartition(".")
            key.verify(signed.encode(), from_base64url(signature, what="signature"))
            keys = KeySet([key])
        assert refused(token, keys=keys) in {"token.malformed", "wire.too-large"}


def test_a_key_from_a_seed_is_the_same_each_time() -> None:
    """And a seed of another length is none."""
    key = TokenSigningKey.from_seed(b"s" * 32)
    assert key.public.kid == TokenSigningKey.from_seed(b"s" * 32).public.kid
    assert key.public.algorithm == "EdDSA"
    with pytest.raises(MalformedError) as e:
        TokenSigningKey.from_seed(b"s" * 31)
    assert e.value.code == "token.malformed"
