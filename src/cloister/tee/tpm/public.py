"""Public areas of a TPM's keys: templates for attestation keys, and what a TPM says of one.

Source: TCG TPM 2.0 Library Part 2, revision 1.59: TPMT_PUBLIC (12.2.4), TPMA_OBJECT (8.3),
TPMS_RSA_PARMS (12.2.3.5), TPMS_ECC_PARMS (12.2.3.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from cloister.crypto.vendor_keys import Curve, EcdsaKey, RsaKey
from cloister.errors import MalformedError, UnsupportedError
from cloister.tee.tpm.exchange import Answer, odd

__all__ = ["AkKind", "PublicArea", "ak_template"]

AkKind = Literal["ecc", "rsa"]

_RSA: Final = 0x0001
_ECC: Final = 0x0023
_NULL: Final = 0x0010
_CURVES: Final[dict[int, Curve]] = {3: "P-256", 4: "P-384"}
_WIDTHS: Final[dict[Curve, int]] = {"P-256": 32, "P-384": 48}
_SIGNING: Final = {0x0014, 0x0016, 0x0018}
_DEFAULT_EXPONENT: Final = 65537
_MAX_DIGEST: Final = 64
_MAX_NUMBER: Final = 512

_RESTRICTED: Final = 1 << 16
_DECRYPT: Final = 1 << 17
_SIGN: Final = 1 << 18
# fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign
_AK_ATTRIBUTES: Final = 0x0005_0472
_AK_PARAMETERS: Final[dict[AkKind, bytes]] = {
    "ecc": bytes.fromhex("0010 0018 000b 0003 0010 0000 0000"),
    "rsa": bytes.fromhex("0010 0014 000b 0800 00000000 0000"),
}
_AK_TYPES: Final[dict[AkKind, int]] = {"ecc": _ECC, "rsa": _RSA}


def ak_template(kind: AkKind) -> bytes:
    """Return TPMT_PUBLIC of a restricted signing key: P-256 with ECDSA, or RSA 2048 with RSASSA.

    A primary key of one template is the same each time, for as long as the hierarchy's seed is.
    """
    head = _AK_TYPES[kind].to_bytes(2, "big") + b"\0\x0b" + _AK_ATTRIBUTES.to_bytes(4, "big")
    return head + b"\0\0" + _AK_PARAMETERS[kind]


@dataclass(frozen=True, slots=True)
class PublicArea:
    """What a TPM says of a key.

    Attributes:
        attributes: TPMA_OBJECT.
        scheme: TPM_ALG_ID of the key's own signing scheme; that of null for none.
        spki: DER SubjectPublicKeyInfo.
    """

    attributes: int
    scheme: int
    spki: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> PublicArea:
        """Read TPMT_PUBLIC.

        Raises:
            UnsupportedError: A key that could not sign what is accepted (`machine.attester`).
            UnavailableError: It cannot be read (`attester.failed`).
        """
        answer = Answer(data)
        kind, _name = answer.number(2), answer.number(2)
        attributes = answer.number(4)
        answer.sized(_MAX_DIGEST)
        if kind not in {_RSA, _ECC}:
            raise _unsuited("it is neither RSA nor of an elliptic curve")
        if answer.number(2) != _NULL:
            answer.take(4)
        scheme = answer.number(2)
        if scheme != _NULL:
            answer.take(2)
        try:
            spki = _rsa(answer) if kind == _RSA else _ecc(answer)
        except MalformedError as e:
            raise _unsuited(e.public) from e
        answer.end()
        return cls(attributes, scheme, spki)

    def require_attestation_key(self) -> None:
        """Raise unless it signs only what the TPM itself says.

        Raises:
            UnsupportedError: It is another kind of key (`machine.attester`).
        """
        wanted = self.attributes & (_RESTRICTED | _DECRYPT | _SIGN) == _RESTRICTED | _SIGN
        if not wanted or self.scheme not in _SIGNING:
            raise _unsuited("it is no restricted signing key")


def _rsa(answer: Answer) -> bytes:
    bits, exponent = answer.number(2), answer.number(4)
    modulus = answer.sized(_MAX_NUMBER)
    if len(modulus) * 8 != bits:
        raise odd("a modulus of another length than it says")
    return RsaKey.from_numbers(int.from_bytes(modulus), exponent or _DEFAULT_EXPONENT).spki


def _ecc(answer: Answer) -> bytes:
    curve = _CURVES.get(answer.number(2))
    if answer.number(2) != _NULL:
        answer.take(2)
    x, y = answer.sized(_MAX_DIGEST + 2), answer.sized(_MAX_DIGEST + 2)
    if curve is None:
        raise _unsuited("it is on another curve than P-256 and P-384")
    width = _WIDTHS[curve]
    return EcdsaKey.from_point(x.rjust(width, b"\0") + y.rjust(width, b"\0"), curve).spki


def _unsuited(why: str) -> UnsupportedError:
    return UnsupportedError(
        "that key of the TPM cannot attest", code="machine.attester", detail=why
    )
