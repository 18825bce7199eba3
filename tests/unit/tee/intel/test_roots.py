"""The pinned root."""

from cloister.tee.intel.roots import INTEL_ROOTS, INTEL_SGX_ROOT_CA


def test_one_root_is_pinned_by_its_digest() -> None:
    """Genuine chains are compared with it in tests/spec/test_intel_samples.py."""
    assert frozenset({INTEL_SGX_ROOT_CA}) == INTEL_ROOTS
    assert len(INTEL_SGX_ROOT_CA) == 32
