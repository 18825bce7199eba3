"""Why releases were refused, for those who may read the policy; a requester is told the code alone.

Live members of the job are told that somebody was refused: when, for which role, by which code.

What a rule wanted and what it found tells a prober how far he is from what is wanted. So it never
goes back to him. It is kept in memory, the newest few for each policy, and lost with the process.

Spec: key-release-v1, clauses KR-36 and KR-88; membership-v1, MEM-25.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import AppraisalError, ReleaseDeniedError
from cloister.keyservice.clock import Moment
from cloister.keyservice.member_messages import RefusalNotice
from cloister.keyservice.messages import ReleaseRequest
from cloister.keyservice.ownership import OwnerRequest
from cloister.keyservice.store import Store
from cloister.wire import Fields, Value

__all__ = ["MAX_REFUSALS", "Refusal", "Refusals"]

MAX_REFUSALS: Final = 32
_MAX_TEXT: Final = 4096


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused release.

    Attributes:
        entry: Number of its entry in the log.
        at: When.
        policy: Hash of the policy that was named.
        workload: Its role there.
        instance: The requester's name for itself.
        code: Of the refusal.
        rule: The rule that did not hold, as a path of the policy.
        expected: What it wants; in the policy, which the reader may read.
        found: What the evidence says; its sender chose it.
    """

    entry: int
    at: int
    policy: bytes
    workload: str
    instance: str
    code: str
    rule: str
    expected: str
    found: str

    def to_value(self) -> dict[str, Value]:
        """Return it as part of a list."""
        return {
            "entry": self.entry,
            "at": self.at,
            "policy": self.policy,
            "workload": self.workload,
            "instance": self.instance,
            "code": self.code,
            "rule": self.rule,
            "expected": self.expected,
            "found": self.found,
        }

    @classmethod
    def from_value(cls, value: Value) -> Refusal:
        """Read it from a list."""
        fields = Fields(value, what="refusal")
        refusal = cls(
            entry=fields.integer("entry"),
            at=fields.integer("at"),
            policy=fields.octets("policy", length=DIGEST_BYTES),
            workload=fields.text("workload", max_length=64),
            instance=fields.text("instance", max_length=64),
            code=fields.text("code", max_length=64),
            rule=fields.text("rule", max_length=_MAX_TEXT),
            expected=fields.text("expected", max_length=_MAX_TEXT),
            found=fields.text("found", max_length=_MAX_TEXT),
        )
        fields.end()
        return refusal


class Refusals:
    """The newest refusals of each policy name, and the operation that reads them."""

    def __init__(self, store: Store) -> None:
        """Look policies up in a store; start with nothing."""
        self._store = store
        self._found: dict[tuple[str, str], deque[Refusal]] = {}

    def note(
        self, request: ReleaseRequest, error: AppraisalError, *, entry: int, moment: Moment
    ) -> None:
        """Keep why a release by a policy that there is was refused."""
        record = self._store.policy(request.policy)
        if record is None:
            return
        refusal = Refusal(
            entry=entry,
            at=moment.at,
            policy=request.policy,
            workload=request.workload,
            instance=request.instance,
            code=error.code,
            rule=error.rule[:_MAX_TEXT],
            expected=error.expected[:_MAX_TEXT],
            found=error.found[:_MAX_TEXT],
        )
        name = (record.namespace, record.name)
        self._found.setdefault(name, deque(maxlen=MAX_REFUSALS)).append(refusal)

    def table(self) -> dict[str, Callable[[Fields, OwnerRequest, Moment], dict[str, Value]]]:
        """Return the operations by name."""
        return {"release.refusals": self._list}

    def notices(
        self, namespace: str, name: str, *, policy: bytes, since: int
    ) -> list[RefusalNotice]:
        """MEM-25. Return what a job learns of the refusals by its policy, oldest first."""
        return [
            RefusalNotice(refusal.entry, refusal.at, refusal.workload, refusal.code)
            for refusal in self._found.get((namespace, name), ())
            if refusal.policy == policy and refusal.at >= since
        ]

    def _list(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        del request, moment
        name = (fields.text("namespace", max_length=255), fields.text("name", max_length=63))
        fields.end()
        record = self._store.current_policy(*name)
        if record is None:
            raise ReleaseDeniedError(
                "the key service does not know this policy", code="release.policy-unknown"
            )
        found: list[Value] = [
            refusal.to_value()
            for refusal in self._found.get(name, ())
            if refusal.policy == record.hash
        ]
        return {"refusals": found}
