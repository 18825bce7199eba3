"""Threads of trainers that share a machine."""

from __future__ import annotations

import pytest

from cloister.cleanroom.threads import THREAD_VARIABLES, thread_variables, threads_of


@pytest.mark.spec("TR-74")
@pytest.mark.parametrize(
    ("given", "machine", "trainers", "threads"),
    [
        (16, 16, 1, 16),
        (16, 16, 4, 4),
        (2, 2, 4, 1),
        (7, 7, 2, 3),
        (4, 16, 4, 4),  # cores of its own
        (1, 1, 8, 1),
    ],
)
def test_a_machine_is_shared_and_what_was_given_is_not(
    given: int, machine: int, trainers: int, threads: int
) -> None:
    assert threads_of(given=given, machine=machine, trainers=trainers) == threads


@pytest.mark.spec("TR-74")
def test_what_frameworks_read_is_set_unless_it_is_said() -> None:
    found = thread_variables(3, {"HOME": "/", "OMP_NUM_THREADS": "1"})
    rest = {name: "3" for name in THREAD_VARIABLES if name != "OMP_NUM_THREADS"}
    assert found == {"HOME": "/", "OMP_NUM_THREADS": "1", **rest}
