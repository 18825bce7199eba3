"""Charters, policies and approvals against a model, with time that moves.

The model knows one sentence: what is in force changes when as many approvers of what is in force as
it asks for have said yes, all at one instant, to exactly that change. Whatever else anybody does,
nothing changes.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.testing.keyservice import ServiceBench, policy_text

KEYS: Final = tuple(SigningKey(bytes([number]) * 32) for number in range(1, 4))
MEMBERS = st.frozensets(st.integers(0, 2), min_size=2, max_size=3)
LIFETIMES = st.sampled_from([5, 90, 900, -1])
TIMEOUT: Final = 100


@dataclasses.dataclass
class Waiting:
    """A proposal as the model sees it."""

    deadline: int
    yes: dict[int, int]


class Tenants(RuleBasedStateMachine):
    """One namespace; anybody submits anything with any approvals."""

    @initialize(approvers=MEMBERS, data=st.data())
    def found(self, approvers: frozenset[int], data: st.DataObject) -> None:
        """The founder charters the namespace."""
        self.folder = Path(tempfile.mkdtemp(prefix="cloister-tenants-"))
        self.bench = ServiceBench.create(self.folder)
        self.approvers = approvers
        self.threshold = data.draw(st.integers(2, len(approvers)))
        self.policy: bytes | None = None
        self.waiting: dict[tuple[str, bytes], Waiting] = {}
        self.changes = 0
        charter = self._charter("none", approvers, self.threshold)
        self.charter = self.bench.owner().propose_charter(charter).hash

    def teardown(self) -> None:
        """Close the service."""
        if hasattr(self, "bench"):
            self.bench.close()
            shutil.rmtree(self.folder)

    def _charter(self, predecessor: str, approvers: frozenset[int], threshold: int) -> bytes:
        return self.bench.charter(
            "lab",
            [KEYS[number] for number in sorted(approvers)],
            threshold=threshold,
            timeout=TIMEOUT,
            predecessor=predecessor,
        )

    @rule(seconds=st.sampled_from([3, 60, 101]))
    def time_passes(self, seconds: int) -> None:
        """Approvals and proposals end."""
        self.bench.clock.move(seconds)

    @rule()
    def restart(self) -> None:
        """The service starts again from its state."""
        self.bench.restart()

    @rule(
        submitter=st.integers(0, 2),
        approvals=st.dictionaries(st.integers(0, 2), LIFETIMES, max_size=3),
        stale=st.booleans(),
    )
    def submit_policy(self, *, submitter: int, approvals: dict[int, int], stale: bool) -> None:
        """Anybody hands in a successor, or one of something that is not in force."""
        named = b"?" * 32 if stale else self.policy
        text = policy_text(
            self.bench,
            predecessor="none" if named is None else digest_to_text(named),
            svn=str(self.changes),
        )
        canonical = canonical_bytes(parse_policy(text.encode(), source="p"))
        carried = self._submit("propose_policy", canonical, submitter, approvals, stale=stale)
        if carried is not None:
            self.policy = carried
            self._forget("propose_policy")

    @rule(
        data=st.data(),
        lifetime=st.sampled_from([5, 5, 900]),
        later=st.sampled_from([0, 0, 0, 60]),
    )
    def approve_policy(self, data: st.DataObject, lifetime: int, later: int) -> None:
        """After a while, one who is asked says yes to the successor that is under way."""
        self.bench.clock.move(later)
        who = data.draw(st.sampled_from(sorted(self.approvers)))
        self.submit_policy(submitter=who, approvals={who: lifetime}, stale=False)

    @rule(
        submitter=st.integers(0, 2),
        approvals=st.dictionaries(st.integers(0, 2), LIFETIMES, max_size=3),
        members=MEMBERS,
        data=st.data(),
    )
    def submit_charter(
        self,
        submitter: int,
        approvals: dict[int, int],
        members: frozenset[int],
        data: st.DataObject,
    ) -> None:
        """Anybody hands in another charter."""
        threshold = data.draw(st.integers(2, len(members)))
        canonical = self._charter(digest_to_text(self.charter), members, threshold)
        carried = self._submit("propose_charter", canonical, submitter, approvals, stale=False)
        if carried is not None:
            self.charter, self.approvers, self.threshold = carried, members, threshold
            self._forget("propose_charter")

    def _forget(self, method: str) -> None:
        """What is in force now ends the proposals for its place."""
        self.changes += 1
        self.waiting = {place: w for place, w in self.waiting.items() if place[0] != method}

    def _submit(
        self,
        method: str,
        canonical: bytes,
        submitter: int,
        approvals: dict[int, int],
        *,
        stale: bool,
    ) -> bytes | None:
        bench, now = self.bench, self.bench.clock.at
        made = tuple(
            bench.approve(canonical, KEYS[number], expires_at=now + lifetime)[0]
            for number, lifetime in approvals.items()
        )
        digest = made[0].subject.hash if made else None
        good = submitter in self.approvers and not stale
        good = good and set(approvals) <= self.approvers
        good = good and all(lifetime >= 0 for lifetime in approvals.values())
        try:
            done = getattr(bench.client(KEYS[submitter]), method)(canonical, made)
        except CloisterError:
            good = not good
            done = None
        assert good
        if done is None:
            return None
        digest = done.hash if digest is None else digest
        assert done.hash == digest
        known = self.waiting.get((method, digest))
        if known is None or now > known.deadline:
            known = Waiting(now + TIMEOUT, {})
        for number, lifetime in approvals.items():
            known.yes[number] = max(known.yes.get(number, 0), now + lifetime)
        yes = {n for n, until in known.yes.items() if n in self.approvers and until >= now}
        assert done.in_force == (len(yes) >= self.threshold)
        if done.in_force:
            return digest
        assert {KEYS[number].public.raw for number in yes} == set(done.approved)
        known.yes = {number: known.yes[number] for number in yes}
        self.waiting[method, digest] = known
        return None

    @invariant()
    def what_is_in_force_is_what_enough_approved(self) -> None:
        """The service and the model agree."""
        if not hasattr(self, "bench"):
            return
        present = self.bench.store.current_policy("lab", "digits")
        assert (None if present is None else present.hash) == self.policy
        assert self.bench.store.tenancy.charter("lab").hash == self.charter


TestTenants = pytest.mark.slow(Tenants.TestCase)
TestTenants.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
