"""AWS has one root."""

from cloister.tee.nitro.roots import ROOTS


def test_the_root_is_a_digest() -> None:
    """SHA-256."""
    assert [len(digest) for digest in ROOTS.values()] == [32]
