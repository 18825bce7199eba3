"""A job's folder and its state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.errors import CloisterError, ConfigError, MalformedError, UnavailableError
from cloister.training.job_folder import (
    InstanceState,
    JobFolder,
    JobState,
    Process,
    process_of,
    signal_process,
)
from cloister.training.supervision import Task


def state_of(**changes: object) -> JobState:
    me = process_of(os.getpid())
    assert me is not None
    instance = InstanceState(
        role="worker",
        index=0,
        life="running",
        restarts=1,
        status=None,
        process=me,
        error=None,
        logs="pass",
    )
    state = JobState(
        name="digits",
        policy="sha256:" + "0" * 64,
        file="/x/policy.yaml",
        runner=me,
        status="running",
        why="",
        began=1,
        ended=None,
        stores={"data": "/x/data"},
        instances=(instance,),
    )
    return replace(state, **changes)  # type: ignore[arg-type]  # fields of a state


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    job = JobFolder(tmp_path / "jobs" / "digits")
    job.make()
    return job


def test_a_state_comes_back(folder: JobFolder) -> None:
    """As it was written, for its owner only."""
    folder.write(state_of())
    assert folder.read() == state_of()
    assert folder.read().instances[0].task == Task("worker", 0)
    assert [path.name for path in folder.path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "change",
    [
        {"format": "cloister/job-state/v2"},
        {"status": "happy"},
        {"status": ["running"]},
        {"runner": {"pid": "1", "started": 1, "boot": "x"}},
        {"runner": {"pid": 1}},
        {"runner": None},
        {"instances": [{}]},
        {"instances": 7},
        {"instances": [{"role": "../x"}]},
        {"ended": "now"},
        {"stores": {"data": 1}},
        {"stores": [1]},
        {"name": 1},
        {"more": 1},
    ],
)
def test_what_is_no_state_is_refused(folder: JobFolder, change: dict[str, object]) -> None:
    """With an error of ours, whatever is wrong."""
    folder.write(state_of())
    path = folder.path / "state.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | change))
    with pytest.raises(MalformedError) as caught:
        folder.read()
    assert caught.value.code == "message.malformed"


def test_a_folder_without_a_job(tmp_path: Path) -> None:
    """The hint says where to look."""
    with pytest.raises(ConfigError) as caught:
        JobFolder(tmp_path).read()
    assert caught.value.code == "config.missing"
    (tmp_path / "state.json").write_bytes(b"{" * 100)
    with pytest.raises(CloisterError):
        JobFolder(tmp_path).read()


def test_an_earlier_job_is_moved_aside(folder: JobFolder) -> None:
    """One that ended, or whose processes are all gone; never anything else."""
    gone = Process(2**22 + 1, 1, "another boot")
    for number in (1, 2):
        folder.write(state_of(status="done", runner=gone))
        folder.make()
        assert (folder.path.parent / f"digits.{number}" / "state.json").exists()
        assert not (folder.path / "state.json").exists()
    folder.write(state_of())
    with pytest.raises(UnavailableError) as busy:
        folder.make()
    assert busy.value.code == "cluster.running"
    (folder.path / "state.json").unlink()
    with pytest.raises(ConfigError) as taken:
        folder.make()
    assert taken.value.code == "config.exists"


def test_a_number_that_was_used_again_is_another_process(folder: JobFolder) -> None:
    """Neither alive nor signalled."""
    with subprocess.Popen(["sleep", "60"]) as child:
        process = process_of(child.pid)
        assert process is not None
        assert process.alive
        other = replace(process, started=process.started - 1)
        assert not other.alive
        assert not signal_process(other, signal.SIGKILL)
        assert child.poll() is None
        assert signal_process(process, signal.SIGTERM)
        child.wait()
    assert not process.alive
    assert not signal_process(process, signal.SIGTERM)
    assert not Process(process.pid, process.started, "another boot").alive


def test_one_that_ended_and_was_not_waited_for_is_gone() -> None:
    """A zombie runs nothing."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_of(child.pid) is None
    child.wait()


def test_lost_and_left(folder: JobFolder) -> None:
    """What a state says when nobody can write it any more."""
    gone = Process(2**22 + 1, 1, "another boot")
    lost = state_of(runner=gone)
    assert (lost.lost, lost.over) == (True, False)
    assert lost.left == lost.instances
    assert not state_of(status="failed", runner=gone).lost
    none = replace(lost, instances=(replace(lost.instances[0], process=gone),))
    assert none.left == ()


def test_receipts_are_those_of_lives(folder: JobFolder) -> None:
    """One that was killed left none."""
    task = Task("worker", 0)
    folder.receipt_path(task, 0).write_bytes(b"a")
    folder.receipt_path(task, 2).write_bytes(b"c")
    folder.receipt_path(task, 3).write_bytes(b"of no life")
    assert folder.receipts_of(task, 2) == {0: b"a", 2: b"c"}


def test_addresses(folder: JobFolder) -> None:
    """Those that are announced, and forgotten."""
    (folder.peers / "worker-0").write_text("127.0.0.1:1")
    assert folder.announced() == {"worker-0"}
    folder.forget_address(Task("worker", 0))
    folder.forget_address(Task("worker", 0))
    assert folder.announced() == frozenset()
