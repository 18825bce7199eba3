"""Pinned roots of virtual TPMs."""

import hashlib

from cloister.crypto.chain import read_pem_chain
from cloister.tee.tpm.roots import TPM_ROOTS
from evidence_samples import folder


def test_roots_are_named_and_none_is_hardware() -> None:
    """A provider vouches for a virtual TPM: its claims never say hardware."""
    assert len({root.sha256 for root in TPM_ROOTS}) == len(TPM_ROOTS)
    assert all(root.name and root.source.startswith("https://") for root in TPM_ROOTS)
    assert not any(root.hardware for root in TPM_ROOTS)


def test_genuine_samples_are_below_them() -> None:
    """The samples' issuers are those that the roots certify; they do not bring the roots along."""
    chains = folder("tpm") / "_ak_chains"
    google = read_pem_chain((chains / "gce_ak.pem").read_bytes())
    assert google[-1].common_name == "EK/AK CA Intermediate"
    assert {hashlib.sha256(each.der).digest() for each in google}.isdisjoint(
        {root.sha256 for root in TPM_ROOTS}
    )
