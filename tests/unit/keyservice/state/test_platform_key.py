"""Slots with the state key: for one platform, and never an older one again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.state.platform_key import (
    require_not_retired,
    retired_slots,
    seal_next_state_key,
    seal_state_key,
    slots_after,
    unseal_older_state_key,
    unseal_state_key,
)
from cloister.keyservice.state.record import StateKey
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.state import MemoryBackend

FIRST, SECOND = StateKey(b"1" * 32), StateKey(b"2" * 32)


@pytest.fixture
def platform(tmp_path: Path) -> SimPlatform:
    """A platform that has seen nothing."""
    return SimPlatform.create(tmp_path / "platform", svn=1, debug=False)


def refused(backend: MemoryBackend, platform: SimPlatform) -> str:
    """The code with which a platform opens no slot."""
    with pytest.raises(CloisterError) as e:
        unseal_state_key(backend, platform)
    return e.value.code


@pytest.mark.spec("KS-70", "KS-73")
def test_a_slot_opens_on_its_platform_only(platform: SimPlatform, tmp_path: Path) -> None:
    """The first has no number; the next one has, and no number fits another slot."""
    other = SimPlatform.create(tmp_path / "other", svn=1, debug=False)
    backend = MemoryBackend(dict([seal_state_key(FIRST, platform)]))
    assert unseal_state_key(backend, platform).name == FIRST.name
    assert refused(backend, other) == "state.tampered"
    [(name, value)] = backend.slots()
    assert len(value) == 60
    foreign = MemoryBackend({f"state-key/{other.anchor.text}": value})
    assert refused(foreign, other) == "state.tampered"
    _, next_value = seal_next_state_key(SECOND, platform)
    assert next_value[:8] == (1).to_bytes(8, "big")
    for changed in (
        b"",
        value[:-1],
        bytes(8) + value,
        (1).to_bytes(8, "big") + value,
        next_value[8:],
        (2).to_bytes(8, "big") + next_value[8:],
        b"\x00" + next_value,
    ):
        assert refused(MemoryBackend({name: changed}), platform) == "state.tampered"


@pytest.mark.spec("KS-74")
def test_a_platform_that_saw_a_newer_slot_opens_no_older_one(platform: SimPlatform) -> None:
    """Whoever has the older key, and puts its slot back, has nothing of it; a reset may look."""
    old = MemoryBackend(dict([seal_state_key(FIRST, platform)]))
    new = MemoryBackend(dict([seal_next_state_key(SECOND, platform)]))
    assert unseal_state_key(old, platform).name == FIRST.name  # nothing was seen yet
    assert unseal_state_key(new, platform).name == SECOND.name
    assert refused(old, platform) == "state.rolled-back"
    assert unseal_older_state_key(old, platform).name == FIRST.name
    again = MemoryBackend(dict([seal_state_key(FIRST, platform)]))
    assert unseal_state_key(again, platform).name == FIRST.name  # sealed since, as approved


@pytest.mark.spec("KS-73", "KS-76")
def test_slots_tell_which_keys_are_retired(platform: SimPlatform, tmp_path: Path) -> None:
    """One platform has a slot; the others, and older shares, are told why they have none."""
    other = SimPlatform.create(tmp_path / "other", svn=1, debug=False)
    before = [("format", b"f"), seal_state_key(FIRST, platform), seal_state_key(FIRST, other)]
    after = slots_after(before, FIRST, new=seal_next_state_key(SECOND, platform))
    backend = MemoryBackend(dict(after))
    retired = ("retired-key/" + FIRST.name.hex(), b"")
    assert sorted(backend.slots_by_name) == [
        "format",
        retired[0],
        f"state-key/{platform.anchor.text}",
    ]
    assert list(retired_slots(backend.slots())) == [retired]
    assert refused(backend, other) == "state.key-changed"
    assert require_not_retired(backend, SECOND) is SECOND
    with pytest.raises(CloisterError) as e:
        require_not_retired(backend, FIRST)
    assert e.value.code == "recovery.superseded"
    assert FIRST.name != SECOND.name
    assert FIRST.to_secret() not in b"".join(value for _, value in backend.slots())
