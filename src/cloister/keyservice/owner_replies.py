"""What a key service answers to an owner's operations: plain facts, and how they are read.

An answer was opened with a key of the asker's, so it is the pinned service's to this request; what
it says is untrusted beyond that.

Spec: key-release-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloister.crypto.keyring import KeyRing
from cloister.errors import MalformedError
from cloister.keyservice.anchors import AnchoredState
from cloister.keyservice.budget_records import BudgetStatus, Spent
from cloister.keyservice.bundle import Lease
from cloister.keyservice.log import MAX_ENTRY_BYTES, MAX_PROOF, Checkpoint, Receipt
from cloister.wire import Fields, Value

__all__ = [
    "EnrolledClient",
    "JobStatus",
    "LogPage",
    "OwnerLease",
    "ServiceStatus",
    "read_budget",
    "read_octets",
    "read_owner_lease",
    "read_receipt",
    "read_records",
    "read_role_count",
]


@dataclass(frozen=True, slots=True, repr=False)
class OwnerLease:
    """A volume as its owner holds it: keys, state, and for writing a lease."""

    keys: KeyRing
    state: AnchoredState
    lease: Lease | None


@dataclass(frozen=True, slots=True)
class EnrolledClient:
    """A client's identity: SPIFFE ID, certificate and authority, all public."""

    identity: str
    certificate: bytes
    ca: bytes


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What the key service holds; nothing secret. `policies` and `volumes` are plain records."""

    policies: tuple[Mapping[str, Value], ...]
    volumes: tuple[Mapping[str, Value], ...]
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job: its policy's hash and epoch, and each role's (live, maximum or None)."""

    namespace: str
    name: str
    policy: bytes
    epoch: int
    roles: Mapping[str, tuple[int, int | None]]


@dataclass(frozen=True, slots=True)
class LogPage:
    """Leaves of the log, the newest checkpoint with its note, and the proof from an older size."""

    leaves: tuple[bytes, ...]
    note: str
    checkpoint: Checkpoint
    consistency: tuple[bytes, ...]


def read_owner_lease(fields: Fields, *, lease: Lease | None) -> OwnerLease:
    """Read what a request for a volume's key brings."""
    keys = KeyRing.from_fields(fields)
    version, root = fields.integer("version"), fields.octets("root", length=32)
    state = AnchoredState(version, root, fields.integer("epoch"))
    fields.end()
    return OwnerLease(keys, state, lease)


def read_role_count(fields: Fields) -> tuple[int, int | None]:
    """Read how many members a role has, and how many it may have."""
    live = fields.integer("live")
    maximum = fields.integer("maximum") if fields.has("maximum") else None
    fields.end()
    return live, maximum


def read_budget(item: Value) -> BudgetStatus:
    """Read a budget and what was spent of it."""
    fields = Fields(item, what="budget")
    name = fields.text("name", max_length=63)
    status = BudgetStatus(
        name=name,
        limit=fields.integer("limit") if fields.has("limit") else None,
        floor=fields.integer("floor"),
        names=fields.integer("names"),
        total=fields.integer("total"),
        spent=tuple(_read_spent(name, each) for each in fields.array("spent", max_items=1 << 16)),
    )
    fields.end()
    return status


def _read_spent(budget: str, item: Value) -> Spent:
    fields = Fields(item, what="budget")
    spent = Spent(
        budget=budget,
        principal=fields.text("principal", max_length=255),
        amount=fields.integer("amount"),
        at=fields.integer("at"),
    )
    fields.end()
    return spent


def read_octets(items: list[Value]) -> tuple[bytes, ...]:
    """Take items that must all be byte strings."""
    found = tuple(item for item in items if isinstance(item, bytes))
    if len(found) != len(items):
        raise MalformedError("log.read: not byte strings", code="message.malformed")
    return found


def read_receipt(item: Value, note: str) -> Receipt:
    """Read an entry of the log with its proof, under the checkpoint of its page."""
    fields = Fields(item, what="log entry")
    receipt = Receipt(
        entry=fields.octets("leaf", max_length=MAX_ENTRY_BYTES),
        index=fields.integer("index"),
        proof=read_octets(fields.array("proof", max_items=MAX_PROOF)),
        checkpoint=note,
    )
    fields.end()
    return receipt


def read_records(items: list[Value]) -> tuple[Mapping[str, Value], ...]:
    """Take the items that are plain records."""
    return tuple(item for item in items if isinstance(item, Mapping))
