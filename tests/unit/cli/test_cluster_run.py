"""`cloister cluster run`: what is made of its words; jobs themselves are in tests/integration."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from cloister.cli import cluster_run, settings
from cloister.errors import CloisterError
from cloister.launcher import local
from cloister.training import cluster
from cloister.training.cluster import ClusterOutcome, ClusterRequest
from cloister.training.instances import CLOISTER
from cloister.training.supervision import Task, Verdict
from unit.cli.conftest import Door
from unit.training.jobs import job_text
from unit.training.test_job_folder import state_of


@pytest.fixture
def asked(door: Door, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ClusterRequest]]:
    """Note what would be run; it is done at once."""
    requests: list[ClusterRequest] = []

    def run(request: ClusterRequest, *_: object, **__: object) -> ClusterOutcome:
        requests.append(request)
        state = replace(state_of(), status="done", ended=2, instances=())
        request.folder.write(state)
        return ClusterOutcome(verdict=Verdict("done"), state=state, last_lines=())

    def measured(_domain: Path, *, quiet: bool) -> None:
        pass

    def stream(*, as_json: bool) -> IO[str]:
        return out

    connection = settings.Connection(door.bench.domain, "unix:///x", None)  # type: ignore[arg-type]  # asked nothing
    monkeypatch.setattr(settings, "connect", lambda _domain: connection)
    monkeypatch.setattr(cluster_run, "_measure_ahead", measured)
    monkeypatch.setattr(cluster, "run_cluster", run)
    (door.folder / "policy.yaml").write_text(
        job_text({"link": 1, "site": 2}, restarts={"link": 1}, logs="drop")
    )
    with (door.folder / "shown").open("w") as out:
        monkeypatch.setattr(cluster_run, "_stream", stream)
        yield requests


def words(request: ClusterRequest, task: Task) -> Sequence[str]:
    return request.command(task, "/r.json")


def test_words_become_a_request(door: Door, asked: list[ClusterRequest]) -> None:
    """Each instance is a `cloister run` with what was said of all."""
    found = door.call(
        "cluster", "run", "policy.yaml", "--code", "src", "--volume", "data=/x/y",
        "--fixed-ports",
        "--root-of-trust", "sim", "--endorsements", "e", "--collector", "ed25519:1",
        "--restarts", "5", "--deadline", "60", "--until", "site",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    [request] = asked
    assert request.folder.path == door.folder / "jobs" / "digits"
    assert request.stores == {"data": "/x/y"}
    assert request.policy_file == str(door.folder / "policy.yaml")
    assert request.patience.deadline_s == 60
    seats = {task.name: (seat.restarts, seat.part) for task, seat in request.plan.seats.items()}
    assert seats == {"link-0": (1, "lingers"), "site-0": (5, "ends"), "site-1": (5, "ends")}
    assert words(request, Task("site", 1)) == [
        *CLOISTER, "run", "policy.yaml", "--workload", "site", "--index", "1",
        "--peers", str(door.folder / "jobs/digits/peers"), "--receipt", "/r.json", "--json",
        "--domain", str(door.bench.domain.directory), "--volume", "data=/x/y",
        "--fixed-ports",
        "--root-of-trust", "sim", "--endorsements", "e", "--collector", "ed25519:1",
        "--code", "src",
    ]  # fmt: skip
    assert "the policy drops the output of link" in found.stderr


def test_a_job_elsewhere_and_of_one_role(door: Door, asked: list[ClusterRequest]) -> None:
    """By its folder."""
    record = door.record("cluster", "run", "policy.yaml", "--only", "link", "--job", "x/y")
    [request] = asked
    assert request.folder.path == door.folder / "x" / "y"
    assert list(request.plan.seats) == [Task("link", 0)]
    assert (record["status"], record["job"]) == ("done", str(door.folder / "x" / "y"))


def test_a_policy_without_a_network_is_for_cloister_run(door: Door) -> None:
    """The hint says so."""
    text = job_text({"one": 1}).replace("    connections: {one: any}\n", "")
    (door.folder / "policy.yaml").write_text(text)
    error = door.call("cluster", "run", "policy.yaml").exception
    assert isinstance(error, CloisterError)
    assert (error.code, error.hint is not None and "cloister run" in error.hint) == (
        "config.value",
        True,
    )


def test_the_runtime_is_hashed_by_another_process(
    door: Door, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """This one never has the platform's secrets."""
    seen = tmp_path / "seen"

    def digest(*_: object, **__: object) -> bytes:
        seen.write_text(str(os.getpid()))
        return bytes(32)

    class Nothing:
        def __init__(self, _roots: object) -> None:
            pass

        def __enter__(self) -> None:
            return None

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(local, "runtime_digest", digest)
    monkeypatch.setattr("cloister.launcher.fingerprint.Fingerprint", Nothing)
    cluster_run._measure_ahead(door.bench.domain.directory, quiet=True)
    assert int(seen.read_text()) != os.getpid()
