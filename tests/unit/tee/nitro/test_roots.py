"""AWS has one root."""

from cloister.tee.nitro.roots import NITRO_ROOTS


def test_the_root_is_a_digest() -> None:
    """SHA-256."""
    assert [len(digest) for digest in NITRO_ROOTS] == [32]
