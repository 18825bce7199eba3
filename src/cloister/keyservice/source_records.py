"""What the rules know of sources, where other stores' secrets are fetched: records, nothing else.

Spec: external-secret-v1, secret-export-v1.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloister.crypto.signature import VerifyingKey
from cloister.errors import RefusedError
from cloister.keyservice.domain import log_origin
from cloister.keyservice.genuine import ServiceReference
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy.secret_rules import ExternalForm, RemoteForm

__all__ = ["Fetched", "Refusal", "ServiceSource", "SourceRecord", "Wanted"]


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
class ServiceSource:
    """Another key service whose secrets policies of a namespace may name; nothing of it is secret.

    Attributes:
        namespace: Whose policies may name it: those of exactly this namespace.
        name: Its name there.
        address: `HOST:PORT`, as the operator has to allow it.
        service: Its identity.
        trust_domain: Its trust domain's name.
        hpke_key: Its key for secrets, which its evidence binds.
        reference: What it must prove to run.
        at: When it was registered.
    """

    namespace: str
    name: str
    address: str
    service: VerifyingKey
    trust_domain: str
    hpke_key: bytes
    reference: ServiceReference
    at: int

    @property
    def pinned(self) -> PinnedService:
        """What checks its answers and its log."""
        return PinnedService(self.service, log_origin(self.trust_domain))


@dataclass(frozen=True, slots=True, repr=False)
class Fetched:
    """A value as its source gave it. Its `repr` shows nothing.

    Attributes:
        value: Secret.
        until: The last second in which it may be used; of no meaning for one of a vault.
    """

    value: bytes
    until: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Another key service's signed no to exactly what was asked."""

    error: RefusedError


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value that a policy in force declares and that is fetched: once, or again and again."""

    namespace: str
    policy: str
    name: str
    epoch: int
    form: ExternalForm | RemoteForm

    @property
    def label(self) -> str:
        """How the log and its owner name it."""
        return f"{self.namespace}/{self.policy}/{self.name}@{self.epoch}"
