"""Values that other stores keep: which are wanted, and what becomes of one that was fetched.

Decides and keeps; fetching is `fetching`, and happens before: no decision waits for another store.

Invariants:
    1. A value is kept for an epoch once; what the source says later changes nothing, unless it is
       another key service that refuses to give it again: then the value goes.
    2. It is kept only while the policy in force wants exactly that, of the source that was asked.
    3. Neither value nor token is in any log line, log entry, error or `repr`.

Spec: external-secret-v1, clauses EXT-40 to EXT-46; secret-export-v1, clauses EXP-60 to EXP-64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, same_bytes
from cloister.crypto.kdf import random_bytes
from cloister.errors import MalformedError
from cloister.keyservice.clock import Moment
from cloister.keyservice.log import LogEntry
from cloister.keyservice.policy.secret_rules import RemoteForm
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.scope import Scope
from cloister.keyservice.secret_records import SecretRecord
from cloister.keyservice.secret_store import SecretStore
from cloister.keyservice.source_messages import Trouble
from cloister.keyservice.source_records import Fetched, ServiceSource, SourceRecord, Wanted
from cloister.keyservice.source_store import SourceStore

__all__ = ["Errand", "ExternalSecrets"]

_NO_DIGEST: Final = bytes(DIGEST_BYTES)
_OPERATION: Final = "secret.fetch"


@dataclass(frozen=True, slots=True)
class Errand:
    """What to fetch, and where.

    Attributes:
        wanted: What.
        source: Where.
        tenant: The namespace whose charter governs it.
        due: When, in seconds since the epoch; 0 for at once.
    """

    wanted: Wanted
    source: SourceRecord | ServiceSource
    tenant: str
    due: int


class ExternalSecrets:
    """The values of one service that come from elsewhere."""

    def __init__(self, secrets: SecretStore, scope: Scope) -> None:
        """Share the service's parts."""
        self._secrets = secrets
        self._scope = scope
        self._sources = SourceStore(secrets.store)
        self._troubles: dict[Wanted, Trouble] = {}

    def errands(self) -> list[Errand]:
        """Return what could be fetched, now or when it is due, from a source that there is."""
        store = self._secrets.store
        wanted = self._sources.wanted()
        self._troubles = {each: self._troubles[each] for each in wanted if each in self._troubles}
        found = [
            Errand(each, source, store.governor(each.namespace), self._due(each))
            for each in wanted
            if (source := self._source(each)) is not None
        ]
        return sorted(found, key=lambda errand: errand.wanted.label)

    def keep(self, errand: Errand, fetched: Fetched, moment: Moment) -> None:
        """Keep a fetched value as that of its epoch; one that nobody wants any more is dropped.

        Raises:
            ReleaseDeniedError: The namespace may hold no more secrets (`quota.exceeded`).
            MalformedError: Another key service gave another value for this epoch before
                (`source.malformed`).
        """
        wanted = errand.wanted
        policy = self._policy(errand)
        if policy is None:
            return
        remote = isinstance(wanted.form, RemoteForm)
        present = self._present(wanted)
        # EXP-61. An epoch names one value, on both sides.
        if present is not None and not same_bytes(present.parts["value"], fetched.value):
            raise MalformedError(
                "the source has another value for this epoch than before", code="source.malformed"
            )
        with self._secrets.store.transaction():
            if not remote:
                self._sources.arrived(wanted)
            self._secrets.put(
                SecretRecord(
                    wanted.namespace,
                    wanted.policy,
                    wanted.name,
                    wanted.epoch,
                    "remote" if remote else "external",
                    {"value": fetched.value},
                    moment.at,
                    until=fetched.until if remote else 0,
                )
            )
            self._scope.require_within(wanted.namespace, "secrets", self._secrets.namespaces)
            self._note(wanted, policy, moment, code="")
        self._troubles.pop(wanted, None)

    def refused(self, errand: Errand, moment: Moment, *, code: str) -> None:
        """Erase a value that its exporter, asked again, does not let us have any more.

        Args:
            errand: A key service signed its refusal of exactly this.
            moment: Now.
            code: Of the refusal, for the log.

        Spec: EXP-63.
        """
        policy, present = self._policy(errand), self._present(errand.wanted)
        if policy is None or present is None or present.kind != "remote":
            return
        with self._secrets.store.transaction():
            self._secrets.erase(present)
            self._note(errand.wanted, policy, moment, code=code)

    def note_trouble(self, errand: Errand, *, code: str, message: str) -> None:
        """Remember, in memory only, why the newest try failed."""
        self._troubles[errand.wanted] = Trouble(errand.wanted.label, code, message)

    def waiting(self, source: SourceRecord | ServiceSource) -> tuple[Trouble, ...]:
        """Return what is wanted from a source and not there, or not again, and why."""
        return tuple(
            self._troubles.get(each, Trouble(each.label, "", ""))
            for each in self._sources.wanted()
            if (each.namespace, each.form.source) == (source.namespace, source.name)
            and (each in self._troubles or self._present(each) is None)
        )

    def _source(self, wanted: Wanted) -> SourceRecord | ServiceSource | None:
        """Return where a value comes from: a source of its own kind."""
        if isinstance(wanted.form, RemoteForm):
            return self._sources.service(wanted.namespace, wanted.form.source)
        return self._sources.source(wanted.namespace, wanted.form.source)

    def _present(self, wanted: Wanted) -> SecretRecord | None:
        return self._secrets.secret(wanted.namespace, wanted.policy, wanted.name, wanted.epoch)

    def _due(self, wanted: Wanted) -> int:
        """EXP-62. A value that lasts for a while is asked for again after half of it."""
        present = self._present(wanted)
        return 0 if present is None else (present.at + present.until) // 2

    def _policy(self, errand: Errand) -> PolicyRecord | None:
        """Return the policy in force, if it wants exactly this of the source that was asked."""
        wanted = errand.wanted
        if self._source(wanted) != errand.source or not self._sources.is_wanted(wanted):
            return None
        return self._secrets.current_policy(wanted.namespace, wanted.policy)

    def _note(self, wanted: Wanted, policy: PolicyRecord, moment: Moment, *, code: str) -> None:
        self._secrets.store.append(
            LogEntry(
                at=moment.at,
                operation=_OPERATION,
                code=code,
                policy=policy.hash,
                subject=wanted.label,
                instance="",
                evidence=_NO_DIGEST,
                # RL-8. Nobody asked, so nothing else in the leaf is hard to guess.
                requester=random_bytes(DIGEST_BYTES),
            ).to_bytes()
        )
