"""A volume's keys at the service, through any order of rotations, commits and retirements."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloister.crypto.keyring import MAX_KEYS
from cloister.errors import CloisterError, ReleaseDeniedError
from cloister.keyservice.leases import AnchorMove, advance
from cloister.keyservice.records import VolumeRecord
from cloister.keyservice.state.rows import volume_from_row, volume_to_row
from cloister.keyservice.volume_rotation import retire, rotate

EPOCHS = st.integers(1, 8)


class Keys(RuleBasedStateMachine):
    """Every key ever made is known here; the record may have lost those that nothing needs."""

    def __init__(self) -> None:
        super().__init__()
        self.record = VolumeRecord(b"v" * 16, b"1" * 32, "data", 0, bytes(32), 0, 1, None)
        self.made = {1: b"1" * 32}
        self.used = 1
        self.fresh = itertools.count(2)

    @rule(step=st.integers(0, 2))
    def rotate(self, step: int) -> None:
        epoch = self.record.key_epoch + step
        key = next(self.fresh).to_bytes(32, "big")
        try:
            changed = rotate(self.record, epoch, key)
        except CloisterError:
            assert step == 2 or (step == 0 and epoch == 1) or len(self.record.keys.keys) == MAX_KEYS
            return
        if changed is not None:
            assert step == 1
            self.made[epoch] = key
            self.record = changed

    @rule(oldest=EPOCHS)
    def commit(self, oldest: int) -> None:
        move = AnchorMove(
            self.record.version,
            self.record.root,
            self.record.version + 1,
            (self.record.version + 1).to_bytes(32, "big"),
            oldest,
        )
        try:
            changed = advance(self.record, move)
        except CloisterError:
            assert self.record.keys.key(oldest) is None
            return
        assert changed is not None
        self.record, self.used = changed, oldest

    @rule(before=EPOCHS)
    def retire(self, before: int) -> None:
        try:
            changed = retire(self.record, before)
        except ReleaseDeniedError:
            assert before > self.used
            return
        assert before <= self.used
        self.record = changed or self.record
        assert all(self.record.keys.key(epoch) is None for epoch in range(before))

    @invariant()
    def what_is_used_is_kept(self) -> None:
        ring = self.record.keys
        assert ring.epoch == max(self.made)
        assert ring.oldest <= self.used <= ring.epoch
        for epoch in range(ring.oldest, ring.epoch + 1):
            assert ring.key(epoch) == self.made[epoch]
        assert volume_from_row(self.record.id, volume_to_row(self.record)) == self.record


TestKeys = Keys.TestCase
TestKeys.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
