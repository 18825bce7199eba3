"""When an instance of a job ends: start it again, start all again, stop all, or call it done.

A pure decision machine: it is told what happened and when, and answers with what to do. It trusts
what it is told; nothing that it decides gives anybody a key, which each instance gets for itself.

Rules:

* An instance that ends with another status than 0 has failed. It is started again after a pause
  that doubles with each restart, as often as its role allows (`Seat.restarts`), and never when what
  stopped it cannot be mended by another try (`hopeless`).
* Where tasks train in step (`together`), nobody can go on without the one that failed. So a failure
  is one incident of all: the others have a moment to fail by themselves, then they are asked to
  stop, and when all are gone all are started again. Each counts one restart, however many failed.
  Those that had ended well begin again too, for the others would wait for them for ever.
* The job is done when all whose part is `ends` have ended with 0. Those that `linger` may end by
  themselves a moment longer; those that `serve` never do. All are asked to stop.
* It has failed for good when an instance may not be started again, and then all are asked to stop.
* Who is asked to stop and does not is killed. Who asks twice wants them killed at once.

So it ends: each instance is started at most `restarts + 1` times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "Action",
    "Patience",
    "Seat",
    "Signal",
    "Start",
    "Supervision",
    "Task",
    "Verdict",
    "tasks_of",
]

Part = Literal["ends", "lingers", "serves"]
_MAX_DOUBLINGS: Final = 16
_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True, order=True)
class Task:
    """One instance of a role."""

    role: str
    index: int

    @property
    def name(self) -> str:
        """What people, peers and files call it."""
        return f"{self.role}-{self.index}"


@dataclass(frozen=True, slots=True)
class Seat:
    """What is known of an instance ahead.

    Attributes:
        restarts: How often it may be started again.
        part: `ends`: the job is not done before it has ended with 0. `lingers`: it may end by
            itself, and nobody waits long for that. `serves`: it runs until the others are done.
    """

    restarts: int
    part: Part = "ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what, in seconds.

    Attributes:
        first_pause_s: Before the first restart; each further one waits twice as long.
        longest_pause_s: And no longer than this.
        gather_s: For the others to fail by themselves, where all are started again together.
        linger_s: For those that linger, when all else is done.
        grace_s: Between asking to stop and killing. An instance gives its program 10 s, and then
            has to write back what its volumes hold.
        deadline_s: For the whole job; None for no limit.
    """

    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    gather_s: float = 10.0
    linger_s: float = 5.0
    grace_s: float = 60.0
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Start an instance; nothing of it runs."""

    task: Task


@dataclass(frozen=True, slots=True)
class Signal:
    """Ask an instance to stop, or kill it."""

    task: Task
    kill: bool


Action = Start | Signal


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the job ends.

    Attributes:
        status: `done`, `failed` for good, or `stopped` because somebody asked.
        task: Who failed, or None where nobody did.
        why: One sentence for people, without a period; empty where it is done.
    """

    status: Literal["done", "failed", "stopped"]
    task: Task | None = None
    why: str = ""


class _Life:
    """One instance now; times are those of whoever tells."""

    __slots__ = ("due", "kill_at", "restarts", "running", "seat", "status")

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.running = False
        self.status: int | None = None  # of its last end
        self.restarts = 0
        self.due: float | None = None  # when it is started again
        self.kill_at: float | None = None  # asked to stop already

    @property
    def ended_well(self) -> bool:
        return not self.running and self.due is None and self.status == 0


