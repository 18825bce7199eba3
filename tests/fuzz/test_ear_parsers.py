"""From hostile tokens, key sets and claims, only our errors escape."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.ear import verify_ear
from cloister.attestation.ear_claims import read_claims
from cloister.crypto.jose import (
    KeySet,
    TokenSigningKey,
    sign_compact,
    to_base64url,
    verify_compact,
)
from cloister.errors import CloisterError, MalformedError, RefusedError
from cloister.wire.strict_json import read_json, write_json

VECTORS = Path(__file__).parents[2] / "docs" / "spec" / "vectors" / "ear-v1"
CASES = [json.loads(path.read_text("utf-8")) for path in sorted(VECTORS.glob("*.json"))]
KEY = TokenSigningKey.generate("EdDSA")
KEYS = KeySet([KEY.public])
_WORDS = st.sampled_from(
    [
        "alg",
        "kid",
        "typ",
        "jwk",
        "keys",
        "kty",
        "crv",
        "x",
        "y",
        "iat",
        "exp",
        "aud",
        "iss",
        "eat_profile",
        "submods",
        "ear_status",
        "ear_trustworthiness_vector",
        "cloister_appraisal",
        "eat_nonce",
        "ear_verifier_id",
        "hardware_rooted",
        "affirming",
        "OKP",
        "Ed25519",
        "EC",
    ]
)
_TEXTS = st.one_of(_WORDS, st.text(max_size=8))
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(_TEXTS, inner, max_size=6)
    ),
    max_leaves=20,
)


def judge(token: str, keys: KeySet) -> None:
    verify_ear(
        token,
        jwks=keys,
        audience="https://rp.example",
        nonce=b"nonce-nonce-nonce",
        at=1_800_000_000,
        accept_simulated=True,
        at_least="warning",
    )


def loosely(value: object) -> bytes:
    """Python's JSON, which knows NaN and halves of characters."""
    return json.dumps(value).encode("utf-8")


@given(st.binary(max_size=200))
def test_bytes_as_json(data: bytes) -> None:
    """Random bytes are JSON or malformed."""
    with contextlib.suppress(MalformedError):
        read_json(data, what="x", max_bytes=150, max_depth=4, code="token.malformed")


@given(_VALUES)
def test_values_as_key_sets_and_claims(value: Any) -> None:
    """So are values of JSON, which nearly have the right names."""
    for read in (KeySet.from_bytes, read_claims):
        with contextlib.suppress(MalformedError):
            read(loosely(value))
        with contextlib.suppress(MalformedError):
            read(loosely({"keys": [value], "submods": {"a": value}}))


@given(st.text(max_size=100) | st.binary(max_size=60).map(to_base64url))
def test_texts_as_tokens(text: str) -> None:
    """Random texts, and parts of base64url."""
    for token in (text, f"{text}.{text}.{text}"):
        with contextlib.suppress(MalformedError):
            verify_compact(token, keys=KEYS, types=("eat+jwt",))


@given(_VALUES)
def test_values_as_headers(value: Any) -> None:
    """A header of any value, and one that is nearly right."""
    nearly = {"alg": "EdDSA", "kid": KEY.public.kid, "typ": "eat+jwt"}
    for header in (value, nearly | (value if isinstance(value, dict) else {"alg": value})):
        token = f"{to_base64url(loosely(header))}.e30.AA"
        with contextlib.suppress(MalformedError, RefusedError):
            verify_compact(token, keys=KEYS, types=("eat+jwt",))


@given(st.sampled_from(CASES), st.data())
def test_changed_vectors(case: dict[str, Any], data: st.DataObject) -> None:
    """A character of a good token or of its key set is another one, or gone."""
    token, jwks = case["token"], case["jwks"]
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(token) - 1))
        token = token[:place] + data.draw(st.text(max_size=2)) + token[place + 1 :]
    else:
        place = data.draw(st.integers(0, len(jwks) - 1))
        jwks = jwks[:place] + data.draw(st.text(max_size=2)) + jwks[place + 1 :]
    with contextlib.suppress(MalformedError, RefusedError):
        judge(token, KeySet.from_bytes(jwks.encode("utf-8", "surrogatepass")))


_GOOD = next(case for case in CASES if case["expect"] == "ok" and case["status"] == "warning")
_CLAIMS = json.loads(base64.urlsafe_b64decode(_GOOD["token"].split(".")[1] + "==").decode())


@given(st.data())
def test_changed_claims_under_a_good_key(data: st.DataObject) -> None:
    """One place of good claims has any value, and a pinned key has signed it."""
    claims = json.loads(json.dumps(_CLAIMS))
    place = claims
    while True:
        name = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[name], dict) or data.draw(st.integers(0, 3)) == 0:
            break
        place = place[name]
    place[name] = data.draw(_VALUES)
    token = sign_compact(loosely(claims), key=KEY, typ="eat+jwt")
    with contextlib.suppress(MalformedError, RefusedError):
        judge(token, KEYS)


@pytest.mark.parametrize("data", [b"[" * 60000, b'{"keys":' * 6000, b'"' + b"\\" * 60000])
def test_depth_ends_in_our_error(data: bytes) -> None:
    """Not in RecursionError."""
    for read in (KeySet.from_bytes, read_claims):
        with pytest.raises(CloisterError):
            read(data)
    token = sign_compact(data, key=KEY, typ="eat+jwt")
    with pytest.raises(CloisterError):
        judge(token, KEYS)


def test_what_is_written_is_strict() -> None:
    """The seed of this file holds, so that its changes mean something."""
    judge(sign_compact(write_json(_CLAIMS), key=KEY, typ="eat+jwt"), KEYS)
