"""Encapsulation of keys, against published vectors and the library's own HPKE."""

import json
import os
from pathlib import Path

import pytest

from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.hpke_context import AES_256_GCM, HKDF_SHA256, Context, Suite
from cloister.crypto.kem import XWING, X25519Key, XWingKey
from cloister.errors import EvidenceError, MalformedError

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("CLOISTER_SHARED", ROOT.parent / "shared"))
VECTORS = SHARED / "vectors" / "hpke" / "xwing-go.json"
REFUSED = EvidenceError("no", code="evidence.binding")


@pytest.mark.skipif(not VECTORS.exists(), reason=f"no {VECTORS.name}; set CLOISTER_SHARED")
def test_xwing_as_others_do() -> None:
    """Seed, public key and shared secret of the published vectors."""
    cases = [each for each in json.loads(VECTORS.read_text("utf-8")) if each["kem_id"] == XWING]
    assert cases
    for case in cases:
        key = XWingKey.from_seed(bytes.fromhex(case["skRm"]))
        assert key.public.hex() == case["pkRm"]
        assert key.decapsulate(bytes.fromhex(case["enc"])).hex() == case["shared_secret"]


def test_the_librarys_hpke_is_understood() -> None:
    """What `cryptography` sealed opens by our key schedule: KEM, schedule and cipher agree."""
    theirs = HPKEPrivateKey.generate()
    key = XWingKey(theirs.to_secret())
    sealed = theirs.public.seal(b"secret", info=b"context")
    secret = key.decapsulate(sealed[: key.enc_bytes])
    context = Context(Suite(XWING, HKDF_SHA256, AES_256_GCM), secret, info=b"context")
    assert context.open(sealed[key.enc_bytes :], error=REFUSED) == b"secret"


def test_the_librarys_hpke_understands_us() -> None:
    """And the other way round."""
    theirs = HPKEPrivateKey.generate()
    made = XWingKey.encapsulate(theirs.public.raw)
    context = Context(Suite(XWING, HKDF_SHA256, AES_256_GCM), made.secret, info=b"context")
    sealed = made.enc + context.seal(b"secret")
    assert theirs.open(sealed, info=b"context", error=REFUSED) == b"secret"


def test_each_encapsulation_is_fresh_and_opens() -> None:
    """Two for one key differ; the private key has both secrets."""
    key = XWingKey.generate()
    first, second = XWingKey.encapsulate(key.public), XWingKey.encapsulate(key.public)
    assert first.secret != second.secret
    assert key.decapsulate(first.enc) == first.secret
    assert XWingKey.generate().decapsulate(first.enc) != first.secret


def test_what_is_none_is_malformed() -> None:
    """Wrong lengths, keys that are none, and points of small order."""
    key = XWingKey.generate()
    low = key.public[:-32] + bytes(32)
    for public in (b"", key.public[:-1], b"\xff" * len(key.public), low):
        with pytest.raises(MalformedError) as found:
            XWingKey.encapsulate(public)
        assert found.value.code == "wire.malformed"
    for enc in (b"", bytes(1119), bytes(1120)):
        with pytest.raises(MalformedError):
            key.decapsulate(enc)
    with pytest.raises(MalformedError):
        XWingKey(bytes(95))
    curve = X25519Key(bytes(range(32)))
    for enc in (b"", bytes(32)):
        with pytest.raises(MalformedError):
            curve.decapsulate(enc)
    with pytest.raises(MalformedError):
        X25519Key.encapsulate(bytes(32), ephemeral=bytes(range(32)))
