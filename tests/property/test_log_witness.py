"""A log and its witness, in any order of growth, forks, rollbacks, restarts and lost answers.

The model: what a witness ever cosigned is one line of trees, each a prefix of the next.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloister.keyservice import merkle
from cloister.keyservice.log import Checkpoint
from cloister.keyservice.notes import Note, NoteLine
from cloister.keyservice.witness import AddCheckpoint, Held, Verdict, Witness
from cloister.keyservice.witness_state import WitnessState
from cloister.testing.log import ORIGIN, MemoryLog, decision


class LogWitnessMachine(RuleBasedStateMachine):
    """The service grows, lies and forgets; the witness is killed and started again."""

    def __init__(self) -> None:
        """Nothing yet."""
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="cloister-witness-"))
        self.log = MemoryLog()
        self.other = MemoryLog()
        self.cosigned: list[tuple[int, bytes]] = []
        self.prefix: list[bytes] = []

    @initialize()
    def start(self) -> None:
        """A new witness."""
        self.state = self._open()

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.state.__exit__()
        shutil.rmtree(self.folder)

    def _open(self) -> WitnessState:
        return WitnessState(self.folder / "w", "w.example", {ORIGIN: self.log.key.public})

    def _submit(self, log: MemoryLog, old: int, *, lost: bool) -> Verdict:
        """Ask, and keep as the server does; with `lost`, it was killed before it answered."""
        proof = log.prove(old) if old <= len(log.leaves) else ()
        data = AddCheckpoint(old, proof, log.note()).to_bytes()
        witness = Witness(self.state.cosigner, {ORIGIN: self.log.key.public})
        verdict = witness.judge(data, self.state.held, at=7)
        if verdict.status == 200:
            self.state.put(verdict.origin, verdict.held, verdict.keep)
            self.prefix = list(log.leaves)
            if not lost:
                line = NoteLine.from_text(verdict.body.decode().removesuffix("\n"))
                note = Note(Note.from_text(log.note()).body, (line,))
                assert self.state.cosigner.public.verify(note) is not None
                self.cosigned.append((verdict.held.size, verdict.held.root))
        else:
            assert verdict.origin == verdict.keep == ""
            assert b"\xe2\x80\x94" not in verdict.body
        return verdict

    def _held(self) -> Held:
        return self.state.held.get(ORIGIN, Held())

    @rule(count=st.integers(1, 5))
    def grow(self, count: int) -> None:
        """Decisions are made."""
        self.log.decide(count)

    @rule(lost=st.booleans())
    def submit_honestly(self, *, lost: bool) -> None:
        """From what the witness holds: cosigned exactly if the log extends it."""
        held = self._held()
        extends = self.log.leaves[: held.size] == self.prefix
        status = self._submit(self.log, held.size, lost=lost).status
        assert (status == 200) == extends

    @rule(old=st.integers(0, 30))
    def submit_from_anywhere(self, old: int) -> None:
        """Any old size: cosigned only if it is the one that is held."""
        held = self._held()
        if self._submit(self.log, old, lost=False).status == 200:
            assert old == held.size

    @precondition(lambda self: self.log.leaves)
    @rule(position=st.integers(0, 30), tag=st.integers(100, 120))
    def fork(self, position: int, tag: int) -> None:
        """The service shows another history, as long or longer, with the best proof that it has."""
        self.other.leaves = list(self.log.leaves)
        self.other.leaves[position % len(self.other.leaves)] = decision(tag).to_bytes()
        self.other.decide(tag % 3)
        held = self._held()
        if len(self.other.leaves) >= held.size:
            extends = self.other.leaves[: held.size] == self.prefix
            assert (self._submit(self.other, held.size, lost=True).status == 200) == extends

    @precondition(lambda self: self.log.leaves)
    @rule(count=st.integers(1, 5))
    def roll_back(self, count: int) -> None:
        """The service is put back to an older state, and goes on from there."""
        del self.log.leaves[-count:]
        held = self._held()
        if len(self.log.leaves) < held.size:
            assert self._submit(self.log, len(self.log.leaves), lost=False).status == 409

    @rule()
    def restart(self) -> None:
        """The witness is killed and started again: it holds what it held."""
        before, key = self._held(), self.state.cosigner.public
        self.state.__exit__()
        self.state = self._open()
        assert self._held() == before
        assert self.state.cosigner.public == key

    @invariant()
    def what_was_cosigned_is_one_line(self) -> None:
        """Each tree that was ever cosigned is a prefix of the newest."""
        hashes = [merkle.leaf_hash(leaf) for leaf in self.prefix]
        for size, root in self.cosigned:
            assert Checkpoint(ORIGIN, size, merkle.root_of_leaves(hashes[:size])).root == root
        sizes = [size for size, _ in self.cosigned]
        assert sizes == sorted(sizes)


TestLogWitnessMachine = LogWitnessMachine.TestCase
TestLogWitnessMachine.settings = settings(max_examples=40, stateful_step_count=25)
