"""Trainings that are broken on purpose: what the judge sees, and the soak itself (`make soak`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soak import cluster_faults, ring
from soak.cluster_faults import (
    NEVER_S,
    PLAIN,
    SHIELDED,
    Case,
    End,
    Fault,
    PlainSystem,
    draw,
    judge,
    run_case,
)

CASE = Case(seed=0, world=2, faults=())


@pytest.fixture(autouse=True)
def _quick_steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the soak faults need time to happen in; here each is sure to find its job."""
    if "soak" not in request.keywords:
        monkeypatch.setattr(cluster_faults, "PAUSE_S", 0.025)


def _run(folder: Path, *faults: Fault, deadline_s: float | None = None) -> str:
    case = Case(seed=0, world=2, faults=faults)
    return judge(case, run_case(case, PlainSystem(folder, case), deadline_s=deadline_s))


def test_only_the_right_weights_are_right() -> None:
    """To the last bit; none at all are wrong, where the job says that it ended well."""
    right = ring.reference(2, cluster_faults.STEPS)
    other = right.copy()
    other[7] = np.nextafter(other[7], 1.0)
    assert judge(CASE, End(0, "", right)) == "right"
    assert judge(CASE, End(0, "", other)) == "wrong"
    assert judge(CASE, End(0, "", None)) == "wrong"


def test_an_error_has_a_code_and_a_job_an_end() -> None:
    """Whatever its weights are by then."""
    assert judge(CASE, End(3, "network.cut", None)) == "error"
    assert judge(CASE, End(3, "", None)) == "silent"
    assert judge(CASE, End(None, "", None)) == "late"


def test_a_seed_is_a_script() -> None:
    """What happened once can be had again."""
    assert draw(7, PLAIN) == draw(7, PLAIN)
    assert len({draw(seed, PLAIN) for seed in range(50)}) == 50
    kinds = {fault.kind for seed in range(200) for fault in draw(seed, PLAIN).faults}
    assert kinds == set(PLAIN)


def test_a_training_without_faults_ends_right(tmp_path: Path) -> None:
    """As one process computes it."""
    assert _run(tmp_path) == "right"


def test_a_killed_rank_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    """All are started again, and the result is the same."""
    assert _run(tmp_path, Fault("kill", 1, 1.0, 0.1)) == "right"
    said = (tmp_path / "log").read_text()
    begun = [line for line in said.splitlines() if line.startswith("rank 1 begins at step ")]
    assert len(begun) == 2
    assert int(begun[1].split()[-1]) > 0


def test_bytes_that_are_changed_under_way_make_a_wrong_result(tmp_path: Path) -> None:
    """Where nobody protects them: the judge would see it under a shield that did not."""
    assert _run(tmp_path, Fault("corrupt", 1, 0.2, 0.5)) == "wrong"


def test_a_link_that_stays_down_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After as many tries as there are."""
    monkeypatch.setattr(cluster_faults, "RESTARTS", 0)
    assert _run(tmp_path, Fault("down", 1, 0.2, NEVER_S)) == "error"


def test_a_job_that_hangs_is_late(tmp_path: Path) -> None:
    """And is ended."""
    assert _run(tmp_path, Fault("pause", 1, 0.2, NEVER_S), deadline_s=4.0) == "late"


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_two_hundred_faults_of_plain_processes() -> None:
    """Faults, job and judge do what they say."""
    kinds = [each for each in PLAIN if each != "full" or cluster_faults.can_mount()]
    report = cluster_faults.soak(60, seed=20261126, system=PlainSystem, kinds=kinds)
    assert report.bad == []


@pytest.mark.fuse
@pytest.mark.soak
@pytest.mark.timeout(14_400)
def test_two_hundred_faults_under_the_shield() -> None:
    """Every job ends with the right weights or with a clear error."""
    kinds = [each for each in SHIELDED if each != "full" or cluster_faults.can_mount()]
    with cluster_faults.shielded() as system:
        report = cluster_faults.soak(200, seed=20261126, system=system, kinds=kinds)
    assert report.bad == []
