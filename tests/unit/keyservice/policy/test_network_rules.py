"""What a policy says of networks."""

from __future__ import annotations

import pytest

from cloister.keyservice.policy import canonical_bytes, policy_from_canonical
from cloister.keyservice.policy.description import describe
from cloister.keyservice.policy.model import Instances, ShardMount
from cloister.keyservice.policy.network_rules import Cluster, EgressRule
from cloister.keyservice.policy.reader import diagnose
from cloister.testing.networks import networked_policy, networked_text


@pytest.mark.spec("POL-18", "POL-80", "POL-81", "POL-85", "POL-86")
def test_the_words_are_read_from_text_and_from_canonical_bytes() -> None:
    """Both forms give the same rules."""
    policy = networked_policy()
    assert policy_from_canonical(canonical_bytes(policy)) == policy
    assert policy.cluster == Cluster(
        framework="tensorflow", roles=("chief", "worker", "ps"), port=2222
    )
    worker = policy.workloads["worker"]
    assert worker.instances == Instances(maximum=2, restarts=3)
    assert worker.connections == {"chief": "any", "worker": "any", "ps": (2225,)}
    assert worker.volumes["/data"] == ShardMount(shards=("train-0", "train-1"), access="read")
    assert policy.workloads["chief"].egress == {
        "mlflow.example.org": EgressRule(ports=(443,), bytes=10_000_000, rate=1_000_000)
    }


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("ps: any", "ps: every", "workloads.chief.connections.ps"),
        ("ps: [2225]", "ps: []", "workloads.worker.connections.ps"),
        ("ps: [2225]", "ps: [65536]", "workloads.worker.connections.ps[0]"),
        ("ps: [2225]", "ps: [80, 80]", "workloads.worker.connections.ps[1]"),
        ("ps: [2225]", "ps: 2225", "workloads.worker.connections.ps"),
        ("ps: [2225]", "PS: [2225]", "workloads.worker.connections.PS"),
        ("restarts: 3", "restarts: 1001", "workloads.worker.instances.restarts"),
        ("ports: [443]", "ports: [0]",
         "workloads.chief.egress[mlflow.example.org].ports[0]"),
        ("bytes: 10000000", "bytes: 0", "workloads.chief.egress[mlflow.example.org].bytes"),
        (", rate: 1000000", "", "workloads.chief.egress[mlflow.example.org]"),
        ("mlflow.example.org", "'*.example.org'", "workloads.chief.egress['*.example.org']"),
        ("mlflow.example.org", "10.78.0.1", "workloads.chief.egress[10.78.0.1]"),
        ("mlflow.example.org", "worker-0", "workloads.chief.egress.worker-0"),
        ("framework: tensorflow", "framework: tf", "cluster.framework"),
        ("port: 2222", "port: 80", "cluster.port"),
        ("shards: [train-0, train-1]", "shards: []", "workloads.worker.volumes[/data].shards"),
        ("shards: [train-0, train-1]", "shards: [train-0, train-0]",
         "workloads.worker.volumes[/data].shards[1]"),
    ],
)  # fmt: skip
@pytest.mark.spec("POL-80", "POL-81", "POL-85", "POL-86")
def test_a_value_outside_its_field_is_refused_at_its_path(old: str, new: str, path: str) -> None:
    """Each problem has the place of what is wrong, and its line."""
    found = diagnose(networked_text((old, new)).encode(), source="p.yaml")
    assert [p.path for p in found.problems] == [path]
    assert found.problems[0].line > 1
    assert found.policy is None


def test_a_person_reads_what_may_connect_where_and_what_leaves() -> None:
    """What leaves the job is marked as open; each shard stands beside its instance."""
    sections = {section.title: section.rows for section in describe(networked_policy())}
    rows = {row.label: row for row in sections["Workload worker"]}
    assert rows["connects to ps"].value == "port 2225"
    assert rows["connects to chief"].value == "every port"
    assert rows["at /data"].value.endswith("0: train-0, 1: train-1")
    assert rows["restarts"].value.startswith("at most 3")
    (egress,) = (r for r in sections["Workload chief"] if r.label == "sends to mlflow.example.org")
    assert egress.open_end
    assert "10000000 bytes" in egress.value
    ports = {row.label: row.value for row in sections["Cluster"]}
    assert ports == {
        "framework": "tensorflow",
        "chief-0": "port 2222",
        "worker-0": "port 2223",
        "worker-1": "port 2224",
        "ps-0": "port 2225",
    }
