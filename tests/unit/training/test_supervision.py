"""What is decided when an instance of a job ends."""

from __future__ import annotations

import pytest

from cloister.training.supervision import (
    Patience,
    Seat,
    Signal,
    Start,
    Supervision,
    Task,
    Verdict,
    tasks_of,
)

A, B = Task("worker", 0), Task("worker", 1)
PS, CHIEF = Task("ps", 0), Task("chief", 0)


def of(
    seats: dict[Task, Seat], *, together: bool = False, deadline_s: float | None = None
) -> Supervision:
    return Supervision(
        seats,
        together=together,
        patience=Patience(
            first_pause_s=1,
            longest_pause_s=4,
            gather_s=10,
            linger_s=5,
            grace_s=60,
            deadline_s=deadline_s,
        ),
    )


def term(*tasks: Task) -> list[Signal]:
    return [Signal(task, kill=False) for task in tasks]


def kill(*tasks: Task) -> list[Signal]:
    return [Signal(task, kill=True) for task in tasks]


def test_a_job_is_done_when_all_have_ended_well() -> None:
    """And not before."""
    job = of({A: Seat(0), B: Seat(0)})
    assert job.begin(0) == [Start(A), Start(B)]
    assert job.wake() is None
    assert job.ended(A, 0, 1) == []
    assert job.verdict is None
    assert job.ended(B, 0, 2) == []
    assert (job.verdict, job.over) == (Verdict("done"), True)


def test_one_that_fails_is_started_again_after_a_pause_that_grows() -> None:
    """1 s, 2 s, 4 s and not more; then it has failed for good."""
    job = of({A: Seat(4), B: Seat(0)})
    job.begin(0)
    at = 10.0
    for pause in (1, 2, 4, 4):
        assert job.ended(A, 1, at) == []
        assert (job.wake(), job.waits(A)) == (at + pause, True)
        assert job.tick(at + pause - 0.1) == []
        assert job.tick(at + pause) == [Start(A)]
        at += pause
    assert job.restarts(A) == 4
    assert job.ended(A, 1, at, why="it broke") == term(B)
    assert job.verdict == Verdict("failed", A, "it broke; it was started again 4 times")
    assert not job.over
    job.ended(B, 143, at)
    assert job.over


def test_what_is_hopeless_is_not_tried_again() -> None:
    """All others are asked to stop, and killed when they do not."""
    job = of({A: Seat(9), B: Seat(9)})
    job.begin(0)
    assert job.ended(A, 77, 1, hopeless=True, why="refused") == term(B)
    assert job.verdict == Verdict("failed", A, "refused")
    assert job.wake() == 61
    assert job.tick(61) == kill(B)
    assert job.wake() is None
    assert job.ended(B, 137, 62) == []
    assert job.over


def test_those_in_step_begin_again_together() -> None:
    """However many fail of one failure, each is started once more, when all are gone."""
    job = of({A: Seat(1), B: Seat(1), CHIEF: Seat(1)}, together=True)
    job.begin(0)
    assert job.ended(A, 1, 5) == []
    assert job.wake() == 15
    assert job.ended(B, 1, 6) == []
    assert job.tick(15) == term(CHIEF)
    assert job.tick(16) == []
    assert job.ended(CHIEF, 143, 17) == []
    assert job.wake() == 18
    assert job.tick(18) == [Start(CHIEF), Start(A), Start(B)]
    assert [job.restarts(task) for task in (A, B, CHIEF)] == [1, 1, 1]
    assert job.ended(B, 1, 19) == term(CHIEF, A)
    assert job.verdict == Verdict("failed", B, "it ended with status 1; it was started again once")


def test_one_in_step_that_does_not_stop_is_killed() -> None:
    """The others do not wait for it for ever."""
    job = of({A: Seat(1), B: Seat(1)}, together=True)
    job.begin(0)
    job.ended(A, 1, 0)
    assert job.tick(10) == term(B)
    assert job.wake() == 70
    assert job.tick(70) == kill(B)
    job.ended(B, 137, 71)
    assert job.tick(72) == [Start(A), Start(B)]


