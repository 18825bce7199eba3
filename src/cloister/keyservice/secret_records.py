"""What the rules know of secrets: records, and the protocol that looks them up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from cloister.keyservice.records import PolicyRecord

__all__ = ["EpochMark", "SecretRecord", "SecretRecords"]


@dataclass(frozen=True, slots=True, repr=False)
class SecretRecord:
    """One value of one secret. Its `repr` shows no part of it.

    Attributes:
        namespace: Of the policy that declares it.
        policy: That policy's name.
        name: Its name there.
        epoch: Its epoch.
        kind: Such as `password`.
        parts: Name to bytes: `value`, or keys and certificates; most of them secret.
        at: When it was made, put or fetched.
        until: The last second in which a value of another key service may be used; such a value
            without it resolves nowhere. Of no meaning for other kinds.
    """

    namespace: str
    policy: str
    name: str
    epoch: int
    kind: str
    parts: Mapping[str, bytes]
    at: int
    until: int = 0

    def usable(self, at: int) -> bool:
        """Tell whether its exporter lets it be used now; what has no exporter always is."""
        return self.kind != "remote" or at <= self.until

    def __repr__(self) -> str:
        """Show which secret it is."""
        return f"SecretRecord({self.namespace}/{self.policy}/{self.name}@{self.epoch})"


@dataclass(frozen=True, slots=True)
class EpochMark:
    """The newest epoch that a secret ever had, and the digest of its form; empty once removed."""

    epoch: int
    form: bytes


class SecretRecords(Protocol):
    """Looks up policies and secrets. Looking decides nothing and changes nothing."""

    def current_policy(self, namespace: str, name: str) -> PolicyRecord | None:
        """Return the newest policy of that name."""
        ...

    def secret(self, namespace: str, policy: str, name: str, epoch: int) -> SecretRecord | None:
        """Return one value, if it was made or put and not erased."""
        ...
