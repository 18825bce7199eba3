"""Values that other stores keep: which are wanted, and what becomes of one that was fetched.

Decides and keeps; fetching is `fetching`, and happens before: no decision waits for another store.

Invariants:
    1. A value is kept for an epoch once; what the source says later changes nothing.
    2. It is kept only while the policy in force wants exactly that, of the source that was asked.
    3. Neither value nor token is in any log line, log entry, error or `repr`.

Spec: external-secret-v1, clauses EXT-40 to EXT-46.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.kdf import random_bytes
from cloister.keyservice.clock import Moment
from cloister.keyservice.log import LogEntry
from cloister.keyservice.scope import Scope
from cloister.keyservice.secret_records import SecretRecord
from cloister.keyservice.secret_store import SecretStore
from cloister.keyservice.source_messages import Trouble
from cloister.keyservice.source_records import SourceRecord, Wanted
from cloister.keyservice.source_store import SourceStore

__all__ = ["Errand", "ExternalSecrets"]

_NO_DIGEST: Final = bytes(DIGEST_BYTES)
_OPERATION: Final = "secret.fetch"


@dataclass(frozen=True, slots=True)
class Errand:
    """What to fetch, and where; `tenant` is the namespace whose charter governs it."""

    wanted: Wanted
    source: SourceRecord
    tenant: str


class ExternalSecrets:
    """The values of one service that come from elsewhere."""

    def __init__(self, secrets: SecretStore, scope: Scope) -> None:
        """Share the service's parts."""
        self._secrets = secrets
        self._scope = scope
        self._sources = SourceStore(secrets.store)
        self._troubles: dict[Wanted, Trouble] = {}

    def errands(self) -> list[Errand]:
        """Return what could be fetched now: what is wanted from a source that there is."""
        store = self._secrets.store
        wanted = self._sources.wanted()
        self._troubles = {each: self._troubles[each] for each in wanted if each in self._troubles}
        found = [
            Errand(each, source, store.governor(each.namespace))
            for each in wanted
            if (source := self._sources.source(each.namespace, each.form.source)) is not None
        ]
        return sorted(found, key=lambda errand: errand.wanted.label)

    def keep(self, errand: Errand, value: bytes, moment: Moment) -> None:
        """Keep a fetched value as that of its epoch; one that nobody wants any more is dropped.

        Raises:
            ReleaseDeniedError: The namespace may hold no more secrets (`quota.exceeded`).
        """
        wanted, source = errand.wanted, errand.source
        policy = self._secrets.current_policy(wanted.namespace, wanted.policy)
        present = self._sources.source(source.namespace, source.name)
        if policy is None or present != source or not self._sources.is_wanted(wanted):
            return
        with self._secrets.store.transaction():
            self._sources.arrived(wanted)
            self._secrets.put(
                SecretRecord(
                    wanted.namespace,
                    wanted.policy,
                    wanted.name,
                    wanted.epoch,
                    "external",
                    {"value": value},
                    moment.at,
                )
            )
            self._scope.require_within(wanted.namespace, "secrets", self._secrets.namespaces)
            self._secrets.store.append(
                LogEntry(
                    at=moment.at,
                    operation=_OPERATION,
                    code="",
                    policy=policy.hash,
                    subject=wanted.label,
                    instance="",
                    evidence=_NO_DIGEST,
                    # RL-8. Nobody asked, so nothing else in the leaf is hard to guess.
                    requester=random_bytes(DIGEST_BYTES),
                ).to_bytes()
            )

    def note_trouble(self, errand: Errand, *, code: str, message: str) -> None:
        """Remember, in memory only, why the newest try failed."""
        self._troubles[errand.wanted] = Trouble(errand.wanted.label, code, message)

    def waiting(self, source: SourceRecord) -> tuple[Trouble, ...]:
        """Return what is wanted from a source, and why it is not there yet."""
        return tuple(
            self._troubles.get(each, Trouble(each.label, "", ""))
            for each in self._sources.wanted()
            if (each.namespace, each.form.source) == (source.namespace, source.name)
        )
