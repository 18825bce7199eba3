"""The endorsement of a CCA platform: its attestation key (CPAK), pinned by whoever accepts it.

One of media type `application/jwk+json` (RFC 7517): `kty` EC, `crv` P-256 or P-384, `x`, `y`, and
nothing else. Arm has no root that vouches for platforms: their makers give the keys.

Spec: cca-evidence-v1, clauses CCA-7 and CCA-11.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, get_args

from cloister.attestation.evidence import Endorsement
from cloister.crypto.digest import sha256
from cloister.crypto.jose import from_base64url
from cloister.crypto.vendor_keys import Curve, EcdsaKey
from cloister.errors import CloisterError, EndorsementError, MalformedError, UnavailableError
from cloister.wire.strict_json import read_json

__all__ = ["KEY_MEDIA_TYPE", "anchor_of_key", "require_platform_key"]

KEY_MEDIA_TYPE: Final = "application/jwk+json"
_MAX_BYTES: Final = 1024
_CODE: Final = "endorsement.malformed"


def require_platform_key(
    endorsements: Sequence[Endorsement], anchors: Collection[bytes]
) -> tuple[EcdsaKey, bytes]:
    """Return the platform's key and its anchor.

    Args:
        endorsements: Untrusted; the key and nothing else.
        anchors: SHA-256 of the SubjectPublicKeyInfo of each accepted key.

    Raises:
        UnavailableError: There is none (`endorsement.missing`).
        MalformedError: It is of another kind, or cannot be read.
        EndorsementError: There are several (`endorsement.mismatch`), or it is not accepted
            (`endorsement.anchor`).
    """
    if any(each.media_type != KEY_MEDIA_TYPE for each in endorsements):
        raise MalformedError("a CCA platform has a key and nothing else", code=_CODE)
    if not endorsements:
        raise UnavailableError("the platform's key is missing", code="endorsement.missing")
    if len(endorsements) > 1:
        raise EndorsementError("several keys for one platform", code="endorsement.mismatch")
    key = _read(endorsements[0].body)
    anchor = sha256(key.spki)
    if anchor not in anchors:
        raise EndorsementError("the platform's key is not accepted", code="endorsement.anchor")
    return key, anchor


def anchor_of_key(body: bytes) -> bytes:
    """Return what a verifier is given to accept the platform with this key.

    Raises:
        MalformedError: It is no such key.
    """
    return sha256(_read(body).spki)


def _read(body: bytes) -> EcdsaKey:
    wrong = MalformedError("not the public key of a CCA platform", code=_CODE)
    found = read_json(body, what="a key", max_bytes=_MAX_BYTES, max_depth=1, code=_CODE)
    if not isinstance(found, dict) or set(found) != {"kty", "crv", "x", "y"}:
        raise wrong
    curve = next((each for each in get_args(Curve) if each == found["crv"]), None)
    texts = found["x"], found["y"]
    if found["kty"] != "EC" or curve is None or not all(isinstance(text, str) for text in texts):
        raise wrong
    try:
        x, y = (from_base64url(text, what="a coordinate") for text in texts)
        if len(x) != len(y):
            raise wrong
        return EcdsaKey.from_point(x + y, curve)
    except CloisterError as e:
        raise wrong from e
