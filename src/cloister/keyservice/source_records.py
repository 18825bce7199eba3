"""What the rules know of sources, where other stores' secrets are fetched: records, nothing else.

Spec: external-secret-v1.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloister.keyservice.policy.secret_rules import ExternalForm

__all__ = ["SourceRecord", "Wanted"]


@dataclass(frozen=True, slots=True, repr=False)
class SourceRecord:
    """A store of the namespace's own, and the token that reads from it.

    Attributes:
        namespace: Whose policies may name it: those of exactly this namespace.
        name: Its name there.
        address: `HOST:PORT`, as the operator has to allow it.
        ca: PEM of the authorities that its certificate must come from; no others count.
        token: What it lets us in with; secret.
        at: When it was registered.
    """

    namespace: str
    name: str
    address: str
    ca: bytes
    token: bytes
    at: int

    def __repr__(self) -> str:
        """Show no secret."""
        return f"SourceRecord({self.namespace}/{self.name} at {self.address})"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value that a policy in force declares, and that nobody has fetched yet."""

    namespace: str
    policy: str
    name: str
    epoch: int
    form: ExternalForm

    @property
    def label(self) -> str:
        """How the log and its owner name it."""
        return f"{self.namespace}/{self.policy}/{self.name}@{self.epoch}"
