"""Replicas that spend over one backend, in any interleaving, with connections that break."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cloister.crypto.digest import sha256
from cloister.errors import StateMovedError, UnavailableError
from cloister.keyservice.budget_messages import SpendDemand, SpendOutcome
from cloister.keyservice.budgets import Budgets
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.log import LogEntry, read_leaf
from cloister.keyservice.member_records import Member
from cloister.keyservice.policy import canonical_bytes, parse_policy, policy_hash
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.state.freshness import SharedFreshness
from cloister.keyservice.store import Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.policies import sample_text
from cloister.testing.state import MemoryBackend, founded

LIMITS = (6, 9, 3)
NAMES = ("alice", "bob")
REPLICAS = st.integers(0, 1)
MEMBERS = st.integers(0, 1)


def version(limit: int) -> PolicyRecord:
    """A policy with that limit."""
    rule = f"{{limit: {limit}, principals: [alice, bob], roles: [serve]}}"
    text = f"{sample_text()}\nbudgets:\n  queries: {rule}\n"
    policy = parse_policy(text.encode(), source="p.yaml")
    return PolicyRecord(
        policy_hash(policy), canonical_bytes(policy), "lab", "digits", current=True, at=0
    )


VERSIONS = tuple(version(limit) for limit in LIMITS)


class Spenders(RuleBasedStateMachine):
    """Two replicas and two members, whose requests and answers are lost and sent again."""

    @initialize()
    def begin(self) -> None:
        """A founded state, and its replicas."""
        self.folder = tempfile.TemporaryDirectory()
        self.platform = SimPlatform.create(Path(self.folder.name) / "platform", svn=1, debug=False)
        self.backend: MemoryBackend = founded(self.platform, shared=True)
        self.stores = [self.open() for _ in range(2)]
        self.version = self.generation = 0
        self.numbers = [0, 0]
        self.sent: list[tuple[int, int, SpendDemand]] = []
        self.granted: dict[tuple[int, int, int], SpendOutcome] = {}

    def open(self) -> tuple[Store, Budgets]:
        """Start a replica."""
        store = Store.load(
            self.backend, self.platform, SharedFreshness(self.platform.counter("replicas"))
        )
        return store, Budgets(store, Jobs(store))

    @rule(which=REPLICAS)
    def restart(self, which: int) -> None:
        """Start one again."""
        self.stores[which][0].close()
        self.stores[which] = self.open()

    @rule()
    def replace_policy(self) -> None:
        """Members of before are gone; the new ones have other keys, and count from 1."""
        self.generation += 1
        self.version = (self.version + 1) % len(VERSIONS)
        self.numbers = [0, 0]
        self.sent.clear()
        self.granted.clear()

    @rule(
        which=REPLICAS,
        member=MEMBERS,
        name=st.sampled_from(NAMES),
        amount=st.integers(0, 4),
        fault=st.sampled_from(["", "before", "after"]),
    )
    def spend(self, which: int, member: int, name: str, amount: int, fault: str) -> None:
        """A new demand, perhaps with the connection to the state lost."""
        self.numbers[member] += 1
        demand = SpendDemand(self.numbers[member], "queries", name, amount)
        self.sent.append((self.version, member, demand))
        self.send(which, len(self.sent) - 1, fault)

    @rule(which=REPLICAS, number=st.integers(0, 50), fault=st.sampled_from(["", "after"]))
    def send_again(self, which: int, number: int, fault: str) -> None:
        """Somebody sends an older request again."""
        if self.sent:
            self.send(which, number % len(self.sent), fault)

    def send(self, which: int, index: int, fault: str) -> None:
        """Have one replica decide a request."""
        version, member, demand = self.sent[index]
        policy = VERSIONS[version]

        def lose() -> None:
            raise UnavailableError("lost", code="keyservice.database")

        self.backend.before_append = lose if fault == "before" else None
        self.backend.after_append = lose if fault == "after" else None
        store, budgets = self.stores[which]
        names = (f"spiffe://x/lab/digits/serve/run-{member}", policy.hash, b"e" * 32, b"r" * 32)
        who = Member("serve", f"run-{member}", *names, self.key(member), 0, 0, 100)
        try:
            with store.group():
                outcome = budgets.spend(
                    policy, who, demand, request=sha256(repr((member, demand)).encode()), at=5
                )
        except (UnavailableError, StateMovedError):
            return
        finally:
            self.backend.before_append = self.backend.after_append = None
        key = (version, member, demand.number)
        if outcome.code == "budget.order":
            # Only what a later demand of the same member has overtaken.
            assert any(
                each.number > demand.number for _, other, each in self.sent if other == member
            )
            return
        assert self.granted.setdefault(key, outcome) == outcome  # one request, one outcome
        assert outcome.left <= LIMITS[version]

    @invariant()
    def counters_are_what_the_log_says(self) -> None:
        """Each demand is decided once; what was granted is what is counted, and stays."""
        if not hasattr(self, "stores"):
            return
        store, budgets = self.stores[0]
        store.refresh()
        leaves = [read_leaf(leaf) for leaf in store.entries(0, 10_000)]
        entries = [
            leaf
            for leaf in leaves
            if isinstance(leaf, LogEntry) and leaf.operation == "budget.spend"
        ]
        spent = dict.fromkeys(NAMES, 0)
        for entry in entries:
            _, _, amount, name = entry.subject.split()
            if entry.granted:
                spent[name] += int(amount)
        (status,) = budgets.status(VERSIONS[self.version], of="queries")
        assert {found.principal: found.amount for found in status.spent} == {
            name: amount for name, amount in spent.items() if name in self.known(entries)
        }
        assert all(amount <= max(LIMITS) for amount in spent.values())

    def key(self, member: int) -> bytes:
        """The digest of the key that a member has under this version."""
        return sha256(f"{self.generation} {member}".encode())

    def known(self, entries: list[LogEntry]) -> set[str]:
        """In whose name something was granted, if only nothing."""
        return {entry.subject.split()[3] for entry in entries if entry.granted}

    def teardown(self) -> None:
        """Close everything."""
        for store, _ in getattr(self, "stores", ()):
            store.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()


TestSpenders = Spenders.TestCase
TestSpenders.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
