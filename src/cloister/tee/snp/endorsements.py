"""AMD's endorsements of a report's signing key: chain and revocation list, judged, never fetched.

What a signature says does not depend on the time, so chains, certificates and lists that were
checked once are remembered by all of their bytes; who is accepted and when is judged every time.

Spec: snp-evidence-v1.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cloister.attestation.evidence import Endorsement
from cloister.crypto.chain import (
    RSA_PSS,
    Certificate,
    RevocationList,
    read_pem_chain,
    require_path,
)
from cloister.crypto.vendor_keys import RsaKey
from cloister.errors import EndorsementError, MalformedError, UnavailableError
from cloister.tee.snp.certificate import (
    CSP_ID,
    HARDWARE_ID,
    PRODUCT_NAME,
    SPL,
    ChipCertificate,
)
from cloister.tee.snp.layout import PRODUCTS, TCB_PARTS, Product, Report

__all__ = [
    "CERTIFICATE_TYPE",
    "CHAIN_TYPE",
    "LIST_TYPE",
    "Issuers",
    "SnpEndorsements",
    "require_key_of",
]

CERTIFICATE_TYPE: Final = "application/pkix-cert"
CHAIN_TYPE: Final = "application/pem-certificate-chain"
LIST_TYPE: Final = "application/pkix-crl"

_ALGORITHMS: Final = (RSA_PSS,)
_HASH: Final = "sha384"
# Common names, of the key that signs reports and of its issuer.
_NAMES: Final = {"VCEK": ("SEV-VCEK", "SEV-"), "VLEK": ("SEV-VLEK", "SEV-VLEK-")}
# Parts with Zen 4c cores whose certificates may bear their own name under Genoa's chain.
_CERTIFIED_AS: Final = {"Bergamo": "Genoa", "Siena": "Genoa"}
_REMEMBERED_CHAINS: Final = 32
_REMEMBERED_CHIPS: Final = 512
_REMEMBERED_LISTS: Final = 8
_CHIP_ID_BYTES: Final = 64
_HARDWARE_ID_BYTES: Final[dict[Product, int]] = {"Milan": 64, "Genoa": 64, "Turin": 8}


@dataclass(frozen=True, slots=True)
class Issuers:
    """AMD's intermediate (ASK or ASVK) and root (ARK), whose signatures hold."""

    intermediate: Certificate
    root: Certificate
    product: Product


@dataclass(frozen=True, slots=True)
class SnpEndorsements:
    """What came along with a report; untrusted.

    Attributes:
        leaf: DER of the signing key's certificate.
        chain: PEM of its issuer and of AMD's root, in this order.
        revocations: DER of the root's revocation list; empty where none was given.
    """

    leaf: bytes
    chain: bytes
    revocations: bytes

    @classmethod
    def sort(cls, endorsements: Sequence[Endorsement]) -> SnpEndorsements:
        """Take them apart by media type.

        Raises:
            MalformedError: One too many, or of another kind (`endorsement.malformed`).
            UnavailableError: Certificate or chain is missing (`endorsement.missing`).
        """
        found: dict[str, bytes] = {}
        for each in endorsements:
            if each.media_type not in (CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE):
                raise MalformedError(
                    "AMD endorses nothing in this form",
                    code="endorsement.malformed",
                    detail=each.media_type[:100],
                )
            if each.media_type in found or not each.body:
                raise MalformedError(
                    "an endorsement is empty or stands twice",
                    code="endorsement.malformed",
                    detail=each.media_type,
                )
            found[each.media_type] = each.body
        for wanted in (CERTIFICATE_TYPE, CHAIN_TYPE):
            if wanted not in found:
                raise UnavailableError(
                    "a certificate of AMD's is missing",
                    code="endorsement.missing",
                    detail=wanted,
                    hint="fetch it from AMD, or ask the host for it",
                )
        return cls(found[CERTIFICATE_TYPE], found[CHAIN_TYPE], found.get(LIST_TYPE, b""))

    def issuers(self, anchors: Collection[bytes], *, at: int) -> Issuers:
        """Return the chain, whose root is pinned and whose signatures hold.

        Raises:
            MalformedError: It cannot be read.
            EndorsementError: Its root is not pinned (`endorsement.anchor`); it is not valid then
                (`endorsement.expired`); a signature or name does not hold
                (`endorsement.signature`).
            UnavailableError: Issuer or root is missing.
        """
        intermediate, root = _read(self.chain)
        # What is not pinned is not worth a signature's check.
        if root.fingerprint not in anchors:
            raise EndorsementError(
                "the certificates do not lead to a root that is accepted",
                code="endorsement.anchor",
            )
        root.require_valid(at=at)
        intermediate.require_valid(at=at)
        return _issuers(self.chain)

    def certificate(self, issuers: Issuers) -> ChipCertificate:
        """Return the signing key's certificate, its signature checked.

        Raises:
            MalformedError: It cannot be read.
            EndorsementError: The intermediate did not sign it (`endorsement.signature`).
        """
        return _certificate(self.leaf, issuers.intermediate.der)

    def require_not_revoked(self, issuers: Issuers, *, at: int) -> bool:
        """Check the issuers against the root's list; False where there was none to look at.

        Raises:
            MalformedError: The list cannot be read.
            EndorsementError: Not the root's, or an issuer is on it (`endorsement.revoked`).
            UnavailableError: It is too old or from later (`endorsement.stale`).
        """
        if not self.revocations:
            return False
        listed = _revocations(self.revocations, issuers.root.der)
        # The signature is remembered; the instant is judged now.
        if not listed.this_update <= at <= listed.next_update:
            raise UnavailableError(
                "AMD's revocation list does not count at that time",
                code="endorsement.stale",
                detail=f"{listed.this_update} to {listed.next_update}, not {at}",
                hint="fetch endorsements again",
            )
        listed.require_not_revoked(issuers.intermediate)
        listed.require_not_revoked(issuers.root)
        return True


