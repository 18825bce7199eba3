"""Bring an older state into the newest format, in one committed step.

Spec: keyservice-state-v1, clause KS-61.
"""

from __future__ import annotations

import logging
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import StateMovedError
from cloister.keyservice.log import LogEntry
from cloister.keyservice.state.format import NEWEST, sealed_format, upgrade_tables
from cloister.keyservice.store import Store

__all__ = ["event", "upgrade"]

_LOG: Final = logging.getLogger(__name__)
_ATTEMPTS: Final = 8


def upgrade(store: Store, *, at: int) -> None:
    """Upgrade an open state where its format is an older one; else do nothing.

    Either all of it is durable afterwards, with its entry in the log, or nothing. Another replica
    that does the same is waited for.

    Raises:
        StateMovedError: Others keep changing the state.
        UnavailableError: The state cannot be written.
    """
    for _ in range(_ATTEMPTS - 1):
        try:
            _upgrade_once(store, at=at)
        except StateMovedError:
            store.refresh()
        else:
            return
    _upgrade_once(store, at=at)


def _upgrade_once(store: Store, *, at: int) -> None:
    if sealed_format(store.tables) == NEWEST:
        return
    store.announce_format()
    with store.transaction():
        before = upgrade_tables(store.tables)
        if before == NEWEST:  # another replica was faster; what it wrote was read just now
            return
        subject = f"format {before} to {NEWEST}"
        store.append(event("state.upgrade", subject=subject, evidence=bytes(DIGEST_BYTES), at=at))
    _LOG.info("state.upgraded before=%d after=%d", before, NEWEST)


def event(operation: str, *, subject: str, evidence: bytes, at: int) -> bytes:
    """Return a log entry of what happened to the state as a whole; nobody asked for it online."""
    return LogEntry(
        at=at,
        operation=operation,
        code="",
        policy=bytes(DIGEST_BYTES),
        subject=subject,
        instance="",
        evidence=evidence,
        requester=bytes(DIGEST_BYTES),
    ).to_bytes()
