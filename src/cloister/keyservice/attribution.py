"""Whose an entry of the log is: the namespace that it concerns, by what the service knows now.

Entries do not say. What they name does: a policy, a volume, a charter, a client. An entry that
names nothing that is known concerns nobody but the readers of the whole log; so does a commitment.

Spec: release-log-v1, clauses RL-60 to RL-62.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.x509 import Identity
from cloister.errors import CloisterError
from cloister.keyservice.log import LogEntry, read_leaf
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.records import volume_handle
from cloister.keyservice.store import Store

__all__ = ["Attribution", "within"]

_VOLUME: Final = re.compile(r"([0-9a-f]{32})(?:@(.+))?")
_NO_DIGEST: Final = bytes(DIGEST_BYTES)


def within(namespace: str, above: str) -> bool:
    """Tell whether a namespace is `above` or lies below it."""
    return above in {ROOT, namespace} or namespace.startswith(above + "/")


class Attribution:
    """Looks up whose entries are; made for one answer, since what is known changes."""

    def __init__(self, store: Store) -> None:
        """Look at a store."""
        self._store = store
        self._policies: dict[bytes, str | None] = {}
        self._by_operation: Final[dict[str, Callable[[str], str | None]]] = {
            "namespace.apply": lambda subject: subject or None,
            "client.enroll": _of_identity,
            "view.issue": _of_token,
            "view.revoke": _of_token,
            "source.put": _of_place,
            "source.pin": _of_place,
            "source.remove": _of_place,
            "volume.register": self._of_volume,
            "volume.key": self._of_volume,
            "lease.take": self._of_volume,
            "lease.break": self._of_volume,
        }

    def namespace_of(self, leaf: bytes) -> str | None:
        """Return the namespace that a leaf of the log concerns, or None for nobody's."""
        entry = read_leaf(leaf)
        if not isinstance(entry, LogEntry):
            return None
        found = self._by_operation.get(entry.operation)
        if found is not None:
            return found(entry.subject)
        return None if entry.policy == _NO_DIGEST else self._of_policy(entry.policy)

    def _of_policy(self, digest: bytes) -> str | None:
        if digest not in self._policies:
            self._policies[digest] = self._find_policy(digest)
        return self._policies[digest]

    def _find_policy(self, digest: bytes) -> str | None:
        record = self._store.policy(digest)
        if record is not None:
            return record.namespace
        for proposal in self._store.tenancy.proposals():
            if proposal.subject.hash == digest:
                return proposal.subject.namespace
        return None

    def _of_volume(self, subject: str) -> str | None:
        found = _VOLUME.fullmatch(subject)
        if found is None:
            return None
        record = self._store.volume(volume_handle(bytes.fromhex(found[1]), found[2] or ROOT))
        return None if record is None else record.namespace


def _of_place(subject: str) -> str | None:
    return subject.rpartition("/")[0] or None


def _of_token(subject: str) -> str | None:
    return subject.partition("@")[2] or None


def _of_identity(subject: str) -> str | None:
    try:
        return Identity.from_uri(subject).namespace
    except CloisterError:
        return None