def require_key_of(
    report: Report, certificate: ChipCertificate, issuers: Issuers, product: Product
) -> None:
    """Check that a certificate is that of the very key that a report says it is signed with.

    Raises:
        EndorsementError: Another kind of key, product, version or chip (`endorsement.mismatch`).
        MalformedError: One of AMD's extensions cannot be read.
    """
    kind = report.signing_key
    leaf_name, issuer_prefix = _NAMES[kind]
    if certificate.common_name != leaf_name:
        raise _mismatch(f"{kind} in the report, {certificate.common_name} in the certificate")
    if issuers.intermediate.common_name != issuer_prefix + product:
        raise _mismatch(f"{kind} of {product} under {issuers.intermediate.common_name}")
    name = certificate.text(PRODUCT_NAME)
    named = name.partition("-")[0]
    if _CERTIFIED_AS.get(named, named) != product:
        raise _mismatch(f"the certificate is for {name or 'no product'}, not {product}")
    for part, version in zip(TCB_PARTS[product], report.reported_tcb, strict=True):
        if certificate.number(SPL[part]) != version:
            raise _mismatch(f"{part}: {version} in the report, else in the certificate")
    _require_chip(report, certificate, product)


def _require_chip(report: Report, certificate: ChipCertificate, product: Product) -> None:
    """A chip's certificate names the chip, a provider's names the provider, and no other."""
    provider = certificate.text(CSP_ID)
    if report.signing_key == "VLEK":
        if HARDWARE_ID in certificate.extensions or not provider:
            raise _mismatch("a provider's key whose certificate names a chip, or no provider")
        return
    hardware = certificate.octets(HARDWARE_ID, _HARDWARE_ID_BYTES[product])
    if not hardware or provider:
        raise _mismatch("a chip's key whose certificate names no chip, or a provider")
    masked = not any(report.chip_id)
    if not masked and report.chip_id != hardware.ljust(_CHIP_ID_BYTES, b"\0"):
        raise _mismatch("the certificate is another chip's")


@lru_cache(maxsize=_REMEMBERED_CHAINS)
def _read(pem: bytes) -> tuple[Certificate, Certificate]:
    chain = read_pem_chain(pem, max_certificates=2)
    if len(chain) != 2:  # noqa: PLR2004  # intermediate and root
        raise UnavailableError(
            "the issuer or the root of AMD's chain is missing", code="endorsement.missing"
        )
    return chain[0], chain[1]


@lru_cache(maxsize=_REMEMBERED_CHAINS)
def _issuers(pem: bytes) -> Issuers:
    intermediate, root = _read(pem)
    # Any instant at which both are valid will do here: the caller judges the time.
    require_path(
        [intermediate, root],
        anchors=[root.fingerprint],
        algorithms=_ALGORITHMS,
        at=max(intermediate.not_before, root.not_before),
    )
    product = next((each for each in PRODUCTS if root.common_name == f"ARK-{each}"), None)
    if not intermediate.ca or intermediate.signs_certificates is False:
        raise _unfit("its issuer is no authority")
    if {intermediate.signature_hash, root.signature_hash} != {_HASH} or product is None:
        raise _unfit(f"not AMD's way of signing, or no product: {root.common_name}")
    return Issuers(intermediate, root, product)


@lru_cache(maxsize=_REMEMBERED_CHIPS)
def _certificate(der: bytes, issuer_der: bytes) -> ChipCertificate:
    certificate, issuer = ChipCertificate.from_der(der), Certificate.from_der(issuer_der)
    if certificate.issuer != issuer.subject:
        raise _unfit("the leaf names another issuer")
    RsaKey.from_spki(issuer.public_key).verify_pss(
        certificate.signed,
        certificate.signature,
        "SHA-384",
        error=_unfit("the leaf's signature"),
    )
    return certificate


@lru_cache(maxsize=_REMEMBERED_LISTS)
def _revocations(der: bytes, root_der: bytes) -> RevocationList:
    listed, root = RevocationList.from_der(der), Certificate.from_der(root_der)
    listed.require_from(root, _ALGORITHMS, at=listed.this_update)
    if listed.signature_hash != _HASH:
        raise _unfit("the revocation list is not signed as AMD signs")
    return listed


def _mismatch(detail: str) -> EndorsementError:
    return EndorsementError(
        "a certificate is not that of the key which signed the report",
        code="endorsement.mismatch",
        detail=detail,
    )


def _unfit(detail: str) -> EndorsementError:
    return EndorsementError(
        "a certificate was not issued by the one above it",
        code="endorsement.signature",
        detail=detail,
    )
