"""Roots that certify attestation keys, as this package pins them.

All of them are of virtual TPMs: their provider, and no hardware, vouches for such a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["TPM_ROOTS", "TPM_ROOT_DIGESTS", "TpmRoot"]


@dataclass(frozen=True, slots=True)
class TpmRoot:
    """One pinned certificate.

    Attributes:
        name: Whose it is.
        sha256: Of its DER.
        source: Where its owner publishes it.
        hardware: Whether the TPMs that it certifies are hardware.
    """

    name: str
    sha256: bytes
    source: str
    hardware: bool


TPM_ROOTS: Final = (
    TpmRoot(
        "Google Cloud EK/AK CA Root",
        bytes.fromhex("594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2"),
        "https://github.com/google/go-tpm-tools/blob/main/server/ca-certs/gcp_ek_ak_ca_root.crt",
        hardware=False,
    ),
    TpmRoot(
        "Azure Virtual TPM Root Certificate Authority 2023",
        bytes.fromhex("e6c596b17f8ffefba5c300f714cfb1260c6028704ecf7becc4ab5018efb00e95"),
        "https://learn.microsoft.com/azure/virtual-machines/trusted-launch-faq",
        hardware=False,
    ),
)
TPM_ROOT_DIGESTS: Final = frozenset(root.sha256 for root in TPM_ROOTS)
