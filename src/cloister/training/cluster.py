"""All instances of a job on this machine: started, watched, told of, and ended together.

One loop, one thread: it waits for output, ends, signals and times, hears from `supervision.py` what
to do, and does it. Each instance is a process of its own that attests by itself; nothing that this
one does can give any of them a key that the policy does not, and it holds none.

Whatever ends this process ends the instances as well: the kernel signals them.
"""

from __future__ import annotations

import contextlib
import select
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cloister.errors import CloisterError
from cloister.launcher.supervision import StopRequests
from cloister.training.instances import End, Instance
from cloister.training.job_folder import InstanceState, JobFolder, JobState, process_of
from cloister.training.job_logs import LogWriter, log_path
from cloister.training.supervision import Patience, Signal, Start, Supervision, Task, Verdict

if TYPE_CHECKING:
    from cloister.keyservice.clock import Clock, Moment
    from cloister.training.job_plan import JobPlan
    from cloister.training.lines import Line
    from cloister.training.outbox import Outbox
    from cloister.training.screen import Screen

__all__ = ["ClusterOutcome", "ClusterRequest", "run_cluster"]

_LOOK_S: Final = 0.5  # between looks for addresses of instances that start
_SLOW_S: Final = 2.0
_LAST_LINES: Final = 10
_NAMED: Final = 4  # of those that start slowly: more do not fit a row
_NOT_STARTED: Final = End(126, hopeless=True, why="")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRequest:
    """What to run.

    Attributes:
        plan: Who there is.
        folder: The job's, made already.
        command: Makes the words that start an instance, from its task and its receipt's path.
        environment: Of the started processes.
        policy_file: For whoever looks at the job later.
        stores: Volume to the folder that was named for it; likewise.
        runner: This process's number.
        clock: Reads the time.
        patience: How long to wait for what.
    """

    plan: JobPlan
    folder: JobFolder
    command: Callable[[Task, str], Sequence[str]]
    environment: Mapping[str, str]
    policy_file: str
    stores: Mapping[str, str]
    runner: int
    clock: Clock
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOutcome:
    """How a job ended.

    Attributes:
        verdict: Done, failed or stopped.
        state: What the folder's state says now.
        last_lines: What the instance that failed said last; empty where none did.
        hint: What it said to do next; empty for nothing.
    """

    verdict: Verdict
    state: JobState
    last_lines: tuple[str, ...]
    hint: str = ""


def run_cluster(
    request: ClusterRequest, screen: Screen, outbox: Outbox, *, stops: StopRequests
) -> ClusterOutcome:
    """Run a job to its end.

    Args:
        request: What to run.
        screen: Makes what a person sees.
        outbox: Takes that.
        stops: What asks us to stop; entered already.

    Raises:
        ConfigError: The folder cannot be written when the job begins.
    """
    cluster = _Cluster(request, screen, outbox)
    try:
        return cluster.run(stops)
    finally:
        cluster.abandon()


class _Seat:
    """One instance: its process while there is one, its log, and what it said last."""

    def __init__(self, log: LogWriter) -> None:
        self.instance: Instance | None = None
        self.end: End | None = None
        self.life = "starting"
        self.log = log
        self.started_at = 0.0
        self.last: deque[str] = deque(maxlen=_LAST_LINES)


