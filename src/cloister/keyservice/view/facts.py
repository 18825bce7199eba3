"""What may be looked at, as values for JSON; no key, no secret of a lease, ever. Reads, no more.

Spec: keyservice-http-v1, clauses KH-10 to KH-17.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from cloister import __version__
from cloister.crypto.digest import digest_to_text
from cloister.errors import CloisterError, ReleaseDeniedError
from cloister.keyservice.attribution import Attribution
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.log import LogEntry, StateCommitment, read_leaf
from cloister.keyservice.messages import PROTOCOL_VERSION
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.policy.canonical import policy_from_canonical
from cloister.keyservice.policy.description import describe
from cloister.keyservice.records import PolicyRecord, VolumeRecord
from cloister.keyservice.store import Store
from cloister.tee.registry import ROOTS_OF_TRUST

__all__ = ["MAX_ENTRIES", "MAX_RECORDS", "Facts", "JSONValue"]

JSONValue = dict[str, object]
MAX_ENTRIES: Final = 100
MAX_RECORDS: Final = 500
_MAX_ENTRIES_BYTES: Final = 131072


class Facts:
    """One service's facts, read when they are asked for."""

    def __init__(
        self,
        domain: TrustDomain,
        store: Store,
        checkpoint: Callable[[], str],
        *,
        sees: Callable[[str], bool],
    ) -> None:
        """Take what there is to show.

        Args:
            domain: The public facts.
            store: The open state.
            checkpoint: Signs the newest one.
            sees: Whether whoever looks may read what lies in a namespace; what he may not read
                is not there.
        """
        self._sees = sees
        self._domain = domain
        self._store = store
        self.checkpoint: Final = checkpoint

    def seen_by(self, sees: Callable[[str], bool]) -> Facts:
        """Return the same facts as somebody else sees them."""
        return Facts(self._domain, self._store, self.checkpoint, sees=sees)

    def service(self) -> JSONValue:
        """Who this is. None of it is to be believed before it is compared with what is pinned."""
        domain = self._domain
        kinds = {root.name: root.hardware_rooted for root in ROOTS_OF_TRUST}
        return {
            "trust_domain": domain.name,
            "identity": domain.identity.text,
            "hpke": "hpke:" + domain.hpke.raw.hex(),
            "ca": domain.ca.decode(),
            "owner": domain.owner.text,
            "log_origin": domain.origin,
            "roots_of_trust": {
                name: {
                    "hardware_rooted": kinds.get(name, False),
                    "anchors": [anchor.text for anchor in anchors],
                }
                for name, anchors in sorted(domain.anchors.items())
            },
            "hardware_rooted": bool(domain.anchors)
            and all(kinds.get(name, False) for name in domain.anchors),
            "versions": {"cloister": __version__, "protocol": PROTOCOL_VERSION},
        }

    def entries(self, first: int, count: int) -> JSONValue:
        """Return up to `count` entries of the log: fewer where they are long.

        Who reads the root sees all of them; others those that concern what they may read.
        """
        found: list[JSONValue] = []
        size = 0
        whole, attribution = self._sees(ROOT), Attribution(self._store)
        for index, leaf in enumerate(self._store.entries(first, min(count, MAX_ENTRIES)), first):
            whose = attribution.namespace_of(leaf)
            if not whole and (whose is None or not self._sees(whose)):
                continue
            size += len(leaf)
            if found and size > _MAX_ENTRIES_BYTES:
                break
            found.append({"index": index, "leaf": leaf.hex(), "entry": _entry(leaf)})
        return {"size": self._store.log_size, "entries": found}

    def inclusion(self, index: int, size: int) -> JSONValue:
        """Prove that an entry is in the log of that size."""
        return {
            "index": index,
            "size": size,
            "root": self._store.proofs.root(size).hex(),
            "proof": _hex(self._store.proofs.inclusion(index, size)),
        }

    def consistency(self, old: int, new: int) -> JSONValue:
        """Prove that the log of one size begins with the log of the other."""
        return {
            "old": old,
            "new": new,
            "old_root": self._store.proofs.root(old).hex(),
            "new_root": self._store.proofs.root(new).hex(),
            "proof": _hex(self._store.proofs.consistency(old, new)),
        }

    def policies(self, first: int, count: int) -> JSONValue:
        """List policies, oldest first."""
        found = [each for each in self._store.policies() if self._sees(each.namespace)]
        shown = found[first : first + min(count, MAX_RECORDS)]
        return {"total": len(found), "policies": [_policy(record) for record in shown]}

    def policy(self, digest: bytes) -> JSONValue:
        """Return a policy: its canonical bytes, and what they say in words.

        Raises:
            ReleaseDeniedError: There is none with this hash (`release.policy-unknown`).
        """
        record = self._store.policy(digest)
        if record is None or not self._sees(record.namespace):
            raise ReleaseDeniedError(
                "the key service does not know this policy", code="release.policy-unknown"
            )
        sections = describe(policy_from_canonical(record.canonical))
        return {
            **_policy(record),
            "canonical": record.canonical.hex(),
            "description": [section.as_record() for section in sections],
        }

    def volumes(self, first: int, count: int) -> JSONValue:
        """List volumes by identity: where each stands, and nothing that opens one."""
        found = [each for each in self._store.volumes() if self._sees(each.namespace)]
        shown = found[first : first + min(count, MAX_RECORDS)]
        return {"total": len(found), "volumes": [_volume(record) for record in shown]}

    def readiness(self) -> JSONValue:
        """Say whether a decision could be made durable now; asks the witness, writes nothing."""
        try:
            self._store.require_ready()
        except CloisterError as e:
            return {"ready": False, "code": e.code}
        return {"ready": True, "code": ""}


def _policy(record: PolicyRecord) -> JSONValue:
    return {
        "hash": digest_to_text(record.hash),
        "namespace": record.namespace,
        "name": record.name,
        "current": record.current,
        "at": record.at,
    }


def _volume(record: VolumeRecord) -> JSONValue:
    return {
        "id": record.id.hex(),
        "kind": record.kind,
        "version": record.version,
        "root": record.root.hex(),
        "state_epoch": record.state_epoch,
        "lease_epoch": record.epoch,
        "leased": record.holder is not None,
    }


def _entry(leaf: bytes) -> JSONValue:
    entry = read_leaf(leaf)
    if isinstance(entry, StateCommitment):
        return {"operation": "state", "sequence": entry.sequence, "digest": entry.digest.hex()}
    return _decision(entry)


def _decision(entry: LogEntry) -> JSONValue:
    return {
        "operation": entry.operation,
        "at": entry.at,
        "granted": entry.granted,
        "code": entry.code,
        "policy": digest_to_text(entry.policy),
        "subject": entry.subject,
        "instance": entry.instance,
        "evidence": entry.evidence.hex(),
        "requester": entry.requester.hex(),
    }


def _hex(nodes: Sequence[bytes]) -> list[str]:
    return [node.hex() for node in nodes]
