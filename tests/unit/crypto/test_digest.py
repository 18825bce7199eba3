"""Digests and framing."""

import pytest

from cloister.crypto.digest import digest_from_text, digest_to_text, framed, require_equal, sha256
from cloister.errors import EvidenceError, MalformedError


def test_framing_is_injective() -> None:
    """Different lists of parts never join to the same bytes."""
    lists = [(b"a", b"bc"), (b"ab", b"c"), (b"abc",), (b"a", b"", b"bc"), (b"a", b"b", b"c")]
    assert len({framed(b"label", *parts) for parts in lists}) == len(lists)


def test_text_form() -> None:
    """Digests are read back, and only in their one spelling."""
    digest = sha256(b"x")
    assert digest_from_text(digest_to_text(digest)) == digest
    for bad in (
        "",
        "sha256:",
        digest.hex(),
        "sha256:" + digest.hex().upper(),
        digest_to_text(digest) + "\n",
    ):
        with pytest.raises(MalformedError):
            digest_from_text(bad)
    with pytest.raises(MalformedError):
        digest_to_text(b"short")


def test_require_equal_raises_the_callers_error() -> None:
    """Different bytes raise; equal bytes pass."""
    error = EvidenceError("no", code="evidence.binding")
    require_equal(b"a", b"a", error=error)
    with pytest.raises(EvidenceError):
        require_equal(b"a", b"b", error=error)
