"""`cloister cluster` as processes, over doubles of `cloister run`."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloister.testing.instance import SCRIPTS
from cloister.testing.keyservice import ServiceBench
from cloister.training.job_folder import JobFolder, JobState, process_of
from unit.training.jobs import job_text

# What the commands do before a job is none of ours here: a key service, and hashing the runtime.
_DRIVER = """
import sys
from pathlib import Path
import cloister.training.instances as instances
from cloister.cli import cluster_run, settings
from cloister.cli.main import main
from cloister.testing.instance import DOUBLE
instances.CLOISTER = DOUBLE
settings.connect = lambda option: None
cluster_run._measure_ahead = lambda domain, *, quiet: None
main()
"""

HELLO = {"steps": [["announce"], ["print", "hello\n"]]}
WAIT = {"steps": [["announce"], ["print", "ready\n"], ["until", "go"]]}


@dataclass
class Site:
    """A folder with a policy, a domain, and what doubles are to do."""

    folder: Path
    domain: Path

    def script(self, name: str, *lives: Mapping[str, Any]) -> None:
        (self.folder / "scripts" / f"{name}.json").write_text(json.dumps(lives))

    def go(self) -> None:
        (self.folder / "scripts" / "go").touch()

    def pids(self, name: str) -> list[int]:
        path = self.folder / "scripts" / f"{name}.lives"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def start(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            SCRIPTS: str(self.folder / "scripts"),
            "CLOISTER_DOMAIN": str(self.domain),
            "COLUMNS": "100",
        }
        pipe = subprocess.PIPE
        options = {"stdout": pipe, "stderr": pipe} | more
        return subprocess.Popen(
            [sys.executable, "-c", _DRIVER, "cluster", *words],
            cwd=self.folder,
            env=environment,
            **options,
        )

    def call(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=30)
        return process.returncode, out.decode(), err.decode()

    def await_state(self, holds: Callable[[JobState], bool]) -> JobState:
        job = JobFolder(self.folder / "jobs" / "digits")
        for _ in range(2000):
            if (job.path / "state.json").exists() and holds(state := job.read()):
                return state
            time.sleep(0.005)
        raise AssertionError(job.read())


def all_run(state: JobState) -> bool:
    return {each.life for each in state.instances} == {"running"}


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trust domain; its key service is asked nothing."""
    bench = ServiceBench.create(tmp_path_factory.mktemp("domain"))
    bench.close()
    return bench.domain.directory


