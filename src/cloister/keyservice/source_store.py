"""Sources, and what is wanted from them, in the service's state.

Every change happens inside a transaction of the caller's, with its log entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cloister.keyservice.source_records import ServiceSource, SourceRecord, Wanted
from cloister.keyservice.state.secret_rows import secret_key
from cloister.keyservice.state.source_rows import (
    SERVICE_SOURCES_TABLE,
    SOURCES_TABLE,
    WANTED_TABLE,
    service_source_from_row,
    service_source_to_row,
    source_from_row,
    source_key,
    source_to_row,
    wanted_from_row,
    wanted_to_row,
)
from cloister.keyservice.store import Store

__all__ = ["SourceStore"]


@dataclass(frozen=True, slots=True)
class SourceStore:
    """The rows of three tables as records."""

    store: Store

    def source(self, namespace: str, name: str) -> SourceRecord | None:
        """Return a source of exactly this namespace."""
        data = self.store.tables.get(SOURCES_TABLE, source_key(namespace, name))
        return None if data is None else source_from_row(data)

    def sources(self) -> Iterator[SourceRecord]:
        """Return every source."""
        return (source_from_row(data) for _, data in self.store.tables.rows(SOURCES_TABLE))

    def service(self, namespace: str, name: str) -> ServiceSource | None:
        """Return a key service that is a source of exactly this namespace."""
        data = self.store.tables.get(SERVICE_SOURCES_TABLE, source_key(namespace, name))
        return None if data is None else service_source_from_row(data)

    def services(self) -> Iterator[ServiceSource]:
        """Return every source that is a key service."""
        rows = self.store.tables.rows(SERVICE_SOURCES_TABLE)
        return (service_source_from_row(data) for _, data in rows)

    def put(self, record: SourceRecord) -> None:
        """Add a source."""
        key = source_key(record.namespace, record.name)
        self.store.tables.put(SOURCES_TABLE, key, source_to_row(record))

    def put_service(self, record: ServiceSource) -> None:
        """Add a source that is a key service."""
        key = source_key(record.namespace, record.name)
        self.store.tables.put(SERVICE_SOURCES_TABLE, key, service_source_to_row(record))

    def remove(self, namespace: str, name: str) -> None:
        """Take a source away, and its token if it has one."""
        for table in (SOURCES_TABLE, SERVICE_SOURCES_TABLE):
            if self.store.tables.get(table, source_key(namespace, name)) is not None:
                self.store.tables.put(table, source_key(namespace, name), None)

    def wanted(self) -> list[Wanted]:
        """Return every value that a policy in force declares and that is to be fetched."""
        return [wanted_from_row(data) for _, data in self.store.tables.rows(WANTED_TABLE)]

    def is_wanted(self, wanted: Wanted) -> bool:
        """Tell whether exactly this is still wanted."""
        return self.store.tables.get(WANTED_TABLE, _key(wanted)) == wanted_to_row(wanted)

    def arrived(self, wanted: Wanted) -> None:
        """Want a value no more."""
        self.store.tables.put(WANTED_TABLE, _key(wanted), None)

    def want(self, namespace: str, policy: str, values: Iterable[Wanted]) -> None:
        """Replace what the policy of this name wants."""
        for before in self.wanted():
            if (before.namespace, before.policy) == (namespace, policy):
                self.arrived(before)
        for wanted in values:
            self.store.tables.put(WANTED_TABLE, _key(wanted), wanted_to_row(wanted))


def _key(wanted: Wanted) -> bytes:
    return secret_key(wanted.namespace, wanted.policy, wanted.name, wanted.epoch)
