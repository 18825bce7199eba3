"""Replicas over one backend in any interleaving: connections break, the state key changes."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cloister.crypto.kdf import random_bytes
from cloister.errors import EvidenceError, UnavailableError
from cloister.keyservice import merkle
from cloister.keyservice.challenges import CHALLENGE_LABEL, Challenges
from cloister.keyservice.clock import Moment
from cloister.keyservice.state.freshness import SharedFreshness
from cloister.keyservice.state.key_rows import KeyChange, put_key_change
from cloister.keyservice.state.platform_key import seal_next_state_key, slots_after
from cloister.keyservice.state.record import StateKey
from cloister.keyservice.statetime import StateTime
from cloister.keyservice.store import Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.state import MemoryBackend, founded

REPLICAS = st.integers(0, 2)


class Replicas(RuleBasedStateMachine):
    """Three replicas that spend nonces, each with an entry in the log."""

    @initialize()
    def begin(self) -> None:
        """A founded state, and three replicas of it."""
        self.folder = tempfile.TemporaryDirectory()
        self.platform = SimPlatform.create(Path(self.folder.name) / "platform", svn=1, debug=False)
        self.backend: MemoryBackend = founded(self.platform, shared=True)
        self.at, self.uptime = 1_800_000_000, 0.0
        self.nonces: list[bytes] = []
        self.acknowledged: set[bytes] = set()
        self.opened = [self.open() for _ in range(3)]

    def open(self) -> Challenges:
        """Start a replica."""
        freshness = SharedFreshness(self.platform.counter("replicas"))
        store = Store.load(self.backend, self.platform, freshness)
        return Challenges(store, b"s" * 32, StateTime(store), label=CHALLENGE_LABEL, lifetime_s=60)

    @rule(which=REPLICAS)
    def restart(self, which: int) -> None:
        """Start one again; the clocks are the machine's, and go on."""
        self.opened[which]._store.close()
        self.opened[which] = self.open()

    @rule(jump=st.integers(-300, 300), passed=st.floats(0, 90))
    def move_clock(self, jump: int, passed: float) -> None:
        """Somebody sets the clock; time passes."""
        self.at, self.uptime = self.at + jump, self.uptime + passed

    @rule(which=REPLICAS)
    def issue(self, which: int) -> None:
        """One gives out a nonce."""
        self.nonces.append(self.opened[which].issue(Moment(self.at, self.uptime)))

    @rule(which=REPLICAS, number=st.integers(0, 50), fault=st.sampled_from(["", "before", "after"]))
    def spend(self, which: int, number: int, fault: str) -> None:
        """One spends a nonce, perhaps losing its connection before or after the commit."""
        if not self.nonces:
            return
        nonce = self.nonces[number % len(self.nonces)]

        def lose() -> None:
            raise UnavailableError("lost", code="keyservice.database")

        self.backend.before_append = lose if fault == "before" else None
        self.backend.after_append = lose if fault == "after" else None
        challenges = self.opened[which]
        try:
            with challenges._store.group():
                challenges.spend(nonce, Moment(self.at, self.uptime))
                challenges._store.append(nonce)
        except (EvidenceError, UnavailableError):
            return
        finally:
            self.backend.before_append = self.backend.after_append = None
        assert nonce not in self.acknowledged
        self.acknowledged.add(nonce)

    @rule(which=REPLICAS, fault=st.sampled_from(["", "before", "after"]))
    def change_key(self, which: int, fault: str) -> None:
        """One changes the state key, perhaps losing its connection; the others find out."""

        def lose() -> None:
            raise UnavailableError("lost", code="keyservice.database")

        store = self.opened[which]._store
        key = StateKey(random_bytes(32))
        slots = partial(slots_after, new=seal_next_state_key(key, self.platform))
        self.backend.before_append = lose if fault == "before" else None
        self.backend.after_append = lose if fault == "after" else None
        try:
            with store.changing_key(key, slots), store.transaction():
                put_key_change(store.tables, KeyChange(key.name, bytes(32), self.at))
        except UnavailableError:
            assert fault
        finally:
            self.backend.before_append = self.backend.after_append = None

    @invariant()
    def everything_is_once_and_nothing_is_lost(self) -> None:
        """Each nonce has at most one entry; each acknowledged one has its entry, in one tree."""
        if not hasattr(self, "opened"):
            return
        store = self.opened[0]._store
        store.refresh()
        entries = store.entries(0, 10_000)
        assert len(entries) == len(set(entries)) == store.log_size
        assert self.acknowledged <= set(entries)
        assert merkle.root_of_leaves(store.leaves()) == store.log_root()

    def teardown(self) -> None:
        """Close everything."""
        for challenges in getattr(self, "opened", []):
            challenges._store.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()


Replicas.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestReplicas = Replicas.TestCase
