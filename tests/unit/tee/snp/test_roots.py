"""AMD's pinned roots."""

import hashlib

import pytest

from cloister.crypto.chain import read_pem_chain
from cloister.tee.snp.layout import PRODUCTS
from cloister.tee.snp.roots import AMD_ROOTS, AmdRoot
from evidence_samples import folder


@pytest.mark.spec("SNP-12")
def test_one_root_for_each_product() -> None:
    """Different ones, from AMD's own service."""
    assert tuple(root.product for root in AMD_ROOTS) == PRODUCTS
    assert len({root.sha256 for root in AMD_ROOTS}) == len(AMD_ROOTS)
    assert all(root.source.startswith("https://kdsintf.amd.com/") for root in AMD_ROOTS)


@pytest.mark.parametrize("root", AMD_ROOTS, ids=lambda root: root.product)
@pytest.mark.parametrize("kind", ["vcek", "vlek"])
def test_the_genuine_chains_end_in_them(root: AmdRoot, kind: str) -> None:
    """Where the samples are there."""
    product = root.product
    path = folder("snp") / "_amd" / f"{product.lower()}_{kind}_ask_ark.pem"
    ark = read_pem_chain(path.read_bytes())[-1]
    assert hashlib.sha256(ark.der).digest() == root.sha256
    assert ark.common_name == f"ARK-{product}"
