"""Certificates that carry something: the library's reading, and the one thing that is forgiven."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from cloister.crypto.carrier import CarrierCertificate, _children, _wrap
from cloister.crypto.chain import ECDSA_SHA256, ECDSA_SHA384, MAX_CERTIFICATE_BYTES, Certificate
from cloister.crypto.x509 import TLSKey
from cloister.errors import CloisterError, EndorsementError, MalformedError

KEY = TLSKey.generate()
PEM = KEY.self_signed(extension="1.2.3.4", value=b"\x05\x00", at=1_800_000_000, lifetime_s=60)
DER = base64.b64decode(b"".join(PEM.splitlines()[1:-1]))
ALGORITHM = bytes.fromhex("06082a8648ce3d040302")
WITH_NULL = _wrap(0x30, ALGORITHM + b"\x05\x00")


def older(
    key: TLSKey = KEY,
    *,
    inner: bytes = WITH_NULL,
    outer: bytes = WITH_NULL,
    change: Callable[[bytes], bytes] = lambda body: body,
) -> bytes:
    """The certificate as older Mbed TLS writes it, signed again."""
    parts = _children(DER, 0x30)
    assert parts is not None
    body = _children(parts[0], 0x30)
    assert body is not None
    signed = change(_wrap(0x30, b"".join([*body[:2], inner, *body[3:]])))
    signature = key._key.sign(signed, ec.ECDSA(SHA256()))
    return _wrap(0x30, signed + outer + _wrap(0x03, b"\0" + signature))


def test_one_certificate_is_read() -> None:
    """In PEM and DER, and its own key signed it."""
    for found in (CarrierCertificate.from_pem(PEM), CarrierCertificate.from_der(DER)):
        assert (found.certificate.der, found.signed) == (DER, None)
        found.require_self_signed({ECDSA_SHA256})


@pytest.mark.spec("INT-35")
def test_null_behind_an_algorithm_is_read_as_if_it_were_not_there() -> None:
    """The signature is checked over the bytes that were signed."""
    with pytest.raises(MalformedError):
        Certificate.from_der(older())
    found = CarrierCertificate.from_der(older())
    assert found.certificate.public_key == KEY.public_key_info()
    assert found.certificate.extensions["1.2.3.4"] == b"\x05\x00"
    assert found.certificate.signature_algorithm == ECDSA_SHA256
    found.require_self_signed({ECDSA_SHA256})


@pytest.mark.spec("INT-35")
def test_another_signature_is_refused_there_too() -> None:
    """Another key's, a changed certificate's, and an algorithm that is not asked for."""
    moved = CarrierCertificate.from_der(older(TLSKey.generate()))
    changed = older()
    place = changed.rindex(b"attested by")
    forged = changed[:place] + b"Attested by" + changed[place + 11 :]
    for found in (moved, CarrierCertificate.from_der(forged)):
        with pytest.raises(EndorsementError) as caught:
            found.require_self_signed({ECDSA_SHA256})
        assert caught.value.code == "endorsement.signature"
    with pytest.raises(EndorsementError):
        CarrierCertificate.from_der(older()).require_self_signed({ECDSA_SHA384})


@pytest.mark.spec("INT-35")
def test_a_key_that_signs_with_no_such_algorithm_is_refused() -> None:
    """A certificate of an Ed25519 key that names ECDSA."""
    other = Ed25519PrivateKey.generate().public_key()
    spki = other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    found = CarrierCertificate.from_der(
        older(change=lambda body: _wrap(0x30, _replaced(body, KEY.public_key_info(), spki)))
    )
    assert found.certificate.public_key == spki
    with pytest.raises(EndorsementError) as caught:
        found.require_self_signed({ECDSA_SHA256})
    assert caught.value.code == "endorsement.signature"


def _replaced(body: bytes, old: bytes, new: bytes) -> bytes:
    parts = _children(body, 0x30)
    assert parts is not None
    assert old in parts
    return b"".join(new if part == old else part for part in parts)


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x30\x00",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        DER + b"\0",
        DER[:-1],
        older() + b"\0",
        older()[:-1],
        older()
        .replace(b"\x03\x48\x00\x30", b"\x03\x48\x01\x30")
        .replace(b"\x03\x47\x00\x30", b"\x03\x47\x01\x30")
        .replace(b"\x03\x49\x00\x30", b"\x03\x49\x01\x30"),
        older(outer=_wrap(0x30, ALGORITHM)),
        older(inner=_wrap(0x30, ALGORITHM)),
        older(inner=_wrap(0x30, ALGORITHM + b"\x05\x00\x05\x00"), outer=_wrap(0x30, ALGORITHM)),
        older(change=lambda body: b"\x31" + body[1:]),
        _wrap(0x30, bytes(MAX_CERTIFICATE_BYTES)),
    ],
)
def test_nothing_else_is_forgiven(der: bytes) -> None:
    """NULL in one place only, two of them, what is cut, what follows."""
    with pytest.raises(MalformedError) as caught:
        CarrierCertificate.from_der(der)
    assert caught.value.code == "certificate.malformed"


@pytest.mark.parametrize(
    "text",
    [b"", b"x", PEM + PEM, PEM[:-5], PEM.replace(b"M", b"!", 1), b"-----BEGIN CERTIFICATE-----"],
)
def test_pem_is_one_certificate_and_nothing_else(text: bytes) -> None:
    """What stands around it is refused."""
    with pytest.raises(MalformedError) as caught:
        CarrierCertificate.from_pem(text)
    assert caught.value.code == "certificate.malformed"


OLDER = older()


@given(st.data())
def test_changed_bytes_end_in_our_error(data: st.DataObject) -> None:
    """Wherever they are, and also behind them."""
    der = OLDER
    place = data.draw(st.integers(0, len(der) - 1))
    hostile = der[:place] + data.draw(st.binary(max_size=3)) + der[place + 1 :]
    try:
        found = CarrierCertificate.from_der(hostile)
        found.require_self_signed({ECDSA_SHA256})
    except CloisterError:
        return
    assert found.certificate.public_key == KEY.public_key_info()
