"""`cloister cluster status`, `logs`, `stop` and `pull` of jobs that are over, or were lost."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from cloister.errors import CloisterError
from cloister.testing.keyservice import policy_text
from cloister.training.job_folder import JobFolder, JobState, Process
from cloister.training.job_logs import LogWriter, log_path
from cloister.training.supervision import Task
from unit.cli.conftest import Door
from unit.training.test_job_folder import state_of

GONE = Process(2**22 + 1, 1, "another boot")


def job(door: Door, folder_name: str = "digits", **changes: object) -> JobState:
    """Leave a job in the working directory: two workers, one of which failed."""
    folder = JobFolder(door.folder / "jobs" / folder_name)
    folder.make()
    [first] = state_of().instances
    first = replace(first, process=GONE, life="ended", status=0, restarts=0)
    second = replace(first, index=1, status=3, restarts=2, error="no \x1b[2Jroom [storage.full]")
    facts = {"runner": GONE, "status": "failed", "why": "worker-1: it broke", "ended": 9}
    state = state_of(instances=(first, second), **(facts | changes))
    folder.write(state)
    for task, lines in ((Task("worker", 0), ["one", "two"]), (Task("worker", 1), ["three"])):
        log = LogWriter(log_path(folder.logs, task))
        log.write(lines, 1_800_000_000 + task.index)
        log.close()
    return state


def code_of(door: Door, *words: str | Path) -> str:
    error = door.call(*words).exception
    assert isinstance(error, CloisterError), error
    return error.code


def test_status_of_a_job_that_failed(door: Door) -> None:
    """For people and machines; what an instance said moves no cursor."""
    job(door)
    shown = door.call("cluster", "status").stdout
    assert "failed\nworker-1: it broke\n" in shown
    assert "worker-1: it broke" in shown
    assert "\x1b" not in shown
    found = door.record("cluster", "status")
    assert (found["status"], found["why"], found["receipt"]) == (
        "failed",
        "worker-1: it broke",
        None,
    )
    assert [each["restarts"] for each in found["instances"]] == [0, 2]
    assert [each["process"] for each in found["instances"]] == [None, None]


def test_the_newest_job_is_meant(door: Door) -> None:
    """Or the one that is named."""
    job(door, "old", name="old")
    job(door, "new", name="new")
    (door.folder / "jobs/old/state.json").touch()
    os.utime(door.folder / "jobs/new/state.json", (1, 1))
    assert door.record("cluster", "status")["name"] == "old"
    assert door.record("cluster", "status", "--job", "jobs/new")["name"] == "new"


def test_without_a_job(door: Door) -> None:
    """Each command says so."""
    for words in (["status"], ["logs"], ["stop"], ["pull", "out"]):
        assert code_of(door, "cluster", *words) == "config.missing"
        assert code_of(door, "cluster", *words, "--job", "none") == "config.missing"


def test_logs_of_all_of_a_role_or_of_one(door: Door) -> None:
    """Behind names, with times where asked."""
    job(door)
    every = "[worker-0] one\n[worker-0] two\n[worker-1] three\n"
    assert door.call("cluster", "logs").stdout == every
    assert door.call("cluster", "logs", "-f", "worker").stdout == every
    assert door.call("cluster", "logs", "worker-1").stdout == "[worker-1] three\n"
    assert door.call("cluster", "logs", "worker-1", "--times").stdout == (
        "2027-01-15T08:00:01.000Z [worker-1] three\n"
    )
    assert code_of(door, "cluster", "logs", "ps") == "config.missing"


def test_logs_that_the_policy_drops(door: Door) -> None:
    """It is said that there are none."""
    [first, second] = job(door).instances
    JobFolder(door.folder / "jobs/digits").write(
        state_of(runner=GONE, instances=(replace(first, logs="drop"), second))
    )
    assert "the policy drops the output of worker" in door.call("cluster", "logs").stderr


def test_a_job_that_was_lost(door: Door) -> None:
    """Its runner was killed; nothing is left to stop."""
    job(door, status="running", why="", ended=None)
    assert door.record("cluster", "status")["status"] == "lost"
    assert "gone" in door.call("cluster", "status").stdout
    assert "lost" in door.call("cluster", "stop").stdout
    assert door.record("cluster", "stop")["status"] == "lost"


def test_results_are_pulled(door: Door, plain: Path) -> None:
    """Of each volume that the job writes; not while somebody else writes it."""
    (door.folder / "policy.yaml").write_text(policy_text(door.bench))
    made = door.record("volume", "create", "store")
    text = policy_text(door.bench).replace("64" * 16, made["id"])
    assert made["id"] in text
    (door.folder / "policy.yaml").write_text(text)
    state = job(door, file=str(door.folder / "policy.yaml"), stores={"data": "store"})
    train = tuple(replace(each, role="train") for each in state.instances)
    JobFolder(door.folder / "jobs/digits").write(replace(state, instances=train))
    found = door.record("cluster", "pull", "out")
    [volume] = found["volumes"]
    assert (volume["volume"], volume["target"]) == ("data", "out/data")
    assert (door.folder / "out" / "data").is_dir()
    assert "data: version" in door.call("cluster", "pull", "again").stdout
    assert code_of(door, "cluster", "pull", "more", "--volume", "code") == "config.value"
    with door.owner.writing(door.folder / "store"):
        assert code_of(door, "cluster", "pull", "third") in {"volume.busy", "volume.leased"}


def test_a_job_that_runs_is_not_pulled(door: Door) -> None:
    """Its writers are not done."""
    folder = JobFolder(door.folder / "jobs" / "digits")
    folder.make()
    folder.write(state_of())
    assert code_of(door, "cluster", "pull", "out") == "cluster.running"
    assert json.loads((folder.path / "state.json").read_text())["status"] == "running"
