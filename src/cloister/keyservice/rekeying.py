"""Change the state key: what was given out of the older one opens nothing that comes from then on.

Invariants:
    1. The key is changed only as the root's approvers signed, and the log says so in the same step.
    2. Whenever it is stopped, all of the state is under the older key, or all of it under the newer
       (but for the record that is the change itself, which replicas that run read once more).
    3. One platform has the new key: this one.

Spec: keyservice-recovery-v1, clauses BR-50 to BR-57.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import SigningKey
from cloister.errors import StateMovedError
from cloister.keyservice.approvals import Approval
from cloister.keyservice.governance import governing
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.platform_records import Admitted
from cloister.keyservice.rekey import Rekey, require_rekey
from cloister.keyservice.restoring import Place
from cloister.keyservice.state.key_rows import KeyChange, key_change, put_key_change
from cloister.keyservice.state.platform_key import seal_next_state_key, slots_after
from cloister.keyservice.state.platform_rows import admitted, put_admitted
from cloister.keyservice.state.record import Head, StateKey
from cloister.keyservice.store import Store
from cloister.keyservice.upgrading import event, upgrade
from cloister.tee.sim.platform import SimPlatform

__all__ = ["Rekeyed", "change_state_key"]

_LOG: Final = logging.getLogger(__name__)
_ATTEMPTS: Final = 8
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What came of it; nothing secret.

    Attributes:
        head: The newest record.
        name: Of the key that the state is under.
        changed: Whether it was changed now; False where the same statement had changed it before.
        left_out: Platforms that had the older key and have not got the newer.
    """

    head: Head
    name: bytes
    changed: bool
    left_out: tuple[bytes, ...]


def change_state_key(
    place: Place, statement: Rekey, approvals: Sequence[Approval], *, at: int
) -> Rekeyed:
    """Change the state key as approved; asking again with the same statement changes nothing.

    An embedded state must not be served meanwhile. Replicas of this platform over a shared state
    may run: their answers wait, and they go on under the new key.

    Args:
        place: Where the state is.
        statement: Untrusted.
        approvals: Untrusted.
        at: Now.

    Raises:
        ReleaseDeniedError: It is another service's or platform's change, or of before the newest
            (`approval.invalid`), or not approved (`approval.*`).
        UnavailableError: A service has the state open, or others keep changing it, or it cannot be
            written.
        TamperedError: The state does not open, or its log is another one (`state.tampered`).
    """
    with contextlib.closing(place.open()) as store:
        store.commit_to_log()
        upgrade(store, at=at)
        for _ in range(_ATTEMPTS - 1):
            try:
                return _change_once(store, place.platform, statement, approvals, at=at)
            except StateMovedError:
                store.refresh()
        return _change_once(store, place.platform, statement, approvals, at=at)


def _change_once(
    store: Store,
    platform: SimPlatform,
    statement: Rekey,
    approvals: Sequence[Approval],
    *,
    at: int,
) -> Rekeyed:
    secrets = store.secrets()
    to_do = require_rekey(
        statement,
        approvals,
        governance=governing(ROOT, store.tenancy, founder=secrets.owner),
        service=SigningKey(secrets.signing_seed).public,
        platform=platform.anchor,
        newest=key_change(store.tables),
        at=at,
    )
    if not to_do:
        return Rekeyed(store.head, store.key.name, changed=False, left_out=())
    before, key = store.head, StateKey(random_bytes(_KEY_BYTES))
    present = admitted(store.tables)
    slots = partial(slots_after, new=seal_next_state_key(key, platform))
    with store.changing_key(key, slots), store.transaction():
        if store.head != before:  # read just now: who decides may be somebody else
            raise StateMovedError("the state has moved on", code="keyservice.moved")
        _write_down(store, platform, statement, key, present, at=at)
    left_out = () if present is None else present.platforms
    _LOG.info("state.rekeyed record=%d key=%s", store.sequence, key.name.hex())
    others = tuple(each for each in left_out if each != platform.anchor.raw)
    return Rekeyed(store.head, key.name, changed=True, left_out=others)


def _write_down(
    store: Store,
    platform: SimPlatform,
    statement: Rekey,
    key: StateKey,
    present: Admitted | None,
    *,
    at: int,
) -> None:
    digest = statement.subject.hash
    put_key_change(store.tables, KeyChange(key.name, digest, statement.at))
    if present is not None:  # who watches still watches: the others may have a copy
        only = Admitted((platform.anchor.raw,), present.witnesses, present.quorum)
        put_admitted(store.tables, only)
    store.append(event("state.rekey", subject=platform.anchor.text, evidence=digest, at=at))
