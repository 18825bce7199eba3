"""What the rules know of the service's state: records, and the protocol that looks them up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cloister.crypto.keyring import FIRST_KEY_EPOCH, KeyRing
from cloister.keyservice.namespaces import ROOT

__all__ = ["Holder", "PolicyRecord", "Records", "VolumeRecord", "volume_handle"]


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A policy that came into force.

    Attributes:
        hash: SHA-256 of `canonical`.
        canonical: Its canonical bytes.
        namespace: The tenant.
        name: Its name there.
        current: False once a successor was applied.
        at: When it was applied.
    """

    hash: bytes
    canonical: bytes
    namespace: str
    name: str
    current: bool
    at: int


@dataclass(frozen=True, slots=True, repr=False)
class Holder:
    """Who holds a volume's lease: the digest of the key that it was sealed to, and its secret."""

    key_digest: bytes
    secret: bytes


@dataclass(frozen=True, slots=True, repr=False)
class VolumeRecord:
    """A registered volume.

    Attributes:
        id: Its 16-byte identity.
        key: The 32 secret bytes that it is sealed under from now on.
        kind: What its owner calls it, such as `data`, `code` or `model`.
        version: Of the anchored state; 0 if it was never committed.
        root: Of the anchored state.
        state_epoch: Epoch of the writer who anchored it; 0 for the owner's registration.
        epoch: The last epoch that was given out.
        holder: Of the lease, if one was taken and not released.
        namespace: Whose policies may use it: those that the same charter governs.
        registrant: Public key of whoever registered it; empty where nobody wrote it down.
        tenant: The namespace whose charter governed `namespace` when it was registered. Tenants do
            not see each other's identities: several may have registered one.
        key_epoch: Of `key`; each newer key has the next.
        older_keys: Those that are kept of the epochs before, oldest first.
        oldest_key: The lowest key epoch that the anchored state is sealed under.
    """

    id: bytes
    key: bytes
    kind: str
    version: int
    root: bytes
    state_epoch: int
    epoch: int
    holder: Holder | None
    namespace: str = ROOT
    registrant: bytes = b""
    tenant: str = ROOT
    key_epoch: int = FIRST_KEY_EPOCH
    older_keys: tuple[bytes, ...] = ()
    oldest_key: int = FIRST_KEY_EPOCH

    @property
    def keys(self) -> KeyRing:
        """Every key that is kept."""
        return KeyRing(self.key_epoch, (*self.older_keys, self.key))

    @property
    def handle(self) -> bytes:
        """What tells it from every other volume of the service."""
        return volume_handle(self.id, self.tenant)

    @property
    def label(self) -> str:
        """How the log names it."""
        return self.id.hex() if self.tenant == ROOT else f"{self.id.hex()}@{self.tenant}"


def volume_handle(volume_id: bytes, tenant: str) -> bytes:
    """Return what tells a tenant's volume from every other; the root's is known by its identity."""
    return volume_id if tenant == ROOT else volume_id + tenant.encode()


class Records(Protocol):
    """Looks up what the service knows. Looking decides nothing and changes nothing."""

    def policy(self, digest: bytes) -> PolicyRecord | None:
        """Return the policy with this hash, current or not."""
        ...

    def current_policy(self, namespace: str, name: str) -> PolicyRecord | None:
        """Return the newest policy of that name."""
        ...

    def governor(self, namespace: str) -> str:
        """Return the namespace whose charter governs this one; `/` for the root."""
        ...

    def volume_in(self, volume_id: bytes, governor: str) -> VolumeRecord | None:
        """Return the volume of that identity which the charter of `governor` governs now."""
        ...
