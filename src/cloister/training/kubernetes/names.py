"""Names that Kubernetes takes, for policies and workloads that may have others. Pure."""

from __future__ import annotations

import re
from typing import Final

from cloister.crypto.digest import sha256
from cloister.errors import ConfigError

__all__ = ["MAX_LABEL", "dns_label", "require_object_name"]

# RFC 1035, 2.3.1. A Service's name must be one, and so must a Pod's host name.
MAX_LABEL: Final = 63
_HASH_DIGITS: Final = 8
_OBJECT: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


def dns_label(name: str, *, limit: int = MAX_LABEL) -> str:
    """Return a DNS label for a name; other names have other labels.

    A name that is one already, and short enough, stays as it is. Any other gets the start of its
    hash, since `a.b` and `a-b` are two policies.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"x{plain}"
    if plain == name and len(plain) <= limit:
        return plain
    digest = sha256(name.encode()).hex()[:_HASH_DIGITS]
    return f"{plain[: limit - _HASH_DIGITS - 1].rstrip('-')}-{digest}"


def require_object_name(name: str, what: str) -> str:
    """Return the name of something that the cluster has.

    Raises:
        ConfigError: It cannot be the name of anything there (`config.value`).
    """
    if _OBJECT.fullmatch(name) is None:
        raise ConfigError(
            f"{name!r} is no name of {what}",
            code="config.value",
            hint="lower-case letters, digits, hyphens and dots",
        )
    return name
