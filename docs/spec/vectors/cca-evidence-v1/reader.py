"""A second reader of cca-evidence-v1, written from the page with cbor2 and cryptography alone."""

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    SECP384R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = Path(__file__).parent
PLATFORM = {265, 10, 2396, 256, 2401, 2395, 2399, 2402}
REALM = {265, 10, 44235, 44236, 44237, 44238, 44239, 44240}
SUITES = {-7: (SECP256R1(), SHA256(), 32), -35: (SECP384R1(), SHA384(), 48)}
CURVES = {"P-256": SECP256R1(), "P-384": SECP384R1()}
HASHES = {"sha-256": hashlib.sha256, "sha-384": hashlib.sha384, "sha-512": hashlib.sha512}


class RefusedError(Exception):
    """Carries the code."""


def need(condition: object, code: str) -> None:
    """Refuse unless a condition holds."""
    if not condition:
        raise RefusedError(code)


def load(data: bytes) -> Any:
    """Read CBOR that has no second spelling."""
    try:
        value = cbor2.loads(data)
        need(cbor2.dumps(value) == data, "evidence.malformed")
    except (cbor2.CBORError, ValueError, TypeError) as e:
        raise RefusedError("evidence.malformed") from e
    return value


def token(data: bytes) -> tuple[int, bytes, bytes, bytes]:
    """Return algorithm, payload, what is signed, and the signature."""
    tagged = load(data)
    need(isinstance(tagged, cbor2.CBORTag) and tagged.tag == 18, "evidence.malformed")
    protected, unprotected, payload, signature = tagged.value
    header = load(protected)
    need(unprotected == {} and list(header) == [1], "evidence.malformed")
    need(header[1] in SUITES, "evidence.malformed")
    return header[1], payload, cbor2.dumps(["Signature1", protected, b"", payload]), signature


def check(key: EllipticCurvePublicKey, algorithm: int, message: bytes, signature: bytes) -> None:
    """Check a signature with the algorithm of the key's curve."""
    curve, digest, width = SUITES[algorithm]
    need(key.curve.name == curve.name and len(signature) == 2 * width, "evidence.signature")
    numbers = int.from_bytes(signature[:width]), int.from_bytes(signature[width:])
    try:
        key.verify(encode_dss_signature(*numbers), message, ECDSA(digest))
    except InvalidSignature as e:
        raise RefusedError("evidence.signature") from e


def point(curve: Any, x: bytes, y: bytes, code: str) -> EllipticCurvePublicKey:
    """Return a public key."""
    try:
        numbers = EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve)
        return numbers.public_key()
    except ValueError as e:
        raise RefusedError(code) from e


def platform_key(case: dict[str, Any]) -> EllipticCurvePublicKey:
    """Return the platform's key, once accepted."""
    given = case["endorsements"]
    need(bool(given), "endorsement.missing")
    need(len(given) == 1, "endorsement.mismatch")
    need(given[0]["media_type"] == "application/jwk+json", "endorsement.malformed")
    jwk = json.loads(given[0]["text"])
    need(sorted(jwk) == ["crv", "kty", "x", "y"], "endorsement.malformed")
    x, y = (base64.urlsafe_b64decode(jwk[name] + "==") for name in ("x", "y"))
    key = point(CURVES[jwk["crv"]], x, y, "endorsement.malformed")
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    need(hashlib.sha256(spki).hexdigest() in case["anchors"], "endorsement.anchor")
    return key


def read(case: dict[str, Any]) -> bool:
    """Judge a token; returns whether the platform is in debug."""
    need(case["media_type"] == "application/vnd.cloister.cca", "evidence.kind")
    collection = load(bytes.fromhex(case["body"]))
    need(isinstance(collection, cbor2.CBORTag) and collection.tag == 399, "evidence.malformed")
    need(set(collection.value) == {44234, 44241}, "evidence.malformed")
    tokens = [token(collection.value[name]) for name in (44234, 44241)]
    platform, realm = (load(payload) for _, payload, _, _ in tokens)
    need(set(platform) - {2400} == PLATFORM and set(realm) == REALM, "evidence.malformed")
    need(realm[265] == "tag:arm.com,2023:realm#1.0.0", "evidence.malformed")
    need(realm[44240] in HASHES and len(realm[44239]) == 4, "evidence.malformed")
    key = platform_key(case)
    check(key, tokens[0][0], tokens[0][2], tokens[0][3])
    need(platform[10] == HASHES[realm[44240]](realm[44237]).digest(), "evidence.parts")
    cose = load(realm[44237])
    need((cose[1], cose[-1]) == (2, 2), "evidence.malformed")
    realm_key = point(SECP384R1(), cose[-2], cose[-3], "evidence.malformed")
    check(realm_key, tokens[1][0], tokens[1][2], tokens[1][3])
    return platform[2395] >> 8 in (0x40, 0x50)


def main() -> int:
    """Read every vector."""
    files = sorted(HERE.glob("*.json"))
    agree = 0
    for file in files:
        case = json.loads(file.read_text())
        try:
            debug = read(case)
            found = "ok" if debug is case.get("debug") else "another debug"
        except RefusedError as e:
            found = str(e)
        agree += found == case["expect"]
        if found != case["expect"]:
            print(f"{file.stem}: {found}, not {case['expect']}")
    print(f"{agree} of {len(files)} vectors agree")
    return agree != len(files)


if __name__ == "__main__":
    sys.exit(main())
