"""The service's state as the service sees it: typed rows over the journal of `state`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from cloister.crypto.kdf import random_bytes
from cloister.keyservice.namespaces import ROOT, lineage
from cloister.keyservice.records import PolicyRecord, VolumeRecord, volume_handle
from cloister.keyservice.state import rows
from cloister.keyservice.state.backend import Backend
from cloister.keyservice.state.format import upgrade_tables
from cloister.keyservice.state.freshness import Freshness, PlatformFreshness, SharedFreshness
from cloister.keyservice.state.journal import Journal
from cloister.keyservice.state.platform_key import PlatformKey, seal_state_key
from cloister.keyservice.state.postgres import PostgresBackend
from cloister.keyservice.state.record import StateKey
from cloister.keyservice.state.rows import ServiceSecrets
from cloister.keyservice.state.sqlcipher import SQLCipherBackend
from cloister.keyservice.state.tenancy import TenancyTables
from cloister.tee.sim.platform import MonotonicCounter, SimPlatform

__all__ = ["COUNTER", "DATABASE_PURPOSE", "ServiceSecrets", "Store"]

_KEY_BYTES: Final = 32
DATABASE_PURPOSE: Final = b"cloister/keyservice/v1/database"
COUNTER: Final = "keyservice"


class Store(Journal):
    """The open state; `create` and `open` choose backend and witness."""

    @classmethod
    def create(cls, directory: Path, platform: SimPlatform, secrets: ServiceSecrets) -> None:
        """Make a new embedded state in a directory that exists and is the service's own.

        Raises:
            ConfigError: There is one already.
        """
        backend = SQLCipherBackend.create(directory, platform.sealing_key(DATABASE_PURPOSE))
        freshness = PlatformFreshness(platform.counter(COUNTER))
        cls.found(backend, platform, freshness, secrets).close()

    @classmethod
    def open(cls, directory: Path, platform: SimPlatform) -> Store:
        """Open an embedded state, checking all of it.

        Raises:
            UnavailableError: Another process has it open (`keyservice.busy`), or the disk fails
                (`keyservice.state`).
            TamperedError: Missing, foreign or changed (`state.tampered`), or an old copy
                (`state.rolled-back`).
        """
        backend = SQLCipherBackend.open(directory, platform.sealing_key(DATABASE_PURPOSE))
        freshness = PlatformFreshness(platform.counter(COUNTER))
        return cls.load(backend, platform, freshness)

    @classmethod
    def inspect(
        cls,
        directory: Path,
        platform: SimPlatform,
        witness: Callable[[MonotonicCounter], Freshness],
    ) -> Store:
        """Open an embedded state like `open`, with a witness that only looks."""
        backend = SQLCipherBackend.open(directory, platform.sealing_key(DATABASE_PURPOSE))
        return cls.load(backend, platform, witness(platform.counter(COUNTER)))

    @classmethod
    def create_shared(cls, address: str, platform: SimPlatform, secrets: ServiceSecrets) -> None:
        """Make a new state in an empty PostgreSQL database.

        Raises:
            ConfigError: There is one already, or the address is none.
            UnavailableError: The server does not answer.
        """
        backend = PostgresBackend.create(address)
        freshness = SharedFreshness(platform.counter(COUNTER))
        cls.found(backend, platform, freshness, secrets).close()

    @classmethod
    def open_shared(cls, address: str, platform: SimPlatform) -> Store:
        """Open a state in PostgreSQL beside whatever other replicas have it open.

        Raises:
            ConfigError: The address is none, or a newer version wrote the state (`state.newer`).
            UnavailableError: The server does not answer (`keyservice.database`).
            TamperedError: Missing, foreign or changed (`state.tampered`), or an old copy
                (`state.rolled-back`).
        """
        backend = PostgresBackend.open(address)
        return cls.load(backend, platform, SharedFreshness(platform.counter(COUNTER)))

    @classmethod
    def found(
        cls,
        backend: Backend,
        platform: SimPlatform,
        freshness: Freshness,
        secrets: ServiceSecrets,
    ) -> Store:
        """Begin a state in an empty backend, under a fresh key that this platform can unseal."""
        key = StateKey(random_bytes(_KEY_BYTES))
        backend.put_slot(*seal_state_key(key, platform))
        store = cls(backend, key, freshness)
        with store.transaction():
            for name, value in rows.secrets_to_rows(secrets).items():
                store._tables.put("meta", name.encode(), value)
            upgrade_tables(store._tables)
        return store

    @classmethod
    def load(cls, backend: Backend, platform: SimPlatform, freshness: Freshness) -> Store:
        """Read the state of a backend; closes backend and witness where that fails.

        Raises:
            TamperedError: This platform cannot unseal it, it was changed (`state.tampered`), its
                key was changed on another platform (`state.key-changed`), or it is an old copy
                (`state.rolled-back`).
        """
        source = PlatformKey(backend, platform)
        try:
            key = source.unlock()
        except BaseException:
            freshness.close()
            backend.close()
            raise
        return cls.load_with(backend, key, freshness, source=source)

    # -- what makes the service

    def secrets(self) -> ServiceSecrets:
        """Return what makes the service."""
        return rows.secrets_from_rows(dict(self._tables.rows("meta")))

    # -- policies

    def policy(self, digest: bytes) -> PolicyRecord | None:
        """Return the policy with this hash, current or not."""
        data = self._tables.get("policies", digest)
        if data is None:
            return None
        record = rows.policy_from_row(digest, data, current=False)
        newest = self._tables.get("current", rows.name_key(record.namespace, record.name))
        return replace(record, current=newest == digest)

    def current_policy(self, namespace: str, name: str) -> PolicyRecord | None:
        """Return the newest policy of that name."""
        digest = self._tables.get("current", rows.name_key(namespace, name))
        return None if digest is None else self.policy(digest)

    def policies(self) -> list[PolicyRecord]:
        """Return every policy, oldest first."""
        found = [self.policy(digest) for digest, _ in self._tables.rows("policies")]
        return [record for record in found if record is not None]

    def put_policy(self, record: PolicyRecord) -> None:
        """Add a policy as the current one of its name; inside a transaction."""
        self._tables.put("policies", record.hash, rows.policy_to_row(record))
        self._tables.put("current", rows.name_key(record.namespace, record.name), record.hash)

    # -- volumes

    def volume(self, handle: bytes) -> VolumeRecord | None:
        """Return a registered volume by its handle; the root's by its identity."""
        data = self._tables.get("volumes", handle)
        return None if data is None else rows.volume_from_row(handle, data)

    def volume_in(self, volume_id: bytes, governor: str) -> VolumeRecord | None:
        """Return the volume of that identity which the charter of `governor` governs now.

        Whoever governed when it was registered stood there or above.
        """
        for tenant in lineage(governor):
            record = self.volume(volume_handle(volume_id, tenant))
            if record is not None and self.governor(record.namespace) == governor:
                return record
        return None

    def volumes_named(self, volume_id: bytes) -> list[VolumeRecord]:
        """Return every tenant's volume of that identity, the root's first."""
        data = self._tables.get("volume-tenants", volume_id)
        tenants = [ROOT] if data is None else [ROOT, *rows.tenants_from_row(data)]
        found = [self.volume(volume_handle(volume_id, tenant)) for tenant in tenants]
        return [record for record in found if record is not None]

    def volumes(self) -> list[VolumeRecord]:
        """Return every registered volume, by identity."""
        found = sorted(self._tables.rows("volumes"))
        return [rows.volume_from_row(handle, data) for handle, data in found]

    def put_volume(self, record: VolumeRecord) -> None:
        """Add or replace a volume; inside a transaction."""
        if record.tenant != ROOT and self.volume(record.handle) is None:
            others = [each.tenant for each in self.volumes_named(record.id) if each.tenant != ROOT]
            row = rows.tenants_to_row([*others, record.tenant])
            self._tables.put("volume-tenants", record.id, row)
        self._tables.put("volumes", record.handle, rows.volume_to_row(record))

    # -- who decides

    @property
    def tenancy(self) -> TenancyTables:
        """Charters, proposals and the keys that policies name."""
        return TenancyTables(self._tables)

    def governor(self, namespace: str) -> str:
        """Return the namespace whose charter governs this one; `/` for the root."""
        return self.tenancy.governor(namespace)
