"""Secrets in the service's state: looked up, kept, and brought in line with a policy update.

Every change happens inside a transaction of the caller's, with its log entry.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.secret_rules import RemoteForm
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.secret_epochs import plan_epochs
from cloister.keyservice.secret_records import EpochMark, SecretRecord
from cloister.keyservice.secret_values import make_value
from cloister.keyservice.source_records import Wanted
from cloister.keyservice.source_store import SourceStore
from cloister.keyservice.state.secret_rows import (
    mark_from_row,
    mark_key,
    mark_to_row,
    secret_from_row,
    secret_key,
    secret_to_row,
)
from cloister.keyservice.store import Store
from cloister.wire import decode

__all__ = ["SecretStore"]

_SECRETS = "secrets"
_MARKS = "secret-epochs"
_MAX_KEY = 1024


@dataclass(frozen=True, slots=True)
class SecretStore:
    """The secrets of every policy; looks up policies as well, as `SecretRecords`."""

    store: Store

    def current_policy(self, namespace: str, name: str) -> PolicyRecord | None:
        """Return the newest policy of that name."""
        return self.store.current_policy(namespace, name)

    def secret(self, namespace: str, policy: str, name: str, epoch: int) -> SecretRecord | None:
        """Return one value, if it was made or put and not erased."""
        data = self.store.tables.get(_SECRETS, secret_key(namespace, policy, name, epoch))
        return None if data is None else secret_from_row(data)

    def put(self, record: SecretRecord) -> None:
        """Add or replace a value; inside a transaction."""
        key = secret_key(record.namespace, record.policy, record.name, record.epoch)
        self.store.tables.put(_SECRETS, key, secret_to_row(record))

    def erase(self, record: SecretRecord) -> None:
        """Take a value away; inside a transaction."""
        key = secret_key(record.namespace, record.policy, record.name, record.epoch)
        self.store.tables.put(_SECRETS, key, None)

    def follow(self, policy: Policy, *, at: int) -> None:
        """Make what a policy update needs and erase what it drops; inside its transaction.

        Raises:
            MalformedError: An epoch cannot be what the update says (`policy.epoch`).

        Spec: secret-release-v1, clauses SEC-30 to SEC-34.
        """
        where = (policy.namespace, policy.name)
        plan = plan_epochs(policy, marks=self._marks(policy), held=self._held(policy))
        for name, mark in plan.marks.items():
            self.store.tables.put(_MARKS, mark_key(*where, name), mark_to_row(mark))
        for name, epoch in plan.erase:
            self.store.tables.put(_SECRETS, secret_key(*where, name, epoch), None)
        secrets = policy.secrets or {}
        self._want(policy)
        for name in plan.make:
            rule, authority = secrets[name], None
            if rule.certificate is not None:
                signer = rule.certificate.authority
                held = self.secret(*where, signer, secrets[signer].current)
                authority = None if held is None else held.parts
            parts = make_value(rule, authority=authority, at=at)
            self.put(SecretRecord(*where, name, rule.current, rule.kind, parts, at))

    def namespaces(self) -> Iterator[str]:
        """Return the namespace of each value that is held; a source counts as one."""
        sources = SourceStore(self.store)
        yield from (source.namespace for source in sources.sources())
        yield from (source.namespace for source in sources.services())
        for key, _ in self.store.tables.rows(_SECRETS):
            parts = decode(key, max_bytes=_MAX_KEY)
            if isinstance(parts, list):
                yield str(parts[0])

    def _want(self, policy: Policy) -> None:
        """Note which values have to be fetched now, in place of what the predecessor wanted."""
        where, secrets = (policy.namespace, policy.name), policy.secrets or {}
        sources = SourceStore(self.store)
        wanted = [
            Wanted(*where, name, rule.current, rule.external)
            for name, rule in secrets.items()
            if rule.external is not None and self.secret(*where, name, rule.current) is None
        ]
        wanted += [
            Wanted(*where, name, rule.current, rule.remote)
            for name, rule in secrets.items()
            if rule.remote is not None
        ]
        # What another key service exports is asked for again while an epoch can be read.
        wanted += [
            before
            for before in sources.wanted()
            if (before.namespace, before.policy) == where
            and isinstance(before.form, RemoteForm)
            and before.name in secrets
            and before.epoch in (secrets[before.name].readable or ())
        ]
        sources.want(*where, wanted)

    def _marks(self, policy: Policy) -> dict[str, EpochMark]:
        found: dict[str, EpochMark] = {}
        for key, data in self.store.tables.rows(_MARKS):
            parts = decode(key, max_bytes=_MAX_KEY)
            if isinstance(parts, list) and parts[:2] == [policy.namespace, policy.name]:
                found[str(parts[2])] = mark_from_row(data)
        return found

    def _held(self, policy: Policy) -> set[tuple[str, int]]:
        """Return what a policy of this name has values for."""
        found = set[tuple[str, int]]()
        for key, _ in self.store.tables.rows(_SECRETS):
            parts = decode(key, max_bytes=_MAX_KEY)
            if isinstance(parts, list) and parts[:2] == [policy.namespace, policy.name]:
                found.add((str(parts[2]), int(str(parts[3]))))
        return found