def test_one_in_step_that_had_ended_well_begins_again() -> None:
    """Whoever failed would wait for it for ever."""
    job = of({A: Seat(1), B: Seat(1)}, together=True)
    job.begin(0)
    job.ended(A, 0, 1)
    job.ended(B, 1, 2)
    assert job.tick(3) == [Start(A), Start(B)]


def test_no_restart_of_one_in_step_where_another_may_not() -> None:
    """A role of which the policy allows none ends the job."""
    job = of({A: Seat(5), CHIEF: Seat(0)}, together=True)
    job.begin(0)
    assert job.ended(A, 1, 1) == term(CHIEF)
    why = "it ended with status 1; and chief-0, which would begin again with it, may not any more"
    assert job.verdict == Verdict("failed", A, why)


def test_a_server_is_stopped_when_all_else_is_done() -> None:
    """`ps` runs for ever by design; workers may end a moment later than the chief."""
    job = of({CHIEF: Seat(0), PS: Seat(0, "serves"), A: Seat(0, "lingers")})
    job.begin(0)
    assert job.ended(CHIEF, 0, 10) == []
    assert (job.verdict, job.wake()) == (Verdict("done"), 15)
    assert job.ended(A, 0, 11) == term(PS)
    assert not job.over
    job.ended(PS, 143, 12)
    assert job.over
    assert job.verdict == Verdict("done")


def test_nobody_waits_long_for_one_that_lingers() -> None:
    """Five seconds here."""
    job = of({CHIEF: Seat(0), PS: Seat(0, "serves"), A: Seat(0, "lingers")})
    job.begin(0)
    job.ended(CHIEF, 0, 10)
    assert job.tick(15) == term(PS, A)


def test_a_server_that_fails_is_started_again() -> None:
    """The others go on."""
    job = of({CHIEF: Seat(0), PS: Seat(1, "serves")})
    job.begin(0)
    assert job.ended(PS, 1, 1) == []
    assert job.tick(2) == [Start(PS)]
    job.ended(CHIEF, 0, 3)
    assert job.verdict == Verdict("done")


def test_asking_twice_kills() -> None:
    """The first time all are asked; nothing is started any more."""
    job = of({A: Seat(3), B: Seat(3)})
    job.begin(0)
    job.ended(A, 1, 1)
    assert job.stop(1.5) == term(B)
    assert job.tick(2) == []
    assert job.stop(3) == kill(B)
    job.ended(B, 137, 3)
    assert job.verdict is not None
    assert (job.verdict.status, job.over) == ("stopped", True)


def test_asking_while_a_done_job_lingers_ends_the_wait() -> None:
    """It is done all the same."""
    job = of({CHIEF: Seat(0), A: Seat(0, "lingers")})
    job.begin(0)
    job.ended(CHIEF, 0, 1)
    assert job.stop(2) == term(A)
    assert job.stop(3) == kill(A)
    job.ended(A, 137, 4)
    assert (job.verdict, job.over) == (Verdict("done"), True)


def test_a_deadline_ends_the_job() -> None:
    """Whoever hangs is stopped."""
    job = of({A: Seat(3)}, deadline_s=100)
    job.begin(5)
    assert job.wake() == 105
    assert job.tick(105) == term(A)
    assert job.verdict == Verdict("failed", None, "it was not done after 100 s")


def test_misuse_is_refused() -> None:
    """Nobody to wait for; an end of somebody who does not run."""
    with pytest.raises(ValueError, match="waits for"):
        of({PS: Seat(0, "serves")})
    job = of({A: Seat(0)})
    with pytest.raises(ValueError, match="does not run"):
        job.ended(A, 0, 0)


def test_tasks_of_roles() -> None:
    """By role and index."""
    assert tasks_of({"worker": 2, "chief": 1}.items()) == [CHIEF, A, B]
    assert A.name == "worker-0"
