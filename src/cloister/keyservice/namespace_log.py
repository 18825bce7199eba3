"""The log for whoever reads one namespace: its entries, each with the proof that it is in the log.

Of other tenants' entries nothing is said but hashes, where a proof needs them; RL-8 says why a hash
tells nothing.

Spec: key-release-v1, clause KR-85; release-log-v1, clauses RL-60 to RL-62.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from cloister.errors import RemoteProtocolError
from cloister.keyservice.attribution import Attribution, within
from cloister.keyservice.clock import Moment
from cloister.keyservice.log import Checkpoint, Receipt, verify_extension, verify_receipt
from cloister.keyservice.namespaces import require_namespace
from cloister.keyservice.ownership import OwnerRequest
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.store import Store
from cloister.wire import Fields, Value

__all__ = ["MAX_WINDOW", "NamespaceLog", "OwnLogPage", "OwnLogReader", "read_own_log"]

MAX_WINDOW: Final = 500  # 500 leaves of 4 KiB and proofs of 64 nodes fit into one reply


class NamespaceLog:
    """`log.own` over one store."""

    def __init__(self, store: Store, checkpoint: Callable[[], str]) -> None:
        """Share the service's parts; `checkpoint` returns the newest note."""
        self._store = store
        self._checkpoint = checkpoint

    def table(self) -> dict[str, Callable[[Fields, OwnerRequest, Moment], dict[str, Value]]]:
        """Return the operations by name."""
        return {"log.own": self._read}

    def _read(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        del request, moment
        size = self._store.durable_size
        namespace = require_namespace(fields.text("namespace", max_length=255))
        first = fields.integer("first", maximum=size)
        count = fields.integer("count", minimum=1, maximum=MAX_WINDOW)
        old_size = fields.integer("old_size", maximum=size)
        fields.end()
        governor, attribution = self._store.governor(namespace), Attribution(self._store)
        leaves = self._store.entries(first, min(count, size - first))
        entries: list[Value] = []
        for index, leaf in enumerate(leaves, first):
            whose = attribution.namespace_of(leaf)
            if (
                whose is not None
                and within(whose, namespace)
                and self._store.governor(whose) == governor
            ):
                proof: list[Value] = list(self._store.proofs.inclusion(index, size))
                entries.append({"index": index, "leaf": leaf, "proof": proof})
        extends: list[Value] = []
        if old_size:
            extends = list(self._store.proofs.consistency(old_size, size))
        return {
            "entries": entries,
            "next": first + len(leaves),
            "checkpoint": self._checkpoint(),
            "consistency": extends,
        }


@dataclass(frozen=True, slots=True)
class OwnLogPage:
    """A window of the log as one namespace's reader gets it; nothing of it is checked yet.

    Attributes:
        receipts: The namespace's entries in the window, each with its proof.
        following: Number of the first entry behind the window.
        checkpoint: The newest, which the pinned service signed.
        consistency: The proof that it extends the older size that was named.
    """

    receipts: tuple[Receipt, ...]
    following: int
    checkpoint: Checkpoint
    consistency: tuple[bytes, ...]


class OwnLogReader(Protocol):
    """Reads the log of one key service as somebody who may read a namespace."""

    def read_own_log_page(
        self, namespace: str, *, first: int, count: int, old_size: int
    ) -> OwnLogPage:
        """Return a window."""
        ...


def read_own_log(
    log: OwnLogReader, namespace: str, *, service: PinnedService
) -> Iterator[tuple[Receipt, Checkpoint]]:
    """Yield every entry of a namespace, in order, after checking that the log has it.

    What is not shown is not noticed: that needs a copy of the whole log, or receipts of one's own.

    Args:
        log: Untrusted but for the checkpoints' signatures.
        namespace: One that the reader may read.
        service: Pinned.

    Raises:
        TamperedError: An entry is not in the log, or a newer checkpoint extends no older one
            (`log.proof`).
        RemoteProtocolError: Entries come twice, out of order, or without end (`protocol.remote`).
        CloisterError: By the transport or the service.
    """
    first, newest = 0, -1
    old: Checkpoint | None = None
    while old is None or first < old.size:
        size = 0 if old is None else old.size
        page = log.read_own_log_page(namespace, first=first, count=MAX_WINDOW, old_size=size)
        if old is not None and old.size:
            verify_extension(old, page.checkpoint, page.consistency)
        for receipt in page.receipts:
            verify_receipt(receipt, service=service.identity, origin=service.origin)
            if not max(first - 1, newest) < receipt.index < page.following:
                raise _out_of_order()
            newest = receipt.index
            yield receipt, page.checkpoint
        old = page.checkpoint
        if page.following <= first < old.size:
            raise _out_of_order()
        first = page.following


def _out_of_order() -> RemoteProtocolError:
    return RemoteProtocolError(
        "the key service gave entries of its log out of order", code="protocol.remote"
    )
