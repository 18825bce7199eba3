"""AMD's root keys (ARK), one for each product, as this package pins them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.tee.snp.layout import Product

__all__ = ["AMD_ROOTS", "AMD_ROOT_DIGESTS", "AmdRoot"]


@dataclass(frozen=True, slots=True)
class AmdRoot:
    """One pinned certificate.

    Attributes:
        product: What it certifies.
        sha256: Of its DER.
        source: Where AMD publishes it.
    """

    product: Product
    sha256: bytes
    source: str


AMD_ROOTS: Final = (
    AmdRoot(
        "Milan",
        bytes.fromhex("69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"),
        "https://kdsintf.amd.com/vcek/v1/Milan/cert_chain",
    ),
    AmdRoot(
        "Genoa",
        bytes.fromhex("4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"),
        "https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain",
    ),
    AmdRoot(
        "Turin",
        bytes.fromhex("1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"),
        "https://kdsintf.amd.com/vcek/v1/Turin/cert_chain",
    ),
)
AMD_ROOT_DIGESTS: Final = frozenset(root.sha256 for root in AMD_ROOTS)
