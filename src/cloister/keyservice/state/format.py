"""Which format a backend's rows have, and whether this version reads it. Pure."""

from __future__ import annotations

import re
from typing import Final

from cloister.errors import ConfigError, TamperedError

__all__ = ["FORMAT", "require_format"]

FORMAT: Final = b"cloister/keyservice-state/v1"
_PATTERN: Final = re.compile(rb"cloister/keyservice-state/v([1-9][0-9]{0,5})")


def require_format(found: bytes | None) -> None:
    """Raise unless the rows are of this version's format.

    Raises:
        ConfigError: A newer version of Cloister wrote them (`state.newer`).
        TamperedError: No format of ours (`state.tampered`).
    """
    if found == FORMAT:
        return
    if found is not None and _PATTERN.fullmatch(found) is not None:
        raise ConfigError(
            "a newer version of Cloister wrote the key service's state",
            code="state.newer",
            detail=found.decode("ascii"),
            hint="run the key service with the version that wrote it, or a newer one",
        )
    raise TamperedError(
        "the key service's state has no format of this service",
        code="state.tampered",
        detail=repr(found and found[:64]),
    )
