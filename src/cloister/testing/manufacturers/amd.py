"""A simulated AMD: root, issuers, signing keys, revocation lists and reports from a seed.

Example::

    amd = SimulatedAmd(b"seed", "Genoa")
    chip = amd.chip(tcb={"snp": 27})
    body = chip.report(report_data=bytes(64))
    claims = SnpVerifier([amd.anchor]).verify(
        Evidence(MEDIA_TYPE, body), amd.endorsements(chip), at=amd.now
    )
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cloister.attestation.evidence import Endorsement
from cloister.tee.snp.certificate import PSS_SHA384
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.tee.snp.layout import TCB_PARTS, Product, Report
from cloister.testing.manufacturers import der
from cloister.testing.manufacturers.rsa import SeededRsaKey

__all__ = ["NOW", "Key", "SimulatedAmd", "SimulatedChip"]

_DAY_S: Final = 86400
_YEAR_S: Final = 365 * _DAY_S
NOW: Final = 1_800_000_000
_TRAILER, _PLAIN = PSS_SHA384
_SERIALS: Final[dict[Product, int]] = {"Milan": 0x10000, "Genoa": 0x20000, "Turin": 0x30000}
_CPUID: Final[dict[Product, bytes]] = {
    "Milan": b"\x19\x01\x01",
    "Genoa": b"\x19\x11\x01",
    "Turin": b"\x1a\x02\x01",
}
_TCB: Final = {"fmc": 1, "bootloader": 4, "tee": 0, "snp": 24, "microcode": 219}
_OIDS: Final = {
    "bootloader": 1,
    "tee": 2,
    "snp": 3,
    "spl4": 4,
    "spl5": 5,
    "spl6": 6,
    "spl7": 7,
    "microcode": 8,
    "fmc": 9,
}
_ORGANIZATION: Final = "Simulated Micro Devices"
Key = Literal["VCEK", "VLEK"]


@dataclass(frozen=True, slots=True)
class SimulatedChip:
    """A chip, or a provider's key on it, that signs reports.

    Attributes:
        product: What it is.
        kind: Whose key signs.
        chip_id: Its 64 bytes.
        tcb: The versions that its key is bound to.
        certificate: DER of the key's certificate.
    """

    product: Product
    kind: Key
    chip_id: bytes
    tcb: Mapping[str, int]
    certificate: bytes
    key: ec.EllipticCurvePrivateKey = dataclasses.field(repr=False)

    def fields(self, *, version: int = 5, **changes: Any) -> Report:
        """Return what it would sign; `changes` are fields of `Report`."""
        tcb = bytes(self.tcb.get(part, 0) for part in TCB_PARTS[self.product])
        fields: dict[str, Any] = {
            "version": version,
            "guest_svn": 0,
            "policy": 0x30000,
            "family_id": bytes(16),
            "image_id": bytes(16),
            "vmpl": 0,
            "signature_algo": 1,
            "current_tcb": tcb,
            "platform_info": 0x25,
            "key_info": 4 if self.kind == "VLEK" else 0,
            "report_data": bytes(64),
            "measurement": b"m" * 48,
            "host_data": bytes(32),
            "id_key_digest": bytes(48),
            "author_key_digest": bytes(48),
            "report_id": b"i" * 32,
            "report_id_ma": b"\xff" * 32,
            "reported_tcb": tcb,
            "cpuid": _CPUID[self.product] if version >= 3 else bytes(3),  # noqa: PLR2004  # reports name the processor from then on
            "chip_id": bytes(64) if self.kind == "VLEK" else self.chip_id,
            "committed_tcb": tcb,
            "current_version": bytes((29, 55, 1)),
            "committed_version": bytes((29, 55, 1)),
            "launch_tcb": tcb,
            "launch_mit_vector": 0,
            "current_mit_vector": 0,
        }
        return Report(**fields | changes)

    def sign(self, signed: bytes) -> bytes:
        """Return r and s over the bytes, 48 bytes each, big-endian."""
        found = self.key.sign(signed, ec.ECDSA(SHA384(), deterministic_signing=True))
        return b"".join(number.to_bytes(48, "big") for number in decode_dss_signature(found))

    def report(self, *, version: int = 5, **changes: Any) -> bytes:
        """Return a signed report; `changes` are fields of `Report`."""
        report = self.fields(version=version, **changes)
        signature = self.sign(report.signed_bytes())
        return dataclasses.replace(report, signature=signature).to_bytes()


class SimulatedAmd:
    """AMD for one product, from a seed: the same seed mints the same bytes."""

    def __init__(self, seed: bytes, product: Product, *, now: int = NOW) -> None:
        """Make the root and both issuers, valid for some years around `now`."""
        self.product: Final = product
        self.now: Final = now
        self._seed = seed
        self._keys = {
            kind: SeededRsaKey(seed, f"{product}/{kind}") for kind in ("ARK", "VCEK", "VLEK")
        }
        self._names = {
            "ARK": der.name(f"ARK-{product}", organization=_ORGANIZATION),
            "VCEK": der.name(f"SEV-{product}", organization=_ORGANIZATION),
            "VLEK": der.name(f"SEV-VLEK-{product}", organization=_ORGANIZATION),
        }
        self.root: Final = self._issuer("ARK", _SERIALS[product])
        self.issuers: Final = {
            "VCEK": self._issuer("VCEK", self.issuer_serial("VCEK")),
            "VLEK": self._issuer("VLEK", self.issuer_serial("VLEK")),
        }

    @property
    def anchor(self) -> bytes:
        """SHA-256 of the root certificate."""
        return hashlib.sha256(self.root).digest()

    def issuer_serial(self, kind: Key) -> int:
        """Return an issuer's serial number: what a revocation list names."""
        return _SERIALS[self.product] + (1 if kind == "VCEK" else 0x101)

    def chip(
        self,
        name: str = "chip",
        *,
        kind: Key = "VCEK",
        tcb: Mapping[str, int] | None = None,
        validity: tuple[int, int] | None = None,
        product_name: str | None = None,
        common_name: str | None = None,
        hardware_id: bytes | None = None,
        csp_id: str | None = None,
        issuer: Key | None = None,
        algorithm: bytes = _TRAILER,
        changed: tuple[str, bytes] | None = None,
    ) -> SimulatedChip:
        """Make a chip, with its key and certificate; every argument is a knob.

        Args:
            name: Another name is another chip, with another key.
            kind: Whose key it is.
            tcb: Versions other than the usual.
            validity: First and last second of the certificate.
            product_name: What the certificate calls the product.
            common_name: What the certificate calls the key.
            hardware_id: The chip that the certificate names; empty for none.
            csp_id: The provider that it names; empty for none.
            issuer: Which issuer signs it.
            algorithm: How the signature is named.
            changed: An object identifier below AMD's and the value that it has instead.
        """
        chip_id = hashlib.sha512(self._seed + b"/chip/" + name.encode()).digest()
        if self.product == "Turin":
            chip_id = chip_id[:8].ljust(64, b"\0")
        versions = {
            part: version
            for part, version in (_TCB | dict(tcb or {})).items()
            if part in TCB_PARTS[self.product]
        }
        key = _ec_key(self._seed + f"/{self.product}/{kind}/{name}/{versions}".encode())
        if hardware_id is None:
            own = chip_id[:8] if self.product == "Turin" else chip_id
            hardware_id = own if kind == "VCEK" else b""
        if csp_id is None:
            csp_id = "" if kind == "VCEK" else "CN=cloud.example"
        values = {
            "1": der.integer(1 if self.product == "Turin" else 0),
            "2": der.element(0x16, (product_name or self.product).encode()),
            **{
                f"3.{_OIDS[part]}": der.integer(versions.get(part, 0))
                for part in TCB_PARTS[self.product]
            },
        }
        if hardware_id:
            values["4"] = hardware_id
        if csp_id:
            values["5"] = der.element(0x16, csp_id.encode())
        if changed is not None:
            values[changed[0]] = changed[1]
        signer = self._keys[issuer or kind]
        certificate = der.certificate(
            subject=der.name(common_name or f"SEV-{kind}", organization=_ORGANIZATION),
            issuer=self._names[issuer or kind],
            serial=0,
            validity=validity or (self.now - 30 * _DAY_S, self.now + 7 * _YEAR_S),
            spki=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            extensions=[
                der.extension(f"1.3.6.1.4.1.3704.1.{number}", value, critical=False)
                for number, value in values.items()
                if value
            ],
            algorithm=algorithm,
            sign=signer.sign_pss,
        )
        return SimulatedChip(self.product, kind, chip_id, versions, certificate, key)

    def revocations(
        self,
        *,
        serials: tuple[int, ...] = (),
        validity: tuple[int, int] | None = None,
        by: Literal["ARK", "VCEK"] = "ARK",
    ) -> bytes:
        """Return the root's revocation list; `by` is who really signs it."""
        return der.revocation_list(
            issuer=self._names["ARK"],
            validity=validity or (self.now - _DAY_S, self.now + 365 * _DAY_S),
            serials=serials,
            algorithm=_PLAIN,
            sign=self._keys[by].sign_pss,
        )

    def chain(self, kind: Key = "VCEK") -> bytes:
        """Return issuer and root as PEM."""
        return der.pem(self.issuers[kind]) + der.pem(self.root)

    def endorsements(
        self, chip: SimulatedChip, *, revocations: bytes | None = None
    ) -> list[Endorsement]:
        """Return all that belongs to a chip's reports; an empty list leaves revocation out."""
        listed = self.revocations() if revocations is None else revocations
        found = [
            Endorsement(CERTIFICATE_TYPE, chip.certificate),
            Endorsement(CHAIN_TYPE, self.chain(chip.kind)),
        ]
        return found + ([Endorsement(LIST_TYPE, listed)] if listed else [])

    def _issuer(self, kind: str, serial: int) -> bytes:
        return der.certificate(
            subject=self._names[kind],
            issuer=self._names["ARK"],
            serial=serial,
            validity=(self.now - 5 * _YEAR_S, self.now + 20 * _YEAR_S),
            spki=self._keys[kind].spki,
            extensions=[der.AUTHORITY, der.ISSUES],
            algorithm=_PLAIN,
            sign=self._keys["ARK"].sign_pss,
        )


def _ec_key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(hashlib.sha256(seed).digest())
    return ec.derive_private_key(number, ec.SECP384R1())
