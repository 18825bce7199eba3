"""The steps from a fork to a cell that can be shown without one."""

from __future__ import annotations

import os

import pytest

from cloister.confinement import cell_inside, cell_parent
from cloister.confinement.cell_inside import CellPlace, frame
from cloister.confinement.cell_spec import CellSpec
from cloister.confinement.channel import Channel
from cloister.confinement.steps import StepError

_SPEC = CellSpec(memory_bytes=1 << 30, scratch_bytes=1 << 20, processor_s=5, tasks=4)


@pytest.mark.spec("CELL-41")
def test_a_process_that_is_no_cell_fails_the_self_check() -> None:
    """The first thing that works where it must not ends it, and is named."""
    with pytest.raises(StepError) as caught:
        cell_inside._check()
    assert (caught.value.step, "a socket" in caught.value.text) == ("self-check", True)


@pytest.mark.spec("CELL-40")
def test_a_kernel_without_landlock_is_refused_unless_accepted() -> None:
    """Every layer that is missing is named, and those that are accepted are told."""
    place = CellPlace(user_id=65534, group_id=65534, proc=-1, landlock=4, machine="x86_64")
    missing = ["landlock-devices", "landlock-scopes"]
    with pytest.raises(cell_parent._LackingError) as caught:
        cell_parent._missing(_SPEC, place)
    assert str(caught.value).split() == missing
    accepting = CellSpec(
        memory_bytes=1 << 30,
        scratch_bytes=1 << 20,
        processor_s=5,
        tasks=4,
        accept_missing=frozenset(missing),
    )
    assert cell_parent._missing(accepting, place) == missing


def test_what_a_cell_writes_is_a_message_of_the_channel() -> None:
    """It may write and not send; the other end sees no difference."""
    ours, theirs = Channel.pair()
    os.write(theirs.fileno(), frame({"done": "up"}))
    reply, descriptors = ours.receive(timeout_s=1)
    reply.constant("done", "up")
    assert descriptors == []
    ours.close()
    theirs.close()
