"""Charge each release and each operation of owners to whom it belongs.

What concerns a namespace is charged to the charter that governs it, and only after it is settled
that the requester may ask: so nobody uses up another's tokens. What concerns the domain as a whole
is charged to the key that asks, unless the root's own approvers and readers do; and so is what a
key may not do.

Spec: policy-approval-v1, clauses PA-54 and PA-55.
"""

from __future__ import annotations

from typing import Final

from cloister.keyservice.authority import RULES, About, Target
from cloister.keyservice.buckets import TokenBuckets
from cloister.keyservice.clock import Moment
from cloister.keyservice.governance import Governance
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.ownership import OwnerRequest
from cloister.keyservice.scope import Scope

__all__ = ["QUESTIONS_PER_MINUTE", "Limits"]

QUESTIONS_PER_MINUTE: Final = 60


class Limits:
    """The buckets of one service; in memory only."""

    def __init__(self, scope: Scope) -> None:
        """Start with every bucket full."""
        self._scope = scope
        self._buckets = TokenBuckets()

    def release(self, namespace: str, moment: Moment) -> None:
        """Charge a release by a policy of this namespace.

        Raises:
            UnavailableError: Too many (`keyservice.busy`).
        """
        self._charge(self._scope.governance(namespace), moment)

    def operation(self, request: OwnerRequest, target: Target | None, moment: Moment) -> None:
        """Charge an operation whose signer has authority for it.

        Raises:
            UnavailableError: Too many (`keyservice.busy`).
        """
        asks = RULES[request.operation].about is About.ROOT
        if asks and not self._scope.sees(request.owner, ROOT):
            self._charge_key(request, moment)
        elif target is not None:
            self._charge(target.governance, moment)

    def refusal(self, request: OwnerRequest, moment: Moment) -> None:
        """Charge an operation that its signer has no authority for: each is an entry of the log.

        Raises:
            UnavailableError: Too many (`keyservice.busy`), and then there is no entry.
        """
        self._charge_key(request, moment)

    def _charge_key(self, request: OwnerRequest, moment: Moment) -> None:
        name = "key " + request.owner.hex()
        self._buckets.take(name, per_minute=QUESTIONS_PER_MINUTE, uptime=moment.uptime)

    def _charge(self, governance: Governance, moment: Moment) -> None:
        if governance.quotas is not None:
            rate = max(1, self._scope.share(governance, "requests_per_minute"))
            self._buckets.take(governance.namespace, per_minute=rate, uptime=moment.uptime)
