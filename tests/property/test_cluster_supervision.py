"""Any sequence of ends, stubborn instances and requests to stop comes to an end, within limits."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cloister.training.supervision import (
    Action,
    Patience,
    Seat,
    Signal,
    Start,
    Supervision,
    Task,
)

PATIENCE = Patience(
    first_pause_s=1, longest_pause_s=8, gather_s=3, linger_s=2, grace_s=5, deadline_s=None
)
SEATS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(("ends", "ends", "lingers", "serves"))),
    min_size=1,
    max_size=6,
).map(lambda found: [(found[0][0], "ends"), *found[1:]])
LIVES = st.lists(
    st.tuples(
        st.integers(0, 40),  # tenths of a second until it ends by itself
        st.sampled_from((0, 0, 1, 73, 143)),
        st.booleans(),  # hopeless
        st.sampled_from(("stops", "slow", "deaf")),
    ),
    min_size=1,
    max_size=40,
)


@dataclass
class World:
    """Instances that live as drawn, and a queue of what happens to them."""

    job: Supervision
    lives: list[tuple[int, int, bool, str]]
    running: dict[Task, tuple[int, str, bool]] = field(default_factory=dict)
    starts: dict[Task, int] = field(default_factory=dict)
    events: list[tuple[float, int, Task, int, bool]] = field(default_factory=list)
    asked: set[Task] = field(default_factory=set)
    number: int = 0

    def do(self, actions: Iterable[Action], at: float) -> None:
        for action in actions:
            task = action.task
            if isinstance(action, Start):
                assert task not in self.running, "two of one instance"
                wait, status, hopeless, manner = self.lives[self.number % len(self.lives)]
                self.number += 1
                self.running[task] = (self.number, manner, False)
                self.starts[task] = self.starts.get(task, 0) + 1
                self.asked.discard(task)
                if status or manner != "deaf":
                    event = (at + wait / 10, self.number, task, status, hopeless and status != 0)
                    heapq.heappush(self.events, event)
            elif task in self.running:
                assert isinstance(action, Signal)
                number, manner, _ = self.running[task]
                assert action.kill or task not in self.asked, "asked twice"
                self.asked.add(task)
                if action.kill or manner == "stops":
                    heapq.heappush(self.events, (at, number, task, 143, False))
                elif manner == "slow":
                    heapq.heappush(self.events, (at + 2, number, task, 0, False))

    def next_end(self) -> tuple[float, Task, int, bool] | None:
        while self.events:
            at, number, task, status, hopeless = self.events[0]
            if task in self.running and self.running[task][0] == number:
                return at, task, status, hopeless
            heapq.heappop(self.events)
        return None


@given(
    seats=SEATS,
    lives=LIVES,
    together=st.booleans(),
    stops=st.lists(st.integers(0, 300), max_size=3).map(sorted),
)
def test_every_job_ends_within_its_limits(
    seats: list[tuple[int, Any]],
    lives: list[tuple[int, int, bool, str]],
    together: bool,  # noqa: FBT001  # drawn
    stops: list[int],
) -> None:
    """Nobody is started too often, twice at once, or forgotten."""
    tasks = {Task("w", n): Seat(limit, part) for n, (limit, part) in enumerate(seats)}
    job = Supervision(tasks, together=together, patience=PATIENCE)
    world = World(job, lives)
    at = 0.0
    world.do(job.begin(at), at)
    asks = [stop / 10 for stop in stops] + [1000.0]  # some would run for ever: somebody asks
    for _ in range(2000):
        if job.over:
            break
        end, wake = world.next_end(), job.wake()
        times = [end[0] if end else None, wake, asks[0] if asks else None]
        known = [time for time in times if time is not None]
        assert known, "nothing would ever happen again"
        at = max(at, min(known))
        if end and end[0] <= at:
            _, task, status, hopeless = end
            del world.running[task]
            world.do(job.ended(task, status, at, hopeless=hopeless), at)
        elif asks and asks[0] <= at:
            asks.pop(0)
            world.do(job.stop(at), at)
        else:
            world.do(job.tick(at), at)
            assert job.over or (job.wake() or at + 1) > at, "it wants to be woken at once again"
    assert job.over, "it goes on"
    assert not world.running, "somebody was forgotten"
    assert all(world.starts[task] <= 1 + seat.restarts for task, seat in tasks.items())
    assert all(job.restarts(task) == world.starts[task] - 1 for task in tasks)
    verdict = job.verdict
    assert verdict is not None
    assert (verdict.task is not None) == (verdict.status == "failed")
