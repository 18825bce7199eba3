"""The digests that a verifier of vendor evidence trusts: of root certificates, or of keys."""

from __future__ import annotations

from collections.abc import Sequence

from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import ConfigError

__all__ = ["require_anchors"]


def require_anchors(anchors: Sequence[bytes]) -> frozenset[bytes]:
    """Take the accepted digests; an empty list is a mistake, not a policy.

    Raises:
        ConfigError: None was given (`config.missing`), or one is no SHA-256 digest
            (`config.value`).
    """
    if not anchors:
        raise ConfigError("no trust anchor was given", code="config.missing")
    if any(len(anchor) != DIGEST_BYTES for anchor in anchors):
        raise ConfigError("an anchor is a SHA-256 digest", code="config.value")
    return frozenset(anchors)
