"""How many threads a trainer computes with, so that those of one machine do not wait for another.

A framework takes a thread for every core that it sees. Where several trainers share a machine,
their threads then wait for each other at every operation, and rounds are lost. Pure.

Spec: training-round-v1, clause TR-74.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["THREAD_VARIABLES", "thread_variables", "threads_of"]

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",  # PyTorch; NumPy's OpenBLAS
    "TF_NUM_INTRAOP_THREADS",
    "NPROC",  # XLA's, of JAX
)
"""What frameworks read when they are loaded."""


def threads_of(*, given: int, machine: int, trainers: int) -> int:
    """Return how many threads a trainer computes with.

    A trainer cannot see how many run beside it. One that was given some of a machine's cores has
    them for itself; one that was given all of them is taken to share them with every other trainer
    of its room.

    Args:
        given: Cores that it may use.
        machine: Cores that there are.
        trainers: Of the room.
    """
    return max(1, given if given < machine else given // trainers)


def thread_variables(count: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that is to compute with so many threads.

    What the environment says already stays: in a room the policy leaves it empty.
    """
    return {**dict.fromkeys(THREAD_VARIABLES, str(count)), **environment}