class Supervision:
    """Decides for one job. Call `begin` once, then `ended`, `stop` and `tick` as things happen.

    Each returns what to do, in order. After each, `wake` says when to call `tick` at the latest,
    and `over` whether all is finished: the verdict stands and nothing runs.
    """

    def __init__(
        self, seats: Mapping[Task, Seat], *, together: bool, patience: Patience | None = None
    ) -> None:
        """Take who there is, and whether they train in step.

        Raises:
            ValueError: Nobody, or nobody whose end is waited for.
        """
        if not any(seat.part == "ends" for seat in seats.values()):
            msg = "a job needs somebody whose end it waits for"
            raise ValueError(msg)
        self._lives = {task: _Life(seats[task]) for task in sorted(seats)}
        self._together = together
        self._patience = patience or Patience()
        self._verdict: Verdict | None = None
        self._gathering: float | None = None  # until when others may fail by themselves
        self._lingering: float | None = None
        self._deadline: float | None = None

    @property
    def verdict(self) -> Verdict | None:
        """How it ends, as soon as that is decided."""
        return self._verdict

    @property
    def over(self) -> bool:
        """Whether the verdict stands and nothing runs."""
        return self._verdict is not None and not any(self._running())

    @property
    def gathering(self) -> bool:
        """Whether one has failed, and the others are awaited to begin again with it."""
        return self._gathering is not None

    def restarts(self, task: Task) -> int:
        """Return how often an instance was started again."""
        return self._lives[task].restarts

    def waits(self, task: Task) -> bool:
        """Tell whether an instance will be started again."""
        return self._lives[task].due is not None

    def wake(self) -> float | None:
        """Return when `tick` has something to do at the latest; None for never."""
        times = [self._gathering, self._lingering]
        if self._verdict is None:
            times.append(self._deadline)
        for life in self._lives.values():
            times += [life.due, life.kill_at if life.running else None]
        return min((time for time in times if time is not None and time < _NEVER), default=None)

    def begin(self, at: float) -> list[Action]:
        """Start all."""
        if self._patience.deadline_s is not None:
            self._deadline = at + self._patience.deadline_s
        return [self._start(task) for task in self._lives]

    def ended(
        self, task: Task, status: int, at: float, *, hopeless: bool = False, why: str = ""
    ) -> list[Action]:
        """Hear that an instance ended.

        Args:
            task: One that was started and had not ended.
            status: Its exit status.
            at: Now.
            hopeless: Another try would end the same way.
            why: What it said itself, for the verdict.
        """
        life = self._lives[task]
        if not life.running:
            msg = f"{task.name} does not run"
            raise ValueError(msg)
        life.running, life.kill_at, life.status = False, None, status
        if self._verdict is not None:
            return self._end_lingering(at)
        said = why or f"it ended with status {status}"
        if status != 0 and hopeless:
            return self._decide(Verdict("failed", task, said), at)
        if self._gathering is not None:
            return self._start_all_again(at)
        if status == 0:
            return self._look_whether_done(at)
        return self._failed(task, said, at)

    def stop(self, at: float) -> list[Action]:
        """Hear that somebody wants it to stop: all are asked, and the second time killed."""
        asked = [life for _, life in self._running() if life.kill_at is not None]
        if self._verdict is None:
            return self._decide(Verdict("stopped", None, "somebody asked for it"), at)
        if self._lingering is not None or not asked:
            self._lingering = None
            return self._ask(at)
        return [self._kill(task) for task, _ in self._running()]

    def tick(self, at: float) -> list[Action]:
        """Do what time brings."""
        actions: list[Action] = [
            self._kill(task)
            for task, life in self._running()
            if life.kill_at is not None and life.kill_at <= at
        ]
        if self._verdict is None and self._deadline is not None and self._deadline <= at:
            said = f"it was not done after {self._patience.deadline_s:g} s"
            return actions + self._decide(Verdict("failed", None, said), at)
        if self._gathering is not None and self._gathering <= at:
            self._gathering = _NEVER
            actions += self._ask(at)
        if self._lingering is not None and self._lingering <= at:
            self._lingering = None
            actions += self._ask(at)
        for task, life in self._lives.items():
            if life.due is not None and life.due <= at:
                life.restarts += 1
                actions.append(self._start(task))
        return actions

    def _failed(self, task: Task, why: str, at: float) -> list[Action]:
        """Decide about an instance that failed and is worth another try."""
        again = self._lives if self._together else (task,)
        spent = [each for each in again if self._restarts_spent(each)]
        if spent:
            return self._decide(Verdict("failed", task, why + self._why_no_more(task, spent)), at)
        if self._together:
            self._gathering = at + self._patience.gather_s
            return self._start_all_again(at)
        self._lives[task].due = at + self._pause(self._lives[task])
        return []

    def _restarts_spent(self, task: Task) -> bool:
        return self._lives[task].restarts >= self._lives[task].seat.restarts

    def _why_no_more(self, task: Task, spent: Sequence[Task]) -> str:
        if task not in spent:
            return f"; and {spent[0].name}, which would begin again with it, may not any more"
        restarts = self._lives[task].restarts
        often = "once" if restarts == 1 else f"{restarts} times"
        return f"; it was started again {often}" if restarts else ""

    def _start_all_again(self, at: float) -> list[Action]:
        """Once nobody runs any more, all begin again."""
        if any(self._running()):
            return []
        self._gathering = None
        for life in self._lives.values():
            life.due = at + self._pause(life)
        return []

    def _look_whether_done(self, at: float) -> list[Action]:
        waited_for = (life for life in self._lives.values() if life.seat.part == "ends")
        if all(life.ended_well for life in waited_for):
            self._verdict = Verdict("done")
            self._forget_restarts()
            self._lingering = at + self._patience.linger_s
            return self._end_lingering(at)
        return []

    def _end_lingering(self, at: float) -> list[Action]:
        """Ask the rest to stop as soon as nobody lingers."""
        lingers = any(life.seat.part == "lingers" for _, life in self._running())
        if self._lingering is None or lingers:
            return []
        self._lingering = None
        return self._ask(at)

    def _decide(self, verdict: Verdict, at: float) -> list[Action]:
        self._verdict = verdict
        self._gathering = None
        self._forget_restarts()
        return self._ask(at)

    def _forget_restarts(self) -> None:
        for life in self._lives.values():
            life.due = None

    def _ask(self, at: float) -> list[Action]:
        """Ask those to stop that run and were not asked before."""
        actions: list[Action] = []
        for task, life in self._running():
            if life.kill_at is None:
                life.kill_at = at + self._patience.grace_s
                actions.append(Signal(task, kill=False))
        return actions

    def _kill(self, task: Task) -> Signal:
        self._lives[task].kill_at = _NEVER
        return Signal(task, kill=True)

    def _start(self, task: Task) -> Start:
        life = self._lives[task]
        life.running, life.due, life.kill_at, life.status = True, None, None, None
        return Start(task)

    def _pause(self, life: _Life) -> float:
        doubled = self._patience.first_pause_s * (1 << min(life.restarts, _MAX_DOUBLINGS))
        return min(doubled, self._patience.longest_pause_s)

    def _running(self) -> Iterator[tuple[Task, _Life]]:
        return ((task, life) for task, life in self._lives.items() if life.running)


def tasks_of(counts: Iterable[tuple[str, int]]) -> list[Task]:
    """Return all instances of roles, by role and index."""
    return sorted(Task(role, index) for role, count in counts for index in range(count))
