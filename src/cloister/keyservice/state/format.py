"""Which format a state has, whether it is read here, and how an older one becomes newer. Pure.

Two places say it. The slot `format` of a backend is read before there is a key; nobody has to
believe it. The row `format` of table `meta` is sealed with the state, and decides.

Spec: keyservice-state-v1, clauses KS-23, KS-60 and KS-61.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import CloisterError, ConfigError, TamperedError
from cloister.keyservice.state.tables import Tables

__all__ = ["FORMAT", "NEWEST", "require_format", "sealed_format", "upgrade_tables"]

NEWEST: Final = 2
FORMAT: Final = b"cloister/keyservice-state/v2"
_PATTERN: Final = re.compile(rb"cloister/keyservice-state/v([1-9][0-9]{0,5})")
_META: Final = "meta"
_ROW: Final = b"format"
_ROW_BYTES: Final = 4
_FIRST: Final = 1


def require_format(found: bytes | None) -> bytes:
    """Return what a slot says of its rows, where this version reads them.

    Raises:
        ConfigError: A newer version of Cloister wrote them (`state.newer`).
        TamperedError: No format of ours (`state.tampered`).
    """
    match = None if found is None else _PATTERN.fullmatch(found)
    if found is None or match is None:
        raise TamperedError(
            "the key service's state has no format of this service",
            code="state.tampered",
            detail=repr(found and found[:64]),
        )
    if int(match[1]) > NEWEST:
        raise _newer(int(match[1]))
    return found


def sealed_format(tables: Tables) -> int:
    """Return the format that a state itself says it has.

    Raises:
        ConfigError: A newer version of Cloister wrote it (`state.newer`).
        TamperedError: It says none (`state.tampered`).
    """
    row = tables.get(_META, _ROW)
    if row is None:  # the first format had no such row
        return _FIRST
    found = int.from_bytes(row, "big")
    if len(row) != _ROW_BYTES or found <= _FIRST:
        raise TamperedError(
            "the key service's state has no format of this service", code="state.tampered"
        )
    if found > NEWEST:
        raise _newer(found)
    return found


def upgrade_tables(tables: Tables) -> int:
    """Change tables of an older format into those of the newest, step by step.

    Returns:
        The format that they had.
    """
    before = sealed_format(tables)
    if before < NEWEST:
        for step in _STEPS[before - _FIRST :]:
            step(tables)
        tables.put(_META, _ROW, NEWEST.to_bytes(_ROW_BYTES, "big"))
    return before


def _one_to_two(tables: Tables) -> None:
    """Format 2: nonces belong to a generation, which a reset changes."""
    tables.put("challenges", b"generation", bytes(DIGEST_BYTES))


_STEPS: Final[tuple[Callable[[Tables], None], ...]] = (_one_to_two,)


def _newer(found: int) -> CloisterError:
    return ConfigError(
        "a newer version of Cloister wrote the key service's state",
        code="state.newer",
        detail=f"format {found}; this version reads up to {NEWEST}",
        hint="run the key service with the version that wrote it, or a newer one",
    )
