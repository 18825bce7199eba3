"""Public keys of devices: right signatures hold, everything else is the caller's error."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.crypto.vendor_keys import EcdsaKey, RsaKey
from cloister.errors import EvidenceError, MalformedError

ERROR = EvidenceError("no", code="evidence.signature")
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def spki(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Return the public half as DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_an_ecdsa_signature_holds_in_both_forms() -> None:
    """DER, and r ‖ s."""
    key = EcdsaKey.from_spki(spki(P384), "P-384")
    der = P384.sign(b"message", ec.ECDSA(SHA384()))
    r, s = decode_dss_signature(der)
    raw = r.to_bytes(48) + s.to_bytes(48)
    key.verify_der(b"message", der, "SHA-384", error=ERROR)
    key.verify(b"message", raw, "SHA-384", error=ERROR)
    assert EcdsaKey.from_point(key.point, "P-384").point == key.point
    assert EcdsaKey.from_point(key.point, "P-384").spki == spki(P384)
    for message, signature in [
        (b"massage", raw),
        (b"message", raw[:-1]),
        (b"message", raw + b"\0"),
        (b"message", bytes(96)),
        (b"message", raw[:-1] + bytes([raw[-1] ^ 1])),
    ]:
        with pytest.raises(EvidenceError):
            key.verify(message, signature, "SHA-384", error=ERROR)
    with pytest.raises(EvidenceError):
        key.verify(b"message", raw, "SHA-256", error=ERROR)
    with pytest.raises(EvidenceError):
        key.verify_der(b"message", b"\x30\x00", "SHA-384", error=ERROR)


def test_a_key_is_on_the_curve_that_the_caller_names() -> None:
    """Nothing in the bytes picks it."""
    for der, curve in [(spki(P384), "P-256"), (spki(P256), "P-384"), (spki(RSA), "P-256")]:
        with pytest.raises(MalformedError):
            EcdsaKey.from_spki(der, curve)
    with pytest.raises(MalformedError):
        EcdsaKey.from_spki(b"x", "P-256")
    point = EcdsaKey.from_spki(spki(P256), "P-256").point
    for wrong in [point[:-1], point + b"\0", point[:32] + bytes(32), b"\xff" * 64]:
        with pytest.raises(MalformedError):
            EcdsaKey.from_point(wrong, "P-256")


def test_rsa_signatures_hold_by_the_scheme_that_the_caller_names() -> None:
    """And by no other."""
    key = RsaKey.from_spki(spki(RSA))
    pkcs1 = RSA.sign(b"message", padding.PKCS1v15(), SHA256())
    pss = RSA.sign(b"message", padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
    key.verify_pkcs1(b"message", pkcs1, "SHA-256", error=ERROR)
    key.verify_pss(b"message", pss, "SHA-256", error=ERROR)
    for verify, signature in [(key.verify_pkcs1, pss), (key.verify_pss, pkcs1)]:
        for data in (signature, signature[:-1], b""):
            with pytest.raises(EvidenceError):
                verify(b"message", data, "SHA-256", error=ERROR)
    with pytest.raises(EvidenceError):
        key.verify_pkcs1(b"message", pkcs1, "SHA-384", error=ERROR)


def test_rsa_keys_have_a_size() -> None:
    """Small and huge ones are refused, and what is none."""
    numbers = RSA.public_key().public_numbers()
    assert RsaKey.from_numbers(numbers.n, numbers.e).spki == spki(RSA)
    for modulus, exponent in [
        (numbers.n >> 1100 | 1, 65537),
        ((1 << 8192) + 1, 3),
        (15, 2),
        (0, 0),
    ]:
        with pytest.raises(MalformedError):
            RsaKey.from_numbers(modulus, exponent)
    for der in (spki(P256), b"x"):
        with pytest.raises(MalformedError):
            RsaKey.from_spki(der)
