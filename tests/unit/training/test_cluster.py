"""All instances of a job, as doubles: started, told of, started again, stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from cloister.training.job_folder import process_of
from cloister.training.screen import Terminal
from cloister.training.supervision import Patience, Verdict
from unit.training.jobs import DoubleJob, double_job

HELLO = {"steps": [["announce"], ["print", "hello\n"]]}
WAIT = {"steps": [["announce"], ["until", "go"]]}
FAIL = {"steps": [["announce"], ["print", "ValueError: no\n"]], "status": 3}


def test_all_run_to_the_end(tmp_path: Path) -> None:
    """Each line behind its name; the state says how it ended; nobody has an address any more."""
    job = double_job(tmp_path, {"chief": 1, "worker": 2})
    for name in ("chief-0", "worker-0", "worker-1"):
        job.script(name, HELLO)
    outcome = job.run()
    assert outcome.verdict == Verdict("done")
    assert sorted(job.shown.splitlines()) == [
        "[chief-0] hello",
        "[worker-0] hello",
        "[worker-1] hello",
    ]
    state = job.job.read()
    assert (state.status, state.lost, state.left) == ("done", False, ())
    assert [each.status for each in state.instances] == [0, 0, 0]
    assert job.job.announced() == frozenset()
    assert (job.job.path / "state.json").stat().st_mode & 0o777 == 0o600
    assert job.job.path.stat().st_mode & 0o777 == 0o700


def test_one_that_fails_runs_again(tmp_path: Path) -> None:
    """With a receipt for each life."""
    job = double_job(tmp_path, {"worker": 2})
    job.script("worker-0", FAIL, FAIL, HELLO)
    job.script("worker-1", HELLO)
    assert job.run().verdict == Verdict("done")
    assert len(job.lives("worker-0")) == 3
    assert [each.restarts for each in job.job.read().instances] == [2, 0]
    assert "cloister: worker-0 ended with status 3; it starts again" in job.shown


def test_one_that_fails_for_good_stops_all(tmp_path: Path) -> None:
    """And the outcome says who, why, and what it said last."""
    job = double_job(tmp_path, {"ps": 1, "worker": 2}, restarts={"worker": 1})
    job.script("worker-0", FAIL)
    job.script("worker-1", WAIT)
    job.script("ps-0", WAIT)
    outcome = job.run()
    assert outcome.verdict.status == "failed"
    assert outcome.last_lines == ("ValueError: no", "ValueError: no")
    assert outcome.state.why == (
        "worker-0: it ended with status 3, and said last: ValueError: no; it was started again once"
    )
    assert [each.status for each in job.job.read().instances] == [143, 3, 143]
    assert all(process_of(pid) is None for name in ("ps-0", "worker-1") for pid in job.lives(name))


def test_what_the_key_service_refused_is_not_tried_again(tmp_path: Path) -> None:
    """A worker with another script never gets in; the code says so."""
    job = double_job(tmp_path, {"worker": 2})
    refusal = {"code": "appraisal.code", "message": "the code is not the policy's", "hint": "x"}
    job.script("worker-0", {"status": 77, "error": refusal})
    job.script("worker-1", WAIT)
    outcome = job.run()
    assert outcome.state.why == "worker-0: the code is not the policy's [appraisal.code]"
    assert outcome.hint == "x"
    assert len(job.lives("worker-0")) == 1


def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    """A key service that is away for a moment."""
    job = double_job(tmp_path, {"worker": 1})
    away = {"code": "keyservice.unreachable", "message": "nobody answers"}
    job.script("worker-0", {"status": 75, "error": away}, HELLO)
    assert job.run().verdict.status == "done"


def test_one_killed_in_step_takes_the_others_along(tmp_path: Path) -> None:
    """Those that do not fail by themselves are stopped, and all begin again."""
    job = double_job(tmp_path, {"worker": 3}, framework="pytorch")
    job.script("worker-0", WAIT, HELLO)
    job.script("worker-1", WAIT, HELLO)
    job.script("worker-2", {"steps": [["announce"], ["sleep", 0.1]], "status": 1}, HELLO)
    assert job.run().verdict.status == "done"
    assert [len(job.lives(f"worker-{index}")) for index in range(3)] == [2, 2, 2]
    assert "all are started again" in job.shown


def test_a_parameter_server_is_stopped_at_the_end(tmp_path: Path) -> None:
    """It serves for ever; so does the worker, whose steps the chief hands out."""
    counts = {"chief": 1, "worker": 1, "ps": 1}
    job = double_job(tmp_path, counts, framework="tensorflow")
    job.script("ps-0", WAIT)
    job.script("worker-0", WAIT)
    job.script("chief-0", HELLO)
    assert job.run().verdict == Verdict("done")
    assert [each.status for each in job.job.read().instances] == [0, 143, 143]


def test_stopping_asks_and_then_kills(tmp_path: Path) -> None:
    """One that is deaf is killed at the second request."""
    job = double_job(tmp_path, {"worker": 2})
    job.patience = Patience(grace_s=60)
    job.script("worker-0", WAIT)
    job.script("worker-1", {"steps": [["deaf"], ["announce"], ["until", "go"]]})

    def ask() -> None:
        job.await_state(lambda state: {each.life for each in state.instances} == {"running"})
        job.stops.request(signal.SIGTERM)
        job.await_state(lambda state: state.instances[0].status == 143)
        job.stops.request(signal.SIGTERM)

    thread = job.beside(ask)
    outcome = job.run()
    thread.join(5)
    assert outcome.verdict.status == "stopped"
    assert [each.status for each in outcome.state.instances] == [143, 137]


def test_one_that_is_deaf_is_killed_after_the_grace(tmp_path: Path) -> None:
    """Nobody keeps a job from ending."""
    job = double_job(tmp_path, {"worker": 2}, restarts={"worker": 0})
    job.script("worker-0", {"steps": [["deaf"], ["until", "go"]]})
    job.script("worker-1", {"steps": [["sleep", 0.3]], "status": 1})
    assert job.run().verdict.status == "failed"
    assert job.job.read().instances[0].status == 137


def test_what_an_instance_leaves_behind_holds_nobody_up(tmp_path: Path) -> None:
    """A process that keeps the pipes open is not waited for."""
    job = double_job(tmp_path, {"worker": 1})
    job.script("worker-0", {"steps": [["fork", 10], ["print", "last words"]]})
    began = time.monotonic()
    assert job.run().verdict.status == "done"
    assert time.monotonic() - began < 8
    assert job.shown == "[worker-0] last words\n"


def test_who_starts_slowly_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line where nobody looks, on the last row of a terminal."""
    monkeypatch.setattr("cloister.training.cluster._SLOW_S", 0.1)
    monkeypatch.setattr("cloister.training.cluster._LOOK_S", 0.05)
    for number, terminal in enumerate((None, Terminal(80, 24, coloured=False))):
        folder = tmp_path / str(number)
        folder.mkdir()
        job = double_job(folder, {"worker": 2})
        job.script("worker-0", {"steps": [["until", "go"], ["announce"], ["until", "end"]]})
        job.script("worker-1", {"steps": [["announce"], ["until", "end"]]})

        def let_go(job: DoubleJob = job) -> None:
            job.await_shown("starting: worker-0, ")
            job.raise_flag("go")
            job.await_state(lambda state: {each.life for each in state.instances} == {"running"})
            if job.terminal is None:
                job.await_shown("cloister: all run\n")
            job.raise_flag("end")

        job.terminal = terminal
        thread = job.beside(let_go)
        job.run()
        thread.join(5)
        assert "starting: worker-0, " in job.shown


def test_sixty_four_instances(tmp_path: Path) -> None:
    """All lines come whole, in the order of each."""
    job = double_job(tmp_path, {"worker": 64})
    lines = "".join(f"step {n} " + "x" * 50 + "\n" for n in range(20))
    for index in range(64):
        job.script(f"worker-{index}", {"steps": [["announce"], ["print", lines]]})
    assert job.run().verdict.status == "done"
    found: dict[str, list[str]] = {}
    for line in job.shown.splitlines():
        if line.startswith("["):
            name, _, text = line.partition("] ")
            found.setdefault(name, []).append(text)
    assert len(found) == 64
    assert all(texts == lines.splitlines() for texts in found.values())


def test_no_descriptor_and_no_child_is_left(tmp_path: Path) -> None:
    """After restarts as well."""
    before = list(Path("/proc/self/fd").iterdir())
    others = {child.pid for child in psutil.Process().children()}  # of earlier tests
    job = double_job(tmp_path, {"worker": 3})
    job.script("worker-0", FAIL, HELLO)
    job.run()
    job.stops = type(job.stops)()
    assert len(list(Path("/proc/self/fd").iterdir())) <= len(before) + 2  # those of the new `stops`
    assert {child.pid for child in psutil.Process().children()} <= others
