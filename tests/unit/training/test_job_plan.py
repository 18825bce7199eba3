"""Who is in a job, and what the end of each means."""

from __future__ import annotations

import pytest

from cloister.errors import ConfigError
from cloister.training.job_plan import DEFAULT_RESTARTS, plan_job
from cloister.training.supervision import Seat, Task
from unit.training.jobs import job_policy


def parts(counts: dict[str, int], **more: object) -> dict[str, str]:
    until = more.pop("until", ())
    only = more.pop("only", ())
    plan = plan_job(job_policy(counts, **more), until=until, only=only)  # type: ignore[arg-type]  # of roles
    return {task.role: seat.part for task, seat in plan.seats.items()}


def test_all_instances_of_all_roles() -> None:
    """With the policy's limits, or ours where it has none."""
    policy = job_policy({"chief": 1, "worker": 2}, restarts={"worker": 7})
    plan = plan_job(policy)
    assert plan.seats == {
        Task("chief", 0): Seat(DEFAULT_RESTARTS),
        Task("worker", 0): Seat(7),
        Task("worker", 1): Seat(7),
    }
    assert (plan.name, plan.complete, plan.together) == ("digits", True, False)
    assert plan.logs == {"chief": "pass", "worker": "pass"}
    assert plan.plain_code == {"chief", "worker"}
    assert plan.policy.startswith("sha256:")
    assert plan_job(policy, restarts=0).seats[Task("chief", 0)] == Seat(0)
    assert plan_job(policy, restarts=0).seats[Task("worker", 0)] == Seat(7)


def test_the_framework_says_who_trains_in_step() -> None:
    """And who serves."""
    together = {
        framework: plan_job(job_policy({"worker": 2}, framework=framework)).together
        for framework in ("tensorflow", "pytorch", "jax", "")
    }
    assert together == {"tensorflow": True, "pytorch": True, "jax": True, "": False}
    counts = {"chief": 1, "worker": 2, "ps": 1, "evaluator": 1}
    assert not plan_job(job_policy(counts, framework="tensorflow")).together
    assert parts(counts, framework="tensorflow") == {
        "chief": "ends",
        "evaluator": "ends",
        "ps": "serves",
        "worker": "lingers",
    }
    assert parts({"worker": 2, "ps": 1}, framework="tensorflow") == {
        "ps": "serves",
        "worker": "ends",
    }
    assert parts({"worker": 2, "ps": 1}) == {"ps": "ends", "worker": "ends"}


def test_some_roles_only() -> None:
    """Those that run elsewhere are not waited for."""
    counts = {"worker": 2, "ps": 1}
    plan = plan_job(job_policy(counts, framework="tensorflow"), only=["ps"])
    assert (list(plan.seats), plan.complete) == ([Task("ps", 0)], False)
    assert parts(counts, framework="tensorflow", only=["ps"]) == {"ps": "ends"}


def test_whose_end_ends_the_job_may_be_said() -> None:
    """For servers that no framework's rule names."""
    assert parts({"site": 3, "link": 1}, until=["site"]) == {"site": "ends", "link": "lingers"}


def test_what_cannot_be_meant() -> None:
    """With what there is."""
    policy = job_policy({"worker": 2})
    for words in ({"only": ["ps"]}, {"until": ["ps"]}):
        with pytest.raises(ConfigError) as caught:
            plan_job(policy, **words)  # type: ignore[arg-type]  # one of both
        assert (caught.value.code, caught.value.hint) == ("config.value", "it has worker")
