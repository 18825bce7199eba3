"""Public areas of a TPM's keys."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from cloister.errors import CloisterError, UnsupportedError
from cloister.tee.tpm.public import PublicArea, ak_template

POINT = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_numbers()
ECC = bytes.fromhex("0023 000b 00050472 0000 0010 0018 000b 0003 0010 0020") + (
    POINT.x.to_bytes(32, "big") + b"\0\x20" + POINT.y.to_bytes(32, "big")
)
MODULUS = b"\xc1" + bytes(254) + b"\x01"
RSA = bytes.fromhex("0001 000b 00050472 0000 0010 0014 000b 0800 00000000 0100") + MODULUS


def test_keys_written_by_hand() -> None:
    """A point of P-256, and a modulus with the exponent that 0 stands for."""
    found = load_der_public_key(PublicArea.from_bytes(ECC).spki)
    assert isinstance(found, ec.EllipticCurvePublicKey)
    assert found.public_numbers() == POINT
    rsa = load_der_public_key(PublicArea.from_bytes(RSA).spki)
    assert rsa.public_numbers().n == int.from_bytes(MODULUS)
    assert rsa.public_numbers().e == 65537
    for each in (ECC, RSA):
        PublicArea.from_bytes(each).require_attestation_key()


@pytest.mark.spec("TPM-10")
def test_templates_are_those_of_the_page() -> None:
    """Byte for byte."""
    assert ak_template("ecc").hex() == "0023000b00050472000000100018000b0003001000000000"
    assert ak_template("rsa").hex() == "0001000b00050472000000100014000b0800000000000000"


@pytest.mark.spec("TPM-10")
@pytest.mark.parametrize(
    "attributes",
    ["00040472", "00070472", "00010472", "00030472", "00020472"],
)
def test_a_key_that_signs_anything_else_does_not_attest(attributes: str) -> None:
    """Unrestricted, also decrypting, not signing."""
    public = PublicArea.from_bytes(ECC[:4] + bytes.fromhex(attributes) + ECC[8:])
    with pytest.raises(UnsupportedError) as e:
        public.require_attestation_key()
    assert e.value.code == "machine.attester"


@pytest.mark.spec("TPM-10")
@pytest.mark.parametrize(
    "scheme", ["0010 0010 0003", "0010 001a 000b 0003", "0006 0080 0043 0010 0003"]
)
def test_a_key_without_an_accepted_scheme_does_not_attest(scheme: str) -> None:
    """None, ECDAA, and that of a storage key."""
    data = ECC[:10] + bytes.fromhex(scheme) + ECC[18:]
    with pytest.raises(UnsupportedError):
        PublicArea.from_bytes(data).require_attestation_key()


def test_what_cannot_be_read_is_refused() -> None:
    """Every cut, a byte more, other kinds, points that are none, moduli of another length."""
    wrong = [
        *(ECC[:end] for end in range(len(ECC))),
        *(RSA[:end] for end in range(len(RSA))),
        ECC + b"\0",
        b"\0\x25" + ECC[2:],
        b"\0\x08" + ECC[2:],
        ECC[:16] + b"\0\x05" + ECC[18:],
        ECC[:-1] + bytes([ECC[-1] ^ 1]),
        RSA[:16] + b"\x04\0" + RSA[18:],
        RSA[:22] + b"\0\x80" + bytes(128),
    ]
    for data in wrong:
        with pytest.raises(CloisterError) as e:
            PublicArea.from_bytes(data)
        assert e.value.code in {"attester.failed", "machine.attester"}
