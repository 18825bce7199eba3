"""NVIDIA's roots are two, for two purposes."""

from cloister.tee.nvidia.roots import DEVICE_ROOTS, NVIDIA_ROOTS, RIM_ROOTS


def test_roots_are_digests_and_differ() -> None:
    """SHA-256, and none is for both."""
    digests = [*DEVICE_ROOTS.values(), *RIM_ROOTS.values()]
    assert {len(digest) for digest in digests} == {32}
    assert len(set(digests)) == len(digests)
    assert set(digests) == NVIDIA_ROOTS
