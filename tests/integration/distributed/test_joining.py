"""Who comes, or comes back, while others train, with nobody at a keyboard."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from cloister.training.job_folder import JobFolder, signal_process
from cloister.training.supervision import Task
from integration.cli.desk import Desk, await_true
from integration.distributed.starting import Run, desk_with_domain, require_nftables, running

PROGRAMS: Final = Path(__file__).parent / "programs"
SITES: Final = 3
# For the link to wait for a site that is not started before it begins.
WAIT_S: Final = 25
# Longer than a relay waits for a peer that is not there.
LATE_S: Final = 25

pytestmark = [
    pytest.mark.slow,
    pytest.mark.jobs,
    pytest.mark.fuse,
    pytest.mark.timeout(600),
]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A trust domain, and a place where runs of one machine announce themselves."""
    require_nftables()
    (tmp_path / "peers").mkdir()
    with desk_with_domain(tmp_path) as desk:
        yield desk


def kill(desk: Desk, task: Task) -> None:
    """Kill an instance of the job `job` as the loss of its machine does."""
    state = JobFolder(desk.folder / "jobs" / "job").read()
    [process] = [each.process for each in state.instances if each.task == task]
    assert process is not None
    assert signal_process(process, signal.SIGKILL)


def drafted_servers(desk: Desk, lives: int) -> None:
    """Put a policy into force for a chief, two workers and a parameter server."""
    (desk.folder / "code").mkdir()
    shutil.copy(PROGRAMS / "joining_worker.py", desk.folder / "code")
    desk.run(
        "policy", "draft", "--name", "job", "--code", "code", "--output", "policy.yaml",
        "--workload", "chief", "--workload", "worker", "--workload", "ps",
        "--instances", "chief:1", "--instances", "worker:2", "--instances", "ps:1",
        "--restarts", "worker:1", "--connect", "all", "--cluster", "tensorflow",
        "--env", "TF_CPP_MIN_LOG_LEVEL=2", "--env", f"LIVES={lives}",
        "--command", "python /code/joining_worker.py",
    ).good()  # fmt: skip
    desk.run("policy", "apply", "policy.yaml").good()


def started(desk: Desk, role: str, index: int) -> contextlib.AbstractContextManager[Run]:
    """Start one instance, as on a machine of its own."""
    words = ("run", "policy.yaml", "--role", role, "--index", str(index), "--code", "code")
    more = ("--peers", "peers", "--receipt", f"{role}-{index}.json")
    return running(desk, f"{role}-{index}", (*words, *more))


def report_in(text: str, begins: str) -> dict[str, Any]:
    """Return the last report that a program printed."""
    found = [line for line in text.splitlines() if line.startswith(begins)]
    report = json.loads(found[-1][found[-1].index("{") :])
    assert isinstance(report, dict)
    return report


@pytest.mark.frameworks("tensorflow")
def test_parameter_servers_wait_for_a_worker_that_comes_late(desk: Desk) -> None:
    """TensorFlow begins when all whom TF_CONFIG names are there, however late that is."""
    drafted_servers(desk, lives=1)
    with (
        started(desk, "ps", 0),
        started(desk, "worker", 0) as worker,
        started(desk, "chief", 0) as chief,
    ):
        chief.says("the chief is here", timeout_s=200)
        time.sleep(LATE_S)
        assert chief.process.poll() is None
        assert "all are here" not in chief.text
        with started(desk, "worker", 1):
            chief.ends_well(timeout_s=300)
        assert worker.process.poll() is None
    report = report_in(chief.text, '{"spans"')
    assert {each.split()[0] for each in report["spans"]} == {"worker-0", "worker-1"}
    assert report["accuracy"] > 0.9


@pytest.mark.frameworks("tensorflow")
def test_a_worker_of_parameter_servers_comes_back(desk: Desk) -> None:
    """The chief trains on with the other; the new life is attested anew, and gets steps."""
    drafted_servers(desk, lives=2)
    words = ("cluster", "run", "policy.yaml", "--code", "code", "--deadline", "500")
    with running(desk, "train", words) as job:
        job.says("[chief-0] worker-1 works", timeout_s=300)
        kill(desk, Task("worker", 1))
        job.ends_well(timeout_s=400)
    report = report_in(job.text, '[chief-0] {"spans"')
    spans = report["spans"]
    first, second = sorted(spans[each] for each in spans if each.startswith("worker-1 "))
    # Between its two lives steps were done, all of them by the other, which has one life.
    assert second[0] - first[1] > 1
    assert sum(each.startswith("worker-0 ") for each in spans) == 1
    assert report["accuracy"] > 0.9
    state = JobFolder(desk.folder / "jobs" / "job").read()
    assert {each.task.name: each.restarts for each in state.instances} == {
        "chief-0": 0, "ps-0": 0, "worker-0": 0, "worker-1": 1,
    }  # fmt: skip


def drafted_federation(desk: Desk, *, wait: int, full: int) -> None:
    """Put a policy into force for a link and three sites, of which two will do.

    Args:
        desk: Where.
        wait: Seconds for the link to wait for the third.
        full: How many rounds with all three there are to be.
    """
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
        f" --wait {wait} --deadline 500 --result /model/final --set full-rounds={full}",
        "--workload", "site", "--instances", f"site:{SITES}", "--connect", "site=link:9092",
        "--restarts", "site:1",
        "--shards", "site:/data=sealed-0,sealed-1,sealed-2:read",
        "--command", "site:python -m cloister.training.federated.site --sites 3"
        f" --set full-rounds={full}",
    ).good()  # fmt: skip
    desk.run("policy", "apply", "policy.yaml").good()


