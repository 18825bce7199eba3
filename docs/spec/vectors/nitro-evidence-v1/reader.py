"""A second reader of nitro-evidence-v1, written from the page with cbor2 and cryptography alone."""

import json
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

HERE = Path(__file__).parent
KEYS = "cabundle certificate digest module_id nonce pcrs public_key timestamp user_data"


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


def verify_raw(key: Any, message: bytes, signature: bytes) -> bool:
    """Check r and s over a message."""
    need(isinstance(key, EllipticCurvePublicKey), "certificate.malformed")
    need(isinstance(key.curve, SECP384R1), "certificate.malformed")
    if len(signature) != 96:
        return False
    numbers = int.from_bytes(signature[:48]), int.from_bytes(signature[48:])
    try:
        key.verify(encode_dss_signature(*numbers), message, ECDSA(SHA384()))
    except InvalidSignature:
        return False
    return True


def check_path(path: list[x509.Certificate], anchors: list[str], at: int) -> None:
    """Judge a path, the leaf first."""
    root = sha256(path[-1].public_bytes(Encoding.DER)).hexdigest()
    need(root in anchors, "endorsement.anchor")
    now = datetime.fromtimestamp(at, UTC)
    for depth, certificate in enumerate(path):
        issuer = path[min(depth + 1, len(path) - 1)]
        valid = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        need(valid, "endorsement.expired")
        need(isinstance(certificate.signature_hash_algorithm, SHA384), "endorsement.signature")
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError) as e:
            raise RefusedError("endorsement.signature") from e
        if depth:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
            need(constraints.value.ca, "endorsement.signature")


def read(case: dict[str, Any]) -> bool:
    """Judge a document; returns whether it is of a debug enclave."""
    need(case["media_type"] == "application/vnd.cloister.nitro", "evidence.kind")
    message = load(bytes.fromhex(case["body"]))
    need(isinstance(message, list) and len(message) == 4, "evidence.malformed")
    protected, unprotected, payload, signature = message
    need(unprotected == {}, "evidence.malformed")
    header = load(protected)
    need(header in ({1: -35}, {1: -7}), "evidence.malformed")
    if payload[:1] == b"\xbf" and payload[-1:] == b"\xff":
        payload_map = b"\xa9" + payload[1:-1]
    else:
        payload_map = payload
    document = load(payload_map)
    need(isinstance(document, dict) and sorted(document) == KEYS.split(), "evidence.malformed")
    need(document["digest"] == "SHA384", "evidence.malformed")
    need(all(len(each) == 48 for each in document["pcrs"].values()), "evidence.malformed")
    ders = [document["certificate"], *reversed(document["cabundle"])]
    path = [x509.load_der_x509_certificate(der) for der in ders]
    check_path(path, case["anchors"], case["at"])
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    good = header == {1: -35} and verify_raw(path[0].public_key(), signed, signature)
    need(good, "evidence.signature")
    return document["pcrs"].get(0, bytes(48)) == bytes(48)


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
