"""The table of roots of trust. Code is imported on first use; nothing can add itself.

There is no discovery of installed plug-ins on purpose: otherwise any installed package could add
something that mints trust.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloister.attestation.binding import nonce_of
from cloister.attestation.evidence import (
    REPORT_DATA_BYTES,
    Endorsement,
    Evidence,
    EvidenceVerifier,
    ReportData,
)
from cloister.attestation.evidence_rules import Field
from cloister.errors import EvidenceError, MissingExtraError, extra_hint

__all__ = ["ROOTS_OF_TRUST", "RootOfTrust", "by_media_type", "by_name"]


@dataclass(frozen=True, slots=True)
class RootOfTrust:
    """One row of the table. `module:name` says where something is.

    Attributes:
        name: As policies spell it.
        media_types: Of its evidence; the first is the plain one.
        hardware_rooted: Whether its evidence can be rooted in hardware; a TPM by itself may be a
            program of the host's, and Arm pins no root.
        verifier_at: Its verifier, which is constructed from trust anchors.
        fields_at: The table of its claims.
        roots_at: The manufacturer's roots that the package pins; empty where there are none.
        extra: The optional extra that it needs, empty for none.
        bound_bytes: How much of a binding its evidence has room for: all 64 bytes, or a nonce of
            32; 0 where a release policy cannot name it.
        endorsed_by: Media types of what vouches for it; empty where evidence brings all along.
        choice_at: What chooses among endorsements of several sources; empty where there are none.
    """

    name: str
    media_types: tuple[str, ...]
    hardware_rooted: bool
    verifier_at: str
    fields_at: str
    roots_at: str
    extra: str
    bound_bytes: int = 0
    endorsed_by: frozenset[str] = frozenset()
    choice_at: str = ""

    def verifier(self, anchors: Sequence[Any]) -> EvidenceVerifier:
        """Build the verifier over the trust anchors that the caller decided to accept.

        Args:
            anchors: Public keys for `sim`, else SHA-256 of roots (ADR 0028).

        Raises:
            MissingExtraError: The optional extra is not installed.
            ConfigError: No anchor was given.
        """
        verifier: EvidenceVerifier = self._load(self.verifier_at)(anchors)
        return verifier

    def fields(self) -> tuple[Field, ...]:
        """Return the claims that a policy may judge.

        Raises:
            MissingExtraError: The optional extra is not installed.
        """
        table: tuple[Field, ...] = self._load(self.fields_at)
        return table

    def manufacturer_roots(self) -> frozenset[bytes]:
        """Return the SHA-256 of each root that the package pins for this kind; empty for none."""
        if not self.roots_at:
            return frozenset()
        roots: frozenset[bytes] = self._load(self.roots_at)
        return roots

    def bound(self, report_data: ReportData) -> bytes:
        """Return what evidence of this kind must say that is to bind these 64 bytes.

        Spec: report-data-binding-v1, clause BIND-5.
        """
        whole = self.bound_bytes == REPORT_DATA_BYTES
        return report_data.value if whole else nonce_of(report_data)

    def choose(
        self, evidence: Evidence, sent: Sequence[Endorsement], own: Sequence[Endorsement]
    ) -> Sequence[Endorsement]:
        """Return what to judge evidence by: of what several sources say of it, the newest.

        Args:
            evidence: Untrusted.
            sent: Untrusted; what came along with it.
            own: What the judge has himself, about any evidence.

        Raises:
            MalformedError: Evidence or endorsements do not parse.
        """
        if not self.choice_at:
            return sent
        chosen: Sequence[Endorsement] = self._load(self.choice_at)(evidence, sent, own)
        return chosen

    def _load(self, where: str) -> Any:
        module, _, name = where.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as e:
            raise MissingExtraError(
                f"evidence of {self.name} needs an optional part of Cloister",
                code="extra.missing",
                hint=extra_hint(self.extra),
            ) from e


_INTEL: Final = frozenset({"application/vnd.cloister.intel-collateral+json"})
_AMD: Final = frozenset(
    {"application/pkix-cert", "application/pem-certificate-chain", "application/pkix-crl"}
)

ROOTS_OF_TRUST: Final = (
    RootOfTrust(
        name="sim",
        media_types=("application/vnd.cloister.sim+cbor",),
        hardware_rooted=False,
        verifier_at="cloister.tee.sim.verifier:SimVerifier",
        fields_at="cloister.tee.sim.fields:FIELDS",
        roots_at="",
        extra="",
        bound_bytes=64,
    ),
    RootOfTrust(
        name="sgx",
        media_types=("application/vnd.cloister.sgx",),
        hardware_rooted=True,
        verifier_at="cloister.tee.sgx.verifier:SgxVerifier",
        fields_at="cloister.tee.sgx.fields:FIELDS",
        roots_at="cloister.tee.intel.roots:INTEL_ROOTS",
        extra="",
        bound_bytes=64,
        endorsed_by=_INTEL,
        choice_at="cloister.tee.choice:choose_for_intel",
    ),
    RootOfTrust(
        name="tdx",
        media_types=("application/vnd.cloister.tdx", "application/vnd.cloister.tdx+cbor"),
        hardware_rooted=True,
        verifier_at="cloister.tee.tdx.verifier:TdxVerifier",
        fields_at="cloister.tee.tdx.fields:FIELDS",
        roots_at="cloister.tee.intel.roots:INTEL_ROOTS",
        extra="",
        bound_bytes=64,
        endorsed_by=_INTEL,
        choice_at="cloister.tee.choice:choose_for_intel",
    ),
    RootOfTrust(
        name="snp",
        media_types=("application/vnd.cloister.snp",),
        hardware_rooted=True,
        verifier_at="cloister.tee.snp.verifier:SnpVerifier",
        fields_at="cloister.tee.snp.fields:FIELDS",
        roots_at="cloister.tee.snp.roots:AMD_ROOT_DIGESTS",
        extra="",
        bound_bytes=64,
        endorsed_by=_AMD,
        choice_at="cloister.tee.choice:choose_for_amd",
    ),
    RootOfTrust(
        name="tpm",
        media_types=("application/vnd.cloister.tpm+cbor",),
        hardware_rooted=False,
        verifier_at="cloister.tee.tpm.verifier:TpmVerifier",
        fields_at="cloister.tee.tpm.fields:FIELDS",
        roots_at="cloister.tee.tpm.roots:TPM_ROOT_DIGESTS",
        extra="",
    ),
    RootOfTrust(
        name="azure-snp",
        media_types=("application/vnd.cloister.azure-snp+cbor",),
        hardware_rooted=True,
        verifier_at="cloister.tee.azure.verifier:AzureSnpVerifier",
        fields_at="cloister.tee.azure.fields:SNP_FIELDS_OF_AZURE",
        roots_at="cloister.tee.snp.roots:AMD_ROOT_DIGESTS",
        extra="",
        bound_bytes=32,
        endorsed_by=_AMD,
        choice_at="cloister.tee.choice:choose_for_azure_snp",
    ),
    RootOfTrust(
        name="azure-tdx",
        media_types=("application/vnd.cloister.azure-tdx+cbor",),
        hardware_rooted=True,
        verifier_at="cloister.tee.azure.tdx:azure_tdx_verifier",
        fields_at="cloister.tee.azure.tdx:TDX_FIELDS_OF_AZURE",
        roots_at="cloister.tee.intel.roots:INTEL_ROOTS",
        extra="",
        bound_bytes=32,
        endorsed_by=_INTEL,
        choice_at="cloister.tee.choice:choose_for_azure_tdx",
    ),
    RootOfTrust(
        name="nvidia",
        media_types=(
            "application/vnd.cloister.nvidia",
            "application/vnd.cloister.nvidia+json",
            "application/vnd.cloister.nvidia+cbor",
        ),
        hardware_rooted=True,
        verifier_at="cloister.tee.nvidia.verifier:NvidiaVerifier",
        fields_at="cloister.tee.nvidia.fields:FIELDS",
        roots_at="cloister.tee.nvidia.roots:NVIDIA_ROOTS",
        extra="",
    ),
    RootOfTrust(
        name="nitro",
        media_types=("application/vnd.cloister.nitro",),
        hardware_rooted=True,
        verifier_at="cloister.tee.nitro.verifier:NitroVerifier",
        fields_at="cloister.tee.nitro.fields:FIELDS",
        roots_at="cloister.tee.nitro.roots:NITRO_ROOTS",
        extra="",
        bound_bytes=64,
    ),
    RootOfTrust(
        name="cca",
        media_types=("application/vnd.cloister.cca",),
        hardware_rooted=False,
        verifier_at="cloister.tee.cca.verifier:CcaVerifier",
        fields_at="cloister.tee.cca.fields:FIELDS",
        roots_at="",
        extra="",
    ),
)


def by_media_type(media_type: str) -> RootOfTrust:
    """Find the root of trust whose evidence this is.

    Raises:
        EvidenceError: No row of the table has this media type (code `evidence.kind`).
    """
    for root in ROOTS_OF_TRUST:
        if media_type in root.media_types:
            return root
    raise EvidenceError("evidence of an unknown kind", code="evidence.kind")


def by_name(name: str) -> RootOfTrust | None:
    """Find a root of trust by the name that policies use."""
    return next((root for root in ROOTS_OF_TRUST if root.name == name), None)
