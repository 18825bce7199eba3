"""A simulated maker of TPMs: root, issuer, attestation keys, a measured boot, and quotes.

Example::

    tpm = SimulatedTpm(b"seed")
    claims = TpmVerifier([tpm.anchor]).verify(
        Evidence(MEDIA_TYPE, tpm.evidence(nonce)), tpm.endorsements(), at=tpm.now
    )
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.attestation.evidence import Endorsement
from cloister.tee.tpm.endorsements import CHAIN_TYPE, LIST_TYPE
from cloister.tee.tpm.event_log import Event, write
from cloister.tee.tpm.layout import (
    BANKS,
    PCRS,
    Bank,
    Quote,
    QuoteParts,
    Scheme,
    Selection,
    Signature,
    TpmEvidence,
)
from cloister.testing.manufacturers import der
from cloister.testing.manufacturers.rsa import SeededRsaKey

__all__ = ["SECURE_BOOT", "SimulatedTpm", "events"]

_DAY_S: Final = 86400
_YEAR_S: Final = 365 * _DAY_S
_NOW: Final = 1_800_000_000
_ORGANIZATION: Final = "Simulated TPM Makers"
_RSA_SHA256: Final = der.sequence(der.oid("1.2.840.113549.1.1.11"), b"\x05\0")
_BOOTED: Final[tuple[Bank, ...]] = ("sha1", "sha256", "sha384")
_LOCKED: Final = range(17, 23)
_NO_ACTION: Final = 3
_GLOBAL: Final = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")


def _variable(name: str, value: bytes) -> bytes:
    text = name.encode("utf-16-le")
    return _GLOBAL + struct.pack("<QQ", len(name), len(value)) + text + value


SECURE_BOOT: Final = _variable("SecureBoot", b"\x01")
_BOOT: Final = (
    (0, 0x8, b"version 1"),
    (7, 0x80000001, SECURE_BOOT),
    (7, 0x80000001, _variable("PK", b"key")),
    (4, 0x80000003, b"loader"),
    (7, 0x4, bytes(4)),
    (9, 0xD, b"kernel"),
)


def events(
    boot: Sequence[tuple[int, int, bytes]], banks: Sequence[Bank] = _BOOTED
) -> tuple[Event, ...]:
    """Return events whose digests are those of their data."""
    return tuple(
        Event(pcr, kind, {bank: hashlib.new(bank, data).digest() for bank in banks}, data)
        for pcr, kind, data in boot
    )


class SimulatedTpm:
    """One TPM that a simulated maker certifies: the same seed makes the same bytes."""

    def __init__(
        self,
        seed: bytes,
        *,
        scheme: Scheme = "RSASSA",
        boot: Sequence[tuple[int, int, bytes]] = _BOOT,
        now: int = _NOW,
    ) -> None:
        """Make the maker's certificates and the key, and boot."""
        self.now: Final = now
        self.scheme: Final = scheme
        self.events: Final = events(boot)
        self._makers = {name: SeededRsaKey(seed, f"tpm/{name}") for name in ("root", "issuer")}
        self._rsa = SeededRsaKey(seed, "tpm/ak")
        number = int.from_bytes(hashlib.sha256(seed + b"/tpm/ak").digest()) >> 1
        self._ec = ec.derive_private_key(number, ec.SECP256R1())
        self._names = {
            name: der.name(f"Simulated TPM {name}", organization=_ORGANIZATION)
            for name in ("root", "issuer")
        }
        self.root: Final = self._authority("root", 1)
        self.issuer: Final = self._authority("issuer", 2)

    @property
    def anchor(self) -> bytes:
        """SHA-256 of the root certificate."""
        return hashlib.sha256(self.root).digest()

    @property
    def ak(self) -> bytes:
        """DER SubjectPublicKeyInfo of the attestation key."""
        if self.scheme == "ECDSA":
            key = self._ec.public_key()
            return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return self._rsa.spki

    @property
    def ak_modulus(self) -> int:
        """Modulus of the attestation key, where it is RSA."""
        return self._rsa.modulus

    def log(self) -> bytes:
        """Return the firmware's log."""
        return write(self.events, _BOOTED)

    def pcrs(self, bank: Bank) -> list[bytes]:
        """Return what the PCRs are after this boot."""
        size = BANKS[bank]
        values = [(b"\xff" if index in _LOCKED else b"\0") * size for index in range(PCRS)]
        for event in self.events:
            if event.kind != _NO_ACTION:
                joined = values[event.pcr] + event.digests[bank]
                values[event.pcr] = hashlib.new(bank, joined).digest()
            elif event.data[:-1] == b"StartupLocality\0":
                values[event.pcr] = values[event.pcr][:-1] + event.data[-1:]
        return values

    def sign(self, message: bytes) -> bytes:
        """Return a TPMT_SIGNATURE over SHA-256 of any message: no TPM does that."""
        if self.scheme == "ECDSA":
            found = self._ec.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
            r, s = (
                number.to_bytes((number.bit_length() + 7) // 8, "big")
                for number in decode_dss_signature(found)
            )
            return Signature("ECDSA", "sha256", r, s).to_bytes()
        if self.scheme == "RSAPSS":
            return Signature("RSAPSS", "sha256", self._rsa.sign_pss(message, "sha256")).to_bytes()
        return Signature("RSASSA", "sha256", self._rsa.sign_pkcs1(message)).to_bytes()

    def quote(
        self,
        nonce: bytes,
        *,
        selection: Mapping[Bank, Sequence[int]] | None = None,
        log: bytes | None = None,
        **changes: Any,
    ) -> QuoteParts:
        """Return a quote; `changes` are fields of `Quote`."""
        wanted: Mapping[Bank, Sequence[int]] = selection or {"sha256": range(PCRS)}
        selections = tuple(Selection(bank, tuple(pcrs)) for bank, pcrs in wanted.items())
        values = tuple(self.pcrs(each.bank)[index] for each in selections for index in each.pcrs)
        fields: dict[str, Any] = {
            "qualified_signer": b"\0\x0b" + hashlib.sha256(self.ak).digest(),
            "extra_data": nonce,
            "clock": 123456,
            "reset_count": 2,
            "restart_count": 0,
            "safe": True,
            "firmware_version": 0x2026000100000000,
            "selections": selections,
            "pcr_digest": hashlib.sha256(b"".join(values)).digest(),
        }
        message = Quote(**fields | changes).to_bytes()
        return QuoteParts(message, self.sign(message), values, self.log() if log is None else log)

    def evidence(self, nonce: bytes, **arguments: Any) -> bytes:
        """Return the body of evidence; `arguments` are those of `quote`."""
        return TpmEvidence(self.ak, self.quote(nonce, **arguments)).to_bytes()

    def certificate(
        self,
        *,
        spki: bytes | None = None,
        validity: tuple[int, int] | None = None,
        extensions: Sequence[bytes] = (der.DIGITAL_SIGNATURE,),
        serial: int = 1000,
    ) -> bytes:
        """Return DER of the attestation key's certificate; every argument is a knob."""
        return der.certificate(
            subject=der.name("Simulated attestation key", organization=_ORGANIZATION),
            issuer=self._names["issuer"],
            serial=serial,
            validity=validity or (self.now - _DAY_S, self.now + _YEAR_S),
            spki=spki or self.ak,
            extensions=extensions,
            algorithm=_RSA_SHA256,
            sign=self._makers["issuer"].sign_pkcs1,
        )

    def revocations(
        self,
        by: str,
        *,
        serials: tuple[int, ...] = (),
        validity: tuple[int, int] | None = None,
        signed_by: str | None = None,
    ) -> bytes:
        """Return the list of `root` or `issuer`; `signed_by` is who really signs it."""
        return der.revocation_list(
            issuer=self._names[by],
            validity=validity or (self.now - _DAY_S, self.now + 30 * _DAY_S),
            serials=serials,
            algorithm=_RSA_SHA256,
            sign=self._makers[signed_by or by].sign_pkcs1,
        )

    def endorsements(
        self, *, certificate: bytes | None = None, lists: Sequence[bytes] | None = None
    ) -> list[Endorsement]:
        """Return the certificates and both lists; an empty list of them leaves revocation out."""
        path = (certificate or self.certificate(), self.issuer, self.root)
        given = (self.revocations("root"), self.revocations("issuer")) if lists is None else lists
        return [
            Endorsement(CHAIN_TYPE, b"".join(der.pem(each) for each in path)),
            *(Endorsement(LIST_TYPE, each) for each in given),
        ]

    def _authority(self, name: str, serial: int) -> bytes:
        return der.certificate(
            subject=self._names[name],
            issuer=self._names["root"],
            serial=serial,
            validity=(self.now - 5 * _YEAR_S, self.now + 20 * _YEAR_S),
            spki=self._makers[name].spki,
            extensions=[der.AUTHORITY, der.ISSUES],
            algorithm=_RSA_SHA256,
            sign=self._makers["root"].sign_pkcs1,
        )