@pytest.fixture
def site(tmp_path: Path, domain: Path) -> Site:
    """A job of two workers and a parameter server."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "policy.yaml").write_text(job_text({"ps": 1, "worker": 2}))
    return Site(tmp_path, domain)


def test_a_job_from_its_start_to_its_end(site: Site) -> None:
    """Output behind names on standard output; its state stays; a second run keeps the first."""
    for name in ("ps-0", "worker-0", "worker-1"):
        site.script(name, HELLO)
    status, out, err = site.call("run", "policy.yaml")
    assert status == 0
    assert sorted(out.splitlines()) == [
        "[ps-0] hello",
        "[worker-0] hello",
        "[worker-1] hello",
    ]
    assert "cloister: done, receipt" in err
    # The doubles have no receipts: that is said, and is no failure of the job.
    assert "no receipt says that ps-0 ended well [job.receipt]" in err
    _, out, _ = site.call("status", "--json")
    record = json.loads(out)
    assert (record["status"], len(record["instances"])) == ("done", 3)
    assert site.call("run", "policy.yaml", "--json")[0] == 0
    assert (site.folder / "jobs" / "digits.1" / "state.json").exists()
    receipt = json.loads((site.folder / "jobs/digits/receipt.json").read_text())
    assert receipt["status"] == "done"


def test_json_keeps_standard_output_for_the_object(site: Site) -> None:
    """The lines go to standard error; an error is an object too."""
    site.script("worker-1", {"steps": [["print", "boom\n"]], "status": 5})
    status, out, err = site.call("run", "policy.yaml", "--json", "--restarts", "0")
    assert status == 73
    error = json.loads(out)["error"]
    assert error["code"] == "cluster.failed"
    assert error["message"] == ("worker-1 failed: it ended with status 5, and said last: boom")
    assert "[worker-1] boom\n" in err


def test_the_error_says_who_why_and_what_next(site: Site) -> None:
    """With the last lines of that instance."""
    steps = [["print", f"line {n}\n"] for n in range(20)]
    site.script("worker-0", {"steps": steps, "status": 1})
    site.script("ps-0", WAIT)
    site.script("worker-1", WAIT)
    status, _, err = site.call("run", "policy.yaml", "--restarts", "1")
    assert status == 73
    tail = err[err.index("cloister: the last lines of worker-0:") :]
    assert "  line 10\n" in tail
    assert "  line 19\n" in tail
    assert "line 9\n" not in tail
    assert "next:     cloister cluster logs --job " in tail
    assert "code:     cluster.failed" in tail


def test_killing_the_parent_leaves_no_child(site: Site) -> None:
    """The kernel tells them; status says what happened, and the next run is not in its way."""
    for name in ("ps-0", "worker-0", "worker-1"):
        site.script(name, WAIT)
    with site.start("run", "policy.yaml") as process:
        state = site.await_state(all_run)
        assert len(state.left) == 3
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while JobFolder(site.folder / "jobs" / "digits").read().left:
        assert time.monotonic() < end, "a child is left"
        time.sleep(0.01)
    pids = [pid for name in ("ps-0", "worker-0", "worker-1") for pid in site.pids(name)]
    assert len(pids) == 3
    assert [pid for pid in pids if process_of(pid) is not None] == []
    _, out, _ = site.call("status", "--json")
    assert json.loads(out)["status"] == "lost"
    _, out, _ = site.call("status")
    assert "lost: the process that ran it was killed" in " ".join(out.split())
    assert "gone" in out
    assert site.call("stop")[0] == 0
    site.go()
    assert site.call("run", "policy.yaml")[0] == 0


def test_stop_and_follow(site: Site) -> None:
    """A second job is refused meanwhile; following ends with the job; its end has its own code."""
    for name in ("ps-0", "worker-0", "worker-1"):
        site.script(name, WAIT)
    with site.start("run", "policy.yaml") as process:
        site.await_state(all_run)
        with site.start("logs", "-f", "worker") as following:
            assert following.stdout is not None
            first = following.stdout.readline() + following.stdout.readline()
            assert sorted(first.decode().splitlines()) == ["[worker-0] ready", "[worker-1] ready"]
            status, _, err = site.call("run", "policy.yaml")
            assert (status, "cluster.running" in err) == (75, True)
            status, _, err = site.call("pull", "out")
            assert (status, "cluster.running" in err) == (75, True)
            status, out, _ = site.call("stop")
            assert (status, out) == (0, "digits: stopped\n")
            assert following.wait(10) == 0
        assert process.wait(10) == 73
    status, _, err = site.call("stop")
    assert (status, "the job is over: stopped" in err) == (65, True)
    status, out, _ = site.call("logs", "ps-0")
    assert out == "[ps-0] ready\n"


def test_stopping_twice_kills(site: Site) -> None:
    """One that does not hear."""
    deaf = {"steps": [["deaf"], ["announce"], ["until", "go"]]}
    for name in ("ps-0", "worker-0", "worker-1"):
        site.script(name, deaf)
    with site.start("run", "policy.yaml") as process:
        site.await_state(all_run)
        with site.start("stop") as first:
            site.await_state(lambda state: state.status == "stopping")
            assert site.call("stop")[0] == 0
            assert first.wait(10) == 0
        assert process.wait(10) == 73
    [state] = [JobFolder(site.folder / "jobs" / "digits").read()]
    assert [each.status for each in state.instances] == [137, 137, 137]


def test_a_terminal_and_ctrl_c(site: Site) -> None:
    """Colours and a progress bar that stays in its place; Ctrl-C stops all in good order."""
    bar = [["print", "\r1/3"], ["sleep", 0.05], ["print", "\r2/3"], ["sleep", 0.05]]
    last = [["print", "\r3/3 \x1b]0;title\x07done\n"], ["until", "go"]]
    site.script("worker-0", {"steps": [["announce"], *bar, *last]})
    site.script("worker-1", WAIT)
    site.script("ps-0", WAIT)
    main, terminal = pty.openpty()
    with site.start("run", "policy.yaml", stdout=terminal, stdin=terminal) as process:
        os.close(terminal)
        seen = b""
        while b"done" not in seen or seen.count(b"ready") < 2:
            seen += os.read(main, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 73
    os.close(main)
    text = seen.decode()
    assert "title" not in text
    assert "[worker-0] \x1b[0m1/3" in text
    assert "\x1b[1A\x1b[J" in text
    assert "[worker-0] \x1b[0m3/3 done\r\n" in text


def test_a_reader_who_goes_away_does_not_end_the_job(site: Site) -> None:
    """As with `| head -1`."""
    many = {"steps": [["print", "x" * 80 + "\n"]] * 500}
    for name in ("ps-0", "worker-0", "worker-1"):
        site.script(name, many)
    with site.start("run", "policy.yaml") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 0


def test_a_reader_who_does_not_read_holds_up_nobody_who_stops(site: Site) -> None:
    """Its pipe is full, and the job is stopped all the same."""
    many = {"steps": [["announce"], *[["print", ("x" * 80 + "\n") * 200]] * 400]}
    for name in ("ps-0", "worker-0", "worker-1"):
        site.script(name, many)
    with site.start("run", "policy.yaml") as process:
        site.await_state(all_run)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        site.await_state(lambda state: state.status == "stopped")
        out, _ = process.communicate(timeout=20)
        assert out.count(b"\n") > 1000
        assert process.returncode == 73