def result_of_federation(desk: Desk) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Open the model's volume; return the record, and what was written of each round."""
    desk.run("volume", "open", "model", "opened").good()
    final = desk.folder / "opened" / "final"
    texts = [(final / f"{name}.json").read_text() for name in ("federation", "rounds")]
    return json.loads(texts[0]), json.loads(texts[1])


@pytest.mark.frameworks("flwr")
def test_a_hospital_joins_a_federation_that_trains(desk: Desk) -> None:
    """It is attested like the others, gets its own patients' key, and is asked from then on."""
    drafted_federation(desk, wait=WAIT_S, full=2)
    with started(desk, "site", 0) as zero, started(desk, "site", 1) as one:
        # The link waits for a while for three, and then begins with those who are there.
        for site in (zero, one):
            site.says("for the link at link-0:9092", timeout_s=200)
        with started(desk, "link", 0) as link:
            link.says("training begins with 2 of 3 sites", timeout_s=WAIT_S + 200)
            link.says("[ROUND 1/1]", timeout_s=200)
            with started(desk, "site", 2) as late:
                for run in (link, zero, one, late):
                    run.ends_well(timeout_s=400)
    assert "training is complete: sites 0, 1, 2" in link.text
    record, rounds = result_of_federation(desk)
    assert (record["started_with"], record["ended_with"]) == ([0, 1], [0, 1, 2])
    joined = [each["sites"] for each in rounds].index([0, 1, 2])
    assert joined >= 1
    assert all(each["sites"] == [0, 1] for each in rounds[:joined])
    # Nobody but the third site has seen the third thing.
    assert all(each["weights"][2] == 0 for each in rounds[:joined])
    assert all(weight > 0.2 for weight in rounds[-1]["weights"])
    # The late one proved what it runs, and what it sent went over the relay.
    desk.run("audit", "receipt", "site-2.json").good()
    receipt = json.loads((desk.folder / "link-0.json").read_text())
    assert receipt["body"]["network"]["peers"]["site-2"]["received"] > 0


@pytest.mark.frameworks("flwr")
def test_a_hospital_that_was_lost_comes_back(desk: Desk) -> None:
    """The others go on; started again, it is attested anew and asked again."""
    drafted_federation(desk, wait=200, full=4)
    words = ("cluster", "run", "policy.yaml", "--code", "code", "--deadline", "500")
    with running(desk, "train", words) as job:
        job.says("[link-0] 1 rounds with all", timeout_s=400)
        kill(desk, Task("site", 2))
        job.ends_well(timeout_s=500)
    record, rounds = result_of_federation(desk)
    assert (record["started_with"], record["ended_with"]) == ([0, 1, 2], [0, 1, 2])
    everybody = [each["sites"] == [0, 1, 2] for each in rounds]
    # It was lost in a round, which ended without it, and took part again after that.
    assert False in everybody
    assert everybody[0]
    assert everybody[-1]
    assert sum(everybody) == 4
    state = JobFolder(desk.folder / "jobs" / "job").read()
    assert {each.task.name: each.restarts for each in state.instances} == {
        "link-0": 0, "site-0": 0, "site-1": 0, "site-2": 1,
    }  # fmt: skip


@pytest.mark.frameworks("torch")
def test_a_worker_joins_an_elastic_training(desk: Desk) -> None:
    """Torchrun's own rendezvous, between relays: one, two, one that lost the other, and two."""
    (desk.folder / "code").mkdir()
    shutil.copy(PROGRAMS / "elastic.py", desk.folder / "code")
    desk.run(
        "policy", "draft", "--name", "job", "--code", "code", "--output", "policy.yaml",
        "--workload", "worker", "--instances", "2", "--connect", "all",
        "--env", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",
        "--command", "python -m torch.distributed.run --nnodes 1:2 --nproc-per-node 1"
        " --rdzv-backend c10d --rdzv-endpoint worker-0:29400 --rdzv-id job"
        " --rdzv-conf last_call_timeout=5 --max-restarts 3 /code/elastic.py",
    ).good()  # fmt: skip
    desk.run("policy", "apply", "policy.yaml").good()
    with started(desk, "worker", 0) as first:
        first.says("one trains alone", timeout_s=200)
        with started(desk, "worker", 1) as second:
            second.says("2 train from step", timeout_s=200)
            second.process.kill()
            await_true(lambda: first.text.count("one trains alone") == 2, timeout_s=200)
        with started(desk, "worker", 1) as second:
            first.ends_well(timeout_s=300)
            second.ends_well(timeout_s=60)
    begun = [
        (int(world), int(step))
        for world, step in re.findall(r"(\d) train from step (\d+)", first.text)
    ]
    assert [world for world, _ in begun] == [1, 2, 1, 2]
    # Nothing that was learned was lost, alone or together.
    assert begun[0][1] == 0
    assert begun[1][1] >= 40
    assert begun[2][1] >= begun[1][1]
    assert begun[3][1] >= begun[2][1] + 40
    reports = [report_in(run.text, '{"world"') for run in (first, second)]
    assert [(each["world"], each["rank"]) for each in reports] == [(2, 0), (2, 1)]
    # Both go on from one model, and end with one.
    assert reports[0]["begun_at"] == reports[1]["begun_at"] == begun[3][1]
    assert reports[0]["began_with"] == reports[1]["began_with"]
    assert reports[0]["weights"] == reports[1]["weights"] != reports[0]["began_with"]
    assert max(each["loss"] for each in reports) < 0.1
