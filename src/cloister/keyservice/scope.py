"""From an operation's arguments to what they are about, by what the service's state holds.

Reads, and changes nothing. The arguments are untrusted; each is read here only as far as it names
something, and strictly by the operation itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.keyservice.authority import (
    RULES,
    About,
    Target,
    may_hold,
    may_read,
    require_authority,
)
from cloister.keyservice.governance import Governance, governing, parsed_policy
from cloister.keyservice.messages import VOLUME_ID_BYTES
from cloister.keyservice.namespaces import ROOT, lineage, require_namespace
from cloister.keyservice.ownership import OwnerRequest
from cloister.keyservice.policy.canonical import MAX_CANONICAL_BYTES
from cloister.keyservice.policy.charter import MAX_CHARTER_BYTES, charter_from_canonical
from cloister.keyservice.policy.model import Policy, Quotas
from cloister.keyservice.proposals import keys_of
from cloister.keyservice.quotas import require_grant, require_room, share
from cloister.keyservice.records import PolicyRecord, VolumeRecord
from cloister.keyservice.store import Store
from cloister.wire import Fields

__all__ = ["Scope", "named_keys", "namespace_argument"]


def namespace_argument(fields: Fields) -> str:
    """Take the optional argument `namespace`; the root where it is absent."""
    if not fields.has("namespace"):
        return ROOT
    return require_namespace(fields.text("namespace", max_length=255))


def named_keys(policy: Policy) -> frozenset[bytes]:
    """Return the keys that a policy itself names as readers or approvers."""
    readers = () if policy.access is None else policy.access.readers
    approvers = () if policy.approval is None else policy.approval.approvers
    return keys_of((*readers, *approvers))


class Scope:
    """Knows who governs, who is known, and what an operation is about."""

    def __init__(self, store: Store, *, founder: bytes) -> None:
        """Look at a store; `founder` is the key that founded the domain."""
        self._store = store
        self._founder: Final = founder
        self._resolvers: Final[Mapping[About, Callable[[Fields], Target | None]]] = {
            About.POLICY_BYTES: self._policy_bytes,
            About.POLICY_HASH: self._policy_hash,
            About.POLICY_NAME: partial(self._policy_name, argument="name"),
            About.POLICY_OF_SECRETS: partial(self._policy_name, argument="policy"),
            About.CHARTER_BYTES: self._charter_bytes,
            About.NAMESPACE: self._namespace,
            About.ROOT: lambda _: Target(self.governance(ROOT)),
        }

    def governance(self, namespace: str) -> Governance:
        """Return who governs a namespace."""
        return governing(namespace, self._store.tenancy, founder=self._founder)

    def knows(self, key: bytes) -> bool:
        """Tell whether a key may do anything at all."""
        if self._store.tenancy.is_named(key):
            return True
        return key == self._founder and self._store.tenancy.charter(ROOT) is None

    def require(self, request: OwnerRequest) -> Target | None:
        """Raise unless the signer may carry out the request; return what it is about.

        Raises:
            ReleaseDeniedError: By the operation's rule.
            MalformedError: The arguments do not name anything.
        """
        rule = RULES.get(request.operation)
        target = None
        if rule is not None:
            fields = Fields(request.arguments, what=request.operation)
            if rule.about is About.VOLUME:
                target = self._volume(fields, request.owner)
            else:
                target = self._resolvers[rule.about](fields)
        require_authority(request.operation, request.owner, target)
        return target

    def sees(self, key: bytes, namespace: str) -> bool:
        """Tell whether a key may read what lies in a namespace."""
        return may_read(key, Target(self.governance(namespace)))

    def sees_policy(self, key: bytes, record: PolicyRecord) -> bool:
        """Tell whether a key may read a policy: by its charter, or by the policy in force."""
        return may_read(key, self._policy_target(record.namespace, record.name))

    def held_volume(self, fields: Fields, key: bytes) -> VolumeRecord | None:
        """Take the arguments that name a volume, and return the one that this key may hold.

        Several tenants may have registered one identity; where a key may hold more than one of
        those, `namespace` says which is meant.
        """
        volume_id = fields.octets("id", length=VOLUME_ID_BYTES)
        namespace = namespace_argument(fields) if fields.has("namespace") else None
        for record in self._store.volumes_named(volume_id):
            if namespace in {None, record.namespace} and may_hold(key, self._volume_target(record)):
                return record
        return None

    def share(self, governance: Governance, what: str) -> int:
        """Return how much of a quota is left for a charter's own namespaces."""
        if governance.quotas is None:
            return sys.maxsize
        return share(governance.quotas, self._granted(governance.namespace), what)

    def require_room(self, namespace: str, what: str, places: Callable[[], Iterable[str]]) -> None:
        """Raise unless one more of `what` fits where this namespace is governed.

        Args:
            namespace: Where the new one would be.
            what: A field of `Quotas`.
            places: Gives the namespaces of all that are there; asked only where there is a quota.

        Raises:
            ReleaseDeniedError: Code `quota.exceeded`.
        """
        governance = self.governance(namespace)
        if governance.quotas is None:
            return
        governor = self._store.governor
        present = sum(governor(place) == governance.namespace for place in places())
        granted = self._granted(governance.namespace)
        require_room(governance.quotas, granted, what, present=present)

    def require_within(
        self, namespace: str, what: str, places: Callable[[], Iterable[str]]
    ) -> None:
        """Raise unless what is there already, the newest included, fits; see `require_room`."""
        governance = self.governance(namespace)
        if governance.quotas is None:
            return
        governor = self._store.governor
        present = sum(governor(place) == governance.namespace for place in places())
        if present:
            granted = self._granted(governance.namespace)
            require_room(governance.quotas, granted, what, present=present - 1)

    def require_grant(self, namespace: str, wanted: Quotas) -> None:
        """Raise unless whoever governs above `namespace` can grant a charter there these quotas.

        Raises:
            ReleaseDeniedError: Code `quota.exceeded`.
        """
        above = self.governance(lineage(namespace)[1])
        if above.quotas is not None:
            others = self._granted(above.namespace, but=namespace)
            require_grant(above.quotas, others, wanted)

    def _granted(self, namespace: str, *, but: str = "") -> tuple[Quotas, ...]:
        """Return the quotas of the charters right below that of `namespace`."""
        below = (
            self.governance(name).quotas
            for name in self._store.tenancy.charter_names(below=namespace)
            if name != but and self._store.governor(lineage(name)[1]) == namespace
        )
        return tuple(quotas for quotas in below if quotas is not None)

    def _policy_target(self, namespace: str, name: str) -> Target:
        governance = self.governance(namespace)
        present = self._store.current_policy(namespace, name)
        if present is None:
            return Target(governance)
        policy = parsed_policy(present.canonical)
        board = () if policy.approval is None else policy.approval.approvers
        return Target(governance, submitters=keys_of(board), readers=named_keys(policy))

    def _policy_bytes(self, fields: Fields) -> Target:
        canonical = fields.octets("canonical", max_length=MAX_CANONICAL_BYTES)
        policy = parsed_policy(canonical)
        return self._policy_target(policy.namespace, policy.name)

    def _policy_hash(self, fields: Fields) -> Target | None:
        record = self._store.policy(fields.octets("hash", length=DIGEST_BYTES))
        return None if record is None else self._policy_target(record.namespace, record.name)

    def _policy_name(self, fields: Fields, *, argument: str) -> Target | None:
        namespace = require_namespace(fields.text("namespace", max_length=255))
        name = fields.text(argument, max_length=63)
        known = self._store.current_policy(namespace, name) is not None
        return self._policy_target(namespace, name) if known else None

    def _charter_bytes(self, fields: Fields) -> Target:
        canonical = fields.octets("canonical", max_length=MAX_CHARTER_BYTES)
        return Target(self.governance(charter_from_canonical(canonical).namespace))

    def _namespace(self, fields: Fields) -> Target:
        return Target(self.governance(namespace_argument(fields)))

    def _volume(self, fields: Fields, key: bytes) -> Target | None:
        record = self.held_volume(fields, key)
        return None if record is None else self._volume_target(record)

    def _volume_target(self, record: VolumeRecord) -> Target:
        return Target(self.governance(record.namespace), registrant=record.registrant)
