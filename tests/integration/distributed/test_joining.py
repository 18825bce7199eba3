"""Who comes, or comes back, while others train, with nobody at a keyboard."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from cloister.training.job_folder import JobFolder, signal_process
from cloister.training.supervision import Task
from integration.cli.desk import Desk
from integration.distributed.starting import Run, desk_with_domain, require_nftables, running

PROGRAMS: Final = Path(__file__).parent / "programs"
SITES: Final = 3
# For the link to wait for a site that is not started before it begins.
WAIT_S: Final = 25

pytestmark = [
    pytest.mark.slow,
    pytest.mark.jobs,
    pytest.mark.fuse,
    pytest.mark.timeout(400),
]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A trust domain."""
    require_nftables()
    with desk_with_domain(tmp_path) as desk:
        yield desk


def kill(desk: Desk, task: Task) -> None:
    """Kill an instance of the job `job` as the loss of its machine does."""
    state = JobFolder(desk.folder / "jobs" / "job").read()
    [process] = [each.process for each in state.instances if each.task == task]
    assert process is not None
    assert signal_process(process, signal.SIGKILL)


@pytest.mark.frameworks("tensorflow")
def test_a_worker_of_parameter_servers_comes_back(desk: Desk) -> None:
    """The chief trains on with the other; the new life is attested anew, and gets steps."""
    (desk.folder / "code").mkdir()
    shutil.copy(PROGRAMS / "joining_worker.py", desk.folder / "code")
    desk.run(
        "policy", "draft", "--name", "job", "--code", "code", "--output", "policy.yaml",
        "--workload", "chief", "--workload", "worker", "--workload", "ps",
        "--instances", "chief:1", "--instances", "worker:2", "--instances", "ps:1",
        "--restarts", "worker:1", "--connect", "all", "--cluster", "tensorflow",
        "--env", "TF_CPP_MIN_LOG_LEVEL=2", "--command", "python /code/joining_worker.py",
    ).good()  # fmt: skip
    desk.run("policy", "apply", "policy.yaml").good()
    words = ("cluster", "run", "policy.yaml", "--code", "code", "--deadline", "300")
    with running(desk, "train", words) as job:
        job.says("[chief-0] worker-1 works", timeout_s=200)
        kill(desk, Task("worker", 1))
        job.ends_well(timeout_s=300)
    reports = [line for line in job.text.splitlines() if line.startswith('[chief-0] {"done"')]
    report = json.loads(reports[-1].partition("] ")[2])
    done, own = report["done"], [each for each in report["done"] if each.startswith("worker-1 ")]
    first, second = dict.fromkeys(own)
    last_of_first = len(done) - 1 - done[::-1].index(first)
    alone = done[last_of_first + 1 : done.index(second)]
    assert alone
    assert {each.split()[0] for each in alone} == {"worker-0"}
    assert report["accuracy"] > 0.9
    state = JobFolder(desk.folder / "jobs" / "job").read()
    assert {each.task.name: each.restarts for each in state.instances} == {
        "chief-0": 0, "ps-0": 0, "worker-0": 0, "worker-1": 1,
    }  # fmt: skip


def drafted_federation(desk: Desk) -> None:
    """Put a policy into force for a link and three sites, of which two will do for a start."""
    shutil.copytree(PROGRAMS / "joining_site", desk.folder / "code")
    chance = np.random.default_rng(6)
    for number in range(SITES):
        (desk.folder / f"data-{number}").mkdir()
        inputs = np.zeros((30, SITES))
        inputs[:, number] = chance.normal(size=30)
        table = np.column_stack([inputs, inputs[:, number] > 0])
        np.savetxt(desk.folder / f"data-{number}" / "examples.csv", table, delimiter=",")
        desk.run("volume", "seal", f"data-{number}", f"sealed-{number}").good()
    desk.run("volume", "create", "model").good()
    desk.run(
        "policy", "draft", "--name", "job", "--code", "code", "--output", "policy.yaml",
        "--workload", "link", "--instances", "link:1", "--volume", "link:/model=model:write",
        "--command", "link:python -m cloister.training.federated.link --sites 3 --minimum 2"
        f" --wait {WAIT_S} --deadline 300 --result /model/final",
        "--workload", "site", "--instances", f"site:{SITES}", "--connect", "site=link:9092",
        "--shards", "site:/data=sealed-0,sealed-1,sealed-2:read",
        "--command", "site:python -m cloister.training.federated.site --sites 3",
    ).good()  # fmt: skip
    desk.run("policy", "apply", "policy.yaml").good()


@pytest.mark.frameworks("flwr")
def test_a_hospital_joins_a_federation_that_trains(desk: Desk) -> None:
    """It is attested like the others, gets its own patients' key, and is asked from then on."""
    drafted_federation(desk)
    (desk.folder / "peers").mkdir()

    def started(role: str, index: int) -> contextlib.AbstractContextManager[Run]:
        words = ("run", "policy.yaml", "--role", role, "--index", str(index), "--code", "code")
        paths = ("--peers", "peers", "--receipt", f"{role}-{index}.json")
        return running(desk, f"{role}-{index}", (*words, *paths))

    with started("site", 0) as zero, started("site", 1) as one:
        # The link waits for a while for three, and then begins with those who are there.
        for site in (zero, one):
            site.says("for the link at link-0:9092", timeout_s=100)
        with started("link", 0) as link:
            link.says("training begins with 2 of 3 sites", timeout_s=WAIT_S + 100)
            link.says("[ROUND 1/1]", timeout_s=100)
            with started("site", 2) as late:
                for run in (link, zero, one, late):
                    run.ends_well(timeout_s=300)
    assert "training is complete: sites 0, 1, 2" in link.text
    desk.run("volume", "open", "model", "opened").good()
    record = json.loads((desk.folder / "opened" / "final" / "federation.json").read_text())
    assert (record["started_with"], record["ended_with"]) == ([0, 1], [0, 1, 2])
    rounds = json.loads((desk.folder / "opened" / "final" / "rounds.json").read_text())
    joined = [each["sites"] for each in rounds].index([0, 1, 2])
    assert joined >= 1
    assert all(each["sites"] == [0, 1] for each in rounds[:joined])
    # Nobody but the third site has seen the third thing.
    assert all(each["weights"][2] == 0 for each in rounds[:joined])
    assert all(weight > 0.2 for weight in rounds[-1]["weights"])
    # The late one proved what it runs, and so did the link to it.
    desk.run("audit", "receipt", "site-2.json").good()
    body = json.loads((desk.folder / "link-0.json").read_text())["body"]
    assert "site-2" in json.dumps(body)
