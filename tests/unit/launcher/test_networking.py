"""From a policy to one run's network."""

from __future__ import annotations

import json

import pytest

from cloister.errors import ConfigError
from cloister.keyservice.policy.reader import parse_policy
from cloister.launcher.networking import plan_network, require_index, static_pairs
from cloister.network.addresses import Task
from cloister.network.rules import ANY_PORT, EgressRule, Refused, ToEgress, ToPeer
from cloister.testing.networks import networked_policy, networked_text
from cloister.testing.policies import sample_policy


def test_which_instance_a_run_is() -> None:
    policy = networked_policy()
    assert require_index(policy, "worker", 1) == 1
    assert require_index(policy, "ps", None) == 0  # there is one
    with pytest.raises(ConfigError, match="2 instances") as several:
        require_index(policy, "worker", None)
    assert several.value.code == "config.missing"
    for index in (-1, 2):
        with pytest.raises(ConfigError, match="no instance"):
            require_index(policy, "worker", index)
    assert require_index(sample_policy(), "train", None) is None
    with pytest.raises(ConfigError, match="not numbered"):
        require_index(sample_policy(), "train", 0)


def test_a_workload_without_a_network_has_no_plan() -> None:
    assert plan_network(sample_policy(), "train", None) is None


def test_a_plan_says_who_and_where() -> None:
    """Roles are numbered by name: chief, ps, worker."""
    plan = plan_network(networked_policy(), "worker", 1)
    assert plan is not None
    assert plan.task == Task("worker", 1)
    assert plan.address == "10.77.8.2"
    assert plan.rules.opens == {
        "chief": ANY_PORT, "worker": ANY_PORT, "ps": frozenset({2225}),
    }  # fmt: skip
    assert plan.rules.accepts == dict.fromkeys(("chief", "worker", "ps"), ANY_PORT)
    assert plan.rules.egress == {}
    assert isinstance(plan.rules.outbound("10.77.8.1", 40000), ToPeer)
    assert isinstance(plan.rules.outbound("10.77.4.1", 2225), ToPeer)
    refused = plan.rules.outbound("10.77.4.1", 2226)
    assert refused == Refused("port", "workloads.worker.connections.ps: [2226]")
    spec = plan.spec(None)
    assert (spec.address, spec.static) == ("10.77.8.2", None)
    assert ("10.77.4.1", ("ps-0", "ps")) in spec.hosts


def test_egress_is_one_roles() -> None:
    chief = plan_network(networked_policy(), "chief", 0)
    assert chief is not None
    rule = EgressRule(frozenset({443}), 10_000_000, 1_000_000)
    assert chief.rules.egress == {"mlflow.example.org": rule}
    assert chief.rules.outbound("10.78.0.1", 443) == ToEgress("mlflow.example.org", 443)
    worker = plan_network(networked_policy(), "worker", 0)
    assert worker is not None
    assert isinstance(worker.rules.outbound("10.78.0.1", 443), Refused)


def test_all_tasks_are_told_the_same_of_each_other() -> None:
    told = [
        json.loads(plan.environment["TF_CONFIG"])
        for role, index in (("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0))
        if (plan := plan_network(networked_policy(), role, index)) is not None
    ]
    assert len(told) == 4
    assert all(each["cluster"] == told[0]["cluster"] for each in told)
    assert told[0]["cluster"] == {
        "chief": ["chief-0:2222"],
        "worker": ["worker-0:2223", "worker-1:2224"],
        "ps": ["ps-0:2225"],
    }
    assert told[2]["task"] == {"type": "worker", "index": 1}


def test_without_a_cluster_nothing_is_told() -> None:
    text = networked_text()
    cluster = next(line for line in text.splitlines() if line.startswith("cluster:"))
    policy = parse_policy(text.replace(f"{cluster}\n", "").encode(), source="policy.yaml")
    plan = plan_network(policy, "worker", 0)
    assert plan is not None
    assert (dict(plan.environment), plan.framework) == ({}, "")
    assert static_pairs(policy, plan) is None  # `any` names no port


def test_fixed_ports_are_those_of_the_policy_and_of_tensorflows_cluster() -> None:
    policy = networked_policy()
    worker = plan_network(policy, "worker", 0)
    chief = plan_network(policy, "chief", 0)
    assert worker is not None
    assert chief is not None
    assert set(static_pairs(policy, worker) or ()) == {
        ("10.77.0.1", 2222), ("10.77.8.2", 2224), ("10.77.4.1", 2225),
    }  # fmt: skip
    assert ("10.78.0.1", 443) in (static_pairs(policy, chief) or ())


def test_pytorch_chooses_its_ports_itself() -> None:
    text = networked_text().replace(
        "{framework: tensorflow, roles: [chief, worker, ps]", "{framework: pytorch, roles: [worker]"
    )
    policy = parse_policy(text.encode(), source="policy.yaml")
    plan = plan_network(policy, "worker", 0)
    assert plan is not None
    assert plan.environment["MASTER_ADDR"] == "worker-0"
    assert static_pairs(policy, plan) is None
