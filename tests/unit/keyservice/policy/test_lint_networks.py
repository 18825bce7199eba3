"""What lint finds in connections, egress and clusters."""

from __future__ import annotations

import pytest

from cloister.keyservice.policy.lint import lint_text
from cloister.testing.networks import networked_text

PYTORCH = (
    "framework: tensorflow, roles: [chief, worker, ps]",
    "framework: pytorch, roles: [worker, ps]",
)
ABOUT = ("lint.egress", "lint.cluster-", "lint.connections-", "lint.instances-write", "lint.volume")


def found(*changes: tuple[str, str]) -> set[tuple[str, str, str]]:
    """Return what lint says about networks and shards."""
    findings = lint_text(networked_text(*changes).encode(), source="p.yaml")
    assert all(f.line > 1 for f in findings)
    return {(f.severity, f.code, f.path) for f in findings if f.code.startswith(ABOUT)}


EGRESS = ("warning", "lint.egress", "workloads.chief.egress[mlflow.example.org]")


@pytest.mark.spec("POL-72")
def test_egress_is_said_loudly() -> None:
    """What leaves the job is a warning with its bound; the rest of the sample is quiet."""
    assert found() == {EGRESS}
    (finding,) = (
        f for f in lint_text(networked_text().encode(), source="p.yaml") if f.code == "lint.egress"
    )
    assert "10000000 bytes" in finding.message
    assert "mlflow.example.org" in finding.message


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        (
            [("connections: {chief: any, worker: any, ps: any}", "connections: {ps: any}"),
             ("connections: {chief: any, worker: any, ps: [2225]}", "connections: {worker: any}")],
            ("warning", "lint.cluster-unconnected", "cluster.roles"),
        ),
        (
            [("worker: any, ps: [2225]", "ps: [2225]")],
            ("warning", "lint.cluster-unconnected", "cluster.roles"),
        ),
        (
            [("ps: [2225]", "ps: [2224]")],
            ("warning", "lint.cluster-port", "workloads.worker.connections.ps"),
        ),
        (
            [("connections: {chief: any, worker: any}", "connections: {worker: any}")],
            ("note", "lint.connections-one-sided", "workloads.chief.connections.ps"),
        ),
        (
            [("shards: [train-0, train-1]", "shards: [train-0, nowhere]")],
            ("error", "lint.volume-undeclared", "workloads.worker.volumes[/data].shards[1]"),
        ),
        (
            [("{/data: {shards", "{/more: {volume: train-1, access: write}, /data: {shards")],
            ("warning", "lint.instances-write", "workloads.worker.instances.maximum"),
        ),
        (
            [("{/data: {shards", "{/more: {volume: train-1, access: write}, /data: {shards")],
            ("error", "lint.volume-mounted-twice", "workloads.worker.volumes[/data].shards[1]"),
        ),
    ],
)  # fmt: skip
@pytest.mark.spec("POL-71", "POL-72", "POL-73")
def test_what_cannot_work_or_may_not_be_meant_is_found(
    changes: list[tuple[str, str]], finding: tuple[str, str, str]
) -> None:
    """Each has its own finding at its place."""
    assert finding in found(*changes)


def test_parameter_servers_need_not_talk_to_each_other_in_tensorflow() -> None:
    """In another framework two of one workload would have to."""
    rest = "    connections: {chief: any, worker: any}\n  report"
    two = (f"    instances: {{maximum: 1}}\n{rest}", f"    instances: {{maximum: 2}}\n{rest}")
    ports = ("ps: [2225]", "ps: [2225, 2226]")
    assert found(two, ports) == {EGRESS}
    ports = ("ps: [2225]", "ps: [2224, 2225]")
    unconnected = ("warning", "lint.cluster-unconnected", "cluster.roles")
    assert found(PYTORCH, two, ports) == {EGRESS, unconnected}


def test_writable_shards_have_a_writer_each() -> None:
    """A volume for each instance is what the warning about writers asks for."""
    assert found(("train-1], access: read", "train-1], access: write")) == {EGRESS}
