"""Which workloads have a network, which are numbered, and what must hold between their rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.policy import canonical_bytes
from cloister.keyservice.policy.model import Mount
from cloister.keyservice.policy.networks import (
    cluster_ports,
    indexed_roles,
    instance_index,
    mounts_of,
    networked_roles,
)
from cloister.keyservice.policy.reader import diagnose
from cloister.testing.networks import networked_policy, networked_text
from cloister.testing.policies import sample_policy

NO_CLUSTER = (
    "cluster: {framework: tensorflow, roles: [chief, worker, ps], port: 2222}\n",
    "",
)
RANDOM = "0123456789abcdef"


@pytest.mark.spec("POL-82")
def test_a_network_comes_from_any_of_four_things() -> None:
    """Connections, egress, being named in another's connections, and being in the cluster."""
    assert networked_roles(networked_policy()) == ("chief", "ps", "worker")
    assert networked_roles(sample_policy()) == ()
    named = networked_policy(
        NO_CLUSTER,
        ("    connections: {chief: any, worker: any, ps: any}\n", ""),
        ("    connections: {chief: any, worker: any, ps: [2225]}\n", ""),
        ("connections: {chief: any, worker: any}", "connections: {worker: any}"),
    )
    assert networked_roles(named) == ("chief", "ps", "worker")  # egress, connections, named
    member = networked_policy(
        ("    connections: {chief: any, worker: any, ps: any}\n", ""),
        ("    connections: {chief: any, worker: any, ps: [2225]}\n", ""),
        ("    connections: {chief: any, worker: any}\n", ""),
    )
    assert networked_roles(member) == ("chief", "ps", "worker")


@pytest.mark.spec("POL-86")
def test_shards_number_instances_without_a_network() -> None:
    """A workload that opens one shard in each instance has an index, and no network."""
    policy = networked_policy(
        NO_CLUSTER,
        ("    connections: {chief: any, worker: any, ps: any}\n", ""),
        ("    connections: {chief: any, worker: any, ps: [2225]}\n", ""),
        ("    connections: {chief: any, worker: any}\n", ""),
    )
    assert networked_roles(policy) == ("chief",)
    assert indexed_roles(policy) == {"chief", "worker"}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ([("ps: [2225]", "nobody: [2225]")], "workloads.worker.connections.nobody"),
        ([("    instances: {maximum: 2, restarts: 3}\n", "")], "workloads.worker"),
        ([("roles: [chief, worker, ps]", "roles: [chief, worker, ps, nobody]")],
         "cluster.roles[3]"),
        ([("roles: [chief, worker, ps]", "roles: [chief, worker, report]"),
          ("    command: [python, /code/report.py]",
           "    command: [python, /code/report.py]\n    instances: {maximum: 1}")],
         "cluster.roles[2]"),
        ([("{maximum: 1}", "{maximum: 2}")], "cluster.roles[0]"),
        ([("port: 2222", "port: 65532")], "cluster.port"),
        ([("train-0, train-1]", "train-0]")], "workloads.worker.volumes[/data]"),
        ([("SEED:", "TF_CONFIG:")], "workloads.worker.environment.TF_CONFIG"),
        ([("SEED:", "MASTER_ADDR:")], "workloads.worker.environment.MASTER_ADDR"),
        ([("SEED:", "LOCAL_RANK:")], "workloads.worker.environment.LOCAL_RANK"),
        ([("SEED:", "JAX_PROCESS_ID:")], "workloads.worker.environment.JAX_PROCESS_ID"),
        ([("SEED:", "KERAS_DISTRIBUTION_X:")],
         "workloads.worker.environment.KERAS_DISTRIBUTION_X"),
    ],
)  # fmt: skip
@pytest.mark.spec("POL-80", "POL-83", "POL-85", "POL-86")
def test_rules_that_do_not_fit_each_other_are_refused(
    changes: list[tuple[str, str]], path: str
) -> None:
    """The problem stands at the rule, with its line, and the policy is none."""
    found = diagnose(networked_text(*changes).encode(), source="p.yaml")
    assert path in [p.path for p in found.problems]
    assert all(p.line > 1 for p in found.problems)
    assert found.policy is None


@pytest.mark.spec("POL-84")
@pytest.mark.parametrize("name", ["10.0.0.1", "a.b", "a_b", "9a", "a-", "localhost", "a" * 60])
def test_a_workload_with_a_network_has_the_name_of_a_host(name: str) -> None:
    """What could be taken for an address, for another host or for this one is refused."""
    text = networked_text(NO_CLUSTER).replace("ps: ", f"{name}: ").replace("  ps:", f"  {name}:")
    found = diagnose(text.encode(), source="p.yaml")
    assert {p.path.partition("[")[0].split(".")[0] for p in found.problems} == {"workloads"}
    assert "host" in found.problems[0].message
    good = networked_text(NO_CLUSTER).replace("ps: ", "a9-z: ").replace("  ps:", "  a9-z:")
    assert diagnose(good.encode(), source="p.yaml").problems == ()


def test_a_workload_without_a_network_is_called_as_before() -> None:
    """Old policies have names that are no hosts', and stay what they are."""
    assert networked_policy(("  report:", "  report_1.2:"))


@pytest.mark.spec("POL-85")
def test_the_last_port_may_be_reached() -> None:
    """Four tasks fit below the end of the ports, and not behind it."""
    ports = cluster_ports(networked_policy(("port: 2222", "port: 65531")))
    assert list(ports.items()) == [
        (("chief", 0), 65531),
        (("worker", 0), 65532),
        (("worker", 1), 65533),
        (("ps", 0), 65534),
    ]
    assert cluster_ports(sample_policy()) == {}


def test_a_policy_that_was_built_by_hand_passes_the_same_checks() -> None:
    """Nobody hashes a policy whose rules do not fit each other."""
    policy = networked_policy()
    worker = replace(policy.workloads["worker"], instances=None)
    with pytest.raises(MalformedError) as caught:
        canonical_bytes(replace(policy, workloads={**policy.workloads, "worker": worker}))
    assert caught.value.code == "policy.invalid"


@pytest.mark.spec("MEM-17")
def test_an_index_has_one_spelling() -> None:
    """Whatever else might be read as the same number is the name of nobody."""
    assert instance_index(f"0.{RANDOM}") == 0
    assert instance_index(f"999.{RANDOM * 2}") == 999
    for odd in ("01.", "+1.", "-1.", " 1.", "1 .", "1..", "1_0.", "\u0661.", "1000.", ".", "1.\n"):
        assert instance_index(odd + RANDOM) is None, odd
    for end in (RANDOM[1:], RANDOM * 2 + "0", RANDOM.upper(), RANDOM + "\n", "", RANDOM + "g"):
        assert instance_index("1." + end) is None, end


@pytest.mark.spec("POL-86")
def test_an_instance_mounts_its_own_shard() -> None:
    """By its index; a name without one has none."""
    worker = networked_policy().workloads["worker"]
    assert mounts_of(worker, f"0.{RANDOM}") == {"/data": Mount(volume="train-0", access="read")}
    assert mounts_of(worker, f"1.{RANDOM}") == {"/data": Mount(volume="train-1", access="read")}
    for name in (f"2.{RANDOM}", f"01.{RANDOM}", "worker-1", ""):
        with pytest.raises(ReleaseDeniedError) as caught:
            mounts_of(worker, name)
        assert caught.value.code == "release.instance-index"
    chief = networked_policy().workloads["chief"]
    assert mounts_of(chief, "any-name") == chief.volumes
