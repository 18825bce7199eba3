"""The service's log under groups, failures, lost answers, snapshots and restarts, against a list.

The model is a list of entries. What a group returned from is its end for ever; a group that failed
left nothing; one whose answer was lost left all of its entries, or none.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import cloister.keyservice.state.journal
from cloister.crypto.signature import SigningKey
from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.keyservice import merkle
from cloister.keyservice.log import Checkpoint, verify_extension
from cloister.keyservice.state.freshness import PlatformFreshness
from cloister.keyservice.store import Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.state import MemoryBackend, founded

KEY = SigningKey(b"k" * 32)
ORIGIN = "example.test/log"


class Refused(Exception):  # noqa: N818  # a decision, no error of a program
    """What a test raises inside a transaction."""


class LogMachine(RuleBasedStateMachine):
    """One store that is opened again now and then; readers keep checkpoints."""

    @initialize()
    def begin(self) -> None:
        """An empty log, whose state is snapshot often."""
        self.folder = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(cloister.keyservice.state.journal, "SNAPSHOT_EVERY", 5)
        self.platform = SimPlatform.create(Path(self.folder.name) / "platform", svn=1, debug=False)
        self.backend: MemoryBackend = founded(self.platform)
        self.store = self.open()
        self.entries: list[bytes] = []
        self.kept: list[Checkpoint] = []
        self.number = 0

    def teardown(self) -> None:
        """Close everything."""
        if hasattr(self, "store"):
            self.store.close()
            self.patch.undo()
            self.folder.cleanup()

    def open(self) -> Store:
        """Open the state as it is."""
        return Store.load(
            self.backend, self.platform, PlatformFreshness(self.platform.counter("log"))
        )

    def fresh(self) -> bytes:
        """An entry that there never was."""
        self.number += 1
        return b"entry %d" % self.number

    def decide(self, sizes: list[tuple[int, bool]]) -> list[bytes]:
        """Make transactions in one group, some of which fail; returns what must stay."""
        stays: list[bytes] = []
        with self.store.group():
            for size, fails in sizes:
                entries = [self.fresh() for _ in range(size)]
                with contextlib.suppress(Refused), self.store.transaction():
                    for entry in entries:
                        self.store.append(entry)
                    if fails:
                        raise Refused
                    stays += entries
        return stays

    @rule(sizes=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=3))
    def group(self, sizes: list[tuple[int, bool]]) -> None:
        """Decisions that become durable together."""
        self.entries += self.decide(sizes)

    @rule(size=st.integers(1, 3))
    def fail(self, size: int) -> None:
        """A group that breaks in its middle."""

        def broken() -> None:
            with self.store.group():
                with self.store.transaction():
                    for _ in range(size):
                        self.store.append(self.fresh())
                raise Refused

        with pytest.raises(Refused):
            broken()

    @rule(size=st.integers(1, 3), happened=st.booleans())
    def lose(self, size: int, *, happened: bool) -> None:
        """The backend is lost before or after it took the record."""

        def away() -> None:
            raise UnavailableError("away", code="keyservice.database")

        point = "after_append" if happened else "before_append"
        setattr(self.backend, point, away)
        first = self.number
        with pytest.raises(UnavailableError):
            self.decide([(size, False)])
        setattr(self.backend, point, None)
        if happened:
            self.entries += [b"entry %d" % n for n in range(first + 1, first + size + 1)]
        with self.store.group():
            pass  # the next decision knows what has happened

    @rule()
    def restart(self) -> None:
        """Close and open again."""
        self.store._freshness.close()
        self.store = self.open()

    @rule()
    def keep(self) -> None:
        """A reader keeps the checkpoint of now."""
        if self.entries:
            found = Checkpoint(ORIGIN, self.store.durable_size, self.store.durable_root())
            self.kept.append(
                Checkpoint.from_note(found.to_note(KEY), service=KEY.public, origin=ORIGIN)
            )

    @rule(first=st.integers(0, 40), count=st.integers(0, 40))
    def read(self, first: int, count: int) -> None:
        """Any part of it."""
        assert self.store.entries(first, count) == self.entries[first : first + count]

    @rule(index=st.integers(0, 40), size=st.integers(0, 40))
    def prove(self, index: int, size: int) -> None:
        """Any entry in any size that the log has had, and nothing else."""
        if not index < size <= len(self.entries):
            with pytest.raises(ReleaseDeniedError) as e:
                self.store.proofs.inclusion(index, size)
            assert e.value.code == "log.unknown"
            return
        leaves = [merkle.leaf_hash(entry) for entry in self.entries[:size]]
        assert self.store.proofs.inclusion(index, size) == merkle.inclusion_proof(leaves, index)

    @invariant()
    def the_log_is_the_list(self) -> None:
        """Size and root are the model's, and every checkpoint that was kept is a prefix."""
        if not hasattr(self, "store"):
            return
        leaves = [merkle.leaf_hash(entry) for entry in self.entries]
        assert self.store.log_size == self.store.durable_size == len(self.entries)
        assert self.store.log_root() == merkle.root_of_leaves(leaves)
        newest = Checkpoint(ORIGIN, self.store.durable_size, self.store.durable_root())
        for each in self.kept:
            proof = self.store.proofs.consistency(each.size, newest.size)
            verify_extension(each, newest, proof)


TestLogMachine = LogMachine.TestCase
TestLogMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