class _Cluster:
    def __init__(self, request: ClusterRequest, screen: Screen, outbox: Outbox) -> None:
        self._request = request
        self._screen = screen
        self._outbox = outbox
        self._folder = request.folder
        self._supervision = Supervision(
            request.plan.seats, together=request.plan.together, patience=request.patience
        )
        self._seats = {
            task: _Seat(LogWriter(log_path(self._folder.logs, task))) for task in request.plan.seats
        }
        self._watched: dict[int, tuple[Task, Callable[[Task, Instance], None]]] = {}
        self._began: Moment = request.clock()
        self._ended: int | None = None
        self._changed = False
        self._look_at: float | None = None
        self._told_slow = False

    def run(self, stops: StopRequests) -> ClusterOutcome:
        """Run to the end."""
        supervision = self._supervision
        self._do(supervision.begin(self._began.uptime))
        self._folder.write(self._state())
        self._look_at = self._began.uptime + _LOOK_S
        while not supervision.over:
            ready = self._wait(stops)
            if stops.fileno() in ready:
                self._stop(stops)
            for descriptor in sorted(ready & set(self._watched)):
                if descriptor in self._watched:  # not closed by what came before it
                    task, hear = self._watched[descriptor]
                    instance = self._seats[task].instance
                    if instance is not None:
                        hear(task, instance)
            self._do(supervision.tick(self._now()))
            self._look(self._now())
            self._outbox.flush()
            self._keep()
        verdict = supervision.verdict
        assert verdict is not None  # noqa: S101  # for mypy: it is over
        self._ended = self._request.clock().at
        self._outbox.put(self._screen.status(""))
        self._changed = True
        self._keep()
        failed = None if verdict.task is None else self._seats[verdict.task]
        if failed is None:
            return ClusterOutcome(verdict=verdict, state=self._state(), last_lines=())
        return ClusterOutcome(
            verdict=verdict,
            state=self._state(),
            last_lines=tuple(failed.last),
            hint="" if failed.end is None else failed.end.hint,
        )

    def abandon(self) -> None:
        """Kill what still runs: an error of our own leaves nobody behind."""
        for seat in self._seats.values():
            if seat.instance is not None:
                seat.instance.signal(signal.SIGKILL)
                seat.instance.finish()
                seat.instance = None
            seat.log.close()

    def _now(self) -> float:
        return self._request.clock().uptime

    def _wait(self, stops: StopRequests) -> set[int]:
        """Wait until something happens; with a full outbox no output is read."""
        poll = select.poll()
        poll.register(stops.fileno(), select.POLLIN)
        if self._outbox.waits_for is not None:
            poll.register(self._outbox.waits_for, select.POLLOUT)
        for descriptor, (_, hear) in self._watched.items():
            if not (self._outbox.full and hear == self._hear_output):
                poll.register(descriptor, select.POLLIN)
        times = [time for time in (self._supervision.wake(), self._look_at) if time is not None]
        wait_ms = None
        if times:
            wait_ms = max(0.0, min(times) - self._now()) * 1000 + 1
        return {descriptor for descriptor, _ in poll.poll(wait_ms)}

    def _stop(self, stops: StopRequests) -> None:
        for _ in stops.take():
            asked_before = self._supervision.verdict is not None
            self._do(self._supervision.stop(self._now()))
            self._note("cloister: " + ("killing all" if asked_before else "stopping all"))
            self._changed = True

    def _do(self, actions: Iterable[Start | Signal]) -> None:
        not_started = []
        for action in actions:
            seat = self._seats[action.task]
            if isinstance(action, Start):
                if not self._start(action.task, seat):
                    not_started.append(action.task)
            elif seat.instance is not None:
                seat.instance.signal(signal.SIGKILL if action.kill else signal.SIGTERM)
        for task in not_started:  # when all others are, so that a signal finds them
            self._hear_of(task, _NOT_STARTED)

    def _start(self, task: Task, seat: _Seat) -> bool:
        self._folder.forget_address(task)
        receipt = self._folder.receipt_path(task, self._supervision.restarts(task))
        command = self._request.command(task, str(receipt))
        self._changed = True
        try:
            instance = Instance(command, self._request.environment)
        except OSError as e:
            seat.last.append(f"{command[0]}: {e.strerror}")
            return False
        seat.instance, seat.life, seat.end = instance, "starting", None
        seat.started_at = self._now()
        self._watched[instance.output_fd] = (task, self._hear_output)
        self._watched[instance.result_fd] = (task, self._hear_result)
        self._watched[instance.exit_fd] = (task, self._hear_end)
        self._look_at = self._now() + _LOOK_S
        return True

    def _hear_output(self, task: Task, instance: Instance) -> None:
        lines = instance.read_output()
        if lines is None:
            del self._watched[instance.output_fd]
        else:
            self._show(task, lines)

    def _hear_result(self, _task: Task, instance: Instance) -> None:
        if not instance.read_result():
            del self._watched[instance.result_fd]

    def _hear_end(self, task: Task, instance: Instance) -> None:
        for descriptor in (instance.output_fd, instance.result_fd, instance.exit_fd):
            self._watched.pop(descriptor, None)
        lines, end = instance.finish()
        self._show(task, lines)
        self._outbox.put(self._screen.forget(task))
        self._folder.forget_address(task)
        self._hear_of(task, end)

    def _hear_of(self, task: Task, end: End) -> None:
        seat = self._seats[task]
        seat.instance, seat.end, seat.life = None, end, "ended"
        seat.log.close()
        self._changed = True
        decided, gathering = self._supervision.verdict is not None, self._supervision.gathering
        why = end.why or _last_of(seat, end.status)
        actions = self._supervision.ended(
            task, end.status, self._now(), hopeless=end.hopeless, why=why
        )
        if not decided:
            self._tell_end(task, end, gathering=gathering)
        self._do(actions)

    def _tell_end(self, task: Task, end: End, *, gathering: bool) -> None:
        """Tell what an end means that follows from no other."""
        verdict = self._supervision.verdict
        if verdict is not None and verdict.status == "failed":
            self._note(f"cloister: {task.name} failed for good; stopping all")
        elif end.status != 0 and not gathering:
            again = "all are started again" if self._request.plan.together else "it starts again"
            self._note(f"cloister: {task.name} ended with status {end.status}; {again}")

    def _show(self, task: Task, lines: Sequence[Line]) -> None:
        moment = self._request.clock()
        whole = [line.text for line in lines if line.kind == "line"]
        seat = self._seats[task]
        seat.last.extend(text for text in whole if text)
        seat.log.write(whole, self._began.at + moment.uptime - self._began.uptime)
        self._outbox.put(self._screen.show(task, lines, moment.uptime))

    def _note(self, text: str) -> None:
        self._outbox.put(self._screen.note(text))

    def _look(self, now: float) -> None:
        """See who has an address by now, and tell who has not, when that takes long."""
        if self._look_at is None or now < self._look_at:
            return
        there = self._folder.announced()
        for task, seat in self._seats.items():
            if seat.life == "starting" and seat.instance is not None and task.name in there:
                seat.life = "running"
                self._changed = True
        late = {
            task.name: now - seat.started_at
            for task, seat in self._seats.items()
            if seat.instance is not None and seat.life == "starting"
        }
        self._look_at = now + _LOOK_S if late else None
        waits = max(late.values(), default=0.0)
        more = " and more" if len(late) > _NAMED else ""
        text = f"starting: {', '.join(list(late)[:_NAMED])}{more}, {waits:.0f} s"
        slow = bool(late) and waits >= _SLOW_S
        self._outbox.put(self._screen.status(text if slow else ""))
        if not self._screen.is_terminal and slow != self._told_slow and (slow or not late):
            self._note(f"cloister: {text}" if slow else "cloister: all run")
            self._told_slow = slow

    def _keep(self) -> None:
        """Write the state where it changed; a full disk does not stop a job."""
        if self._changed:
            with contextlib.suppress(CloisterError):
                self._folder.write(self._state())
                self._changed = False

    def _state(self) -> JobState:
        verdict = self._supervision.verdict
        runner = process_of(self._request.runner)
        assert runner is not None  # noqa: S101  # for mypy: it is this process
        status = "running" if verdict is None else "stopping"
        if verdict is not None and self._ended is not None:
            status = verdict.status
        why = ""
        if verdict is not None and verdict.status != "done":
            why = verdict.why if verdict.task is None else f"{verdict.task.name}: {verdict.why}"
        plan = self._request.plan
        return JobState(
            name=plan.name,
            policy=plan.policy,
            file=self._request.policy_file,
            runner=runner,
            status=status,
            why=why,
            began=self._began.at,
            ended=self._ended,
            stores=self._request.stores,
            instances=tuple(self._instance(task) for task in self._seats),
        )

    def _instance(self, task: Task) -> InstanceState:
        seat = self._seats[task]
        end = seat.end
        return InstanceState(
            role=task.role,
            index=task.index,
            life="waiting" if self._supervision.waits(task) else seat.life,
            restarts=self._supervision.restarts(task),
            status=None if end is None else end.status,
            process=None if seat.instance is None else seat.instance.process,
            error=None if end is None or not end.why else end.why,
            logs=self._request.plan.logs[task.role],
        )


def _last_of(seat: _Seat, status: int) -> str:
    """Return how a program that ended by itself is told of."""
    said = f"it ended with status {status}"
    if status == 0 or not seat.last:
        return said
    return f"{said}, and said last: {seat.last[-1][:200]}"
