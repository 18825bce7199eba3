"""The part of lint that looks at connections, egress and the cluster.

Yields (severity, code, path, message); `lint` adds places and hints.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import Final, Literal

from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.network_rules import Cluster, Ports
from cloister.keyservice.policy.networks import cluster_ports
from cloister.keyservice.policy.node import join

__all__ = ["findings_of_networks"]

_Found = tuple[Literal["error", "warning", "note"], str, str, str]

# TensorFlow's evaluator talks to nobody, and its parameter servers not to each other.
_ALONE: Final = frozenset({"evaluator"})
_APART: Final = frozenset({"evaluator", "ps"})


def findings_of_networks(policy: Policy) -> Iterator[_Found]:
    """Yield what leaves the job, and what a cluster cannot do with the connections that it has."""
    for role, workload in policy.workloads.items():
        path = join("workloads", role)
        for name, rule in (workload.egress or {}).items():
            message = (
                f"what {role} sends to {name} leaves the job, up to {rule.bytes} bytes in a run: "
                "neither Cloister nor this policy protects it there or on the way"
            )
            yield "warning", "lint.egress", join(f"{path}.egress", name), message
    if policy.cluster is not None:
        yield from _cluster(policy, policy.cluster)


def _cluster(policy: Policy, cluster: Cluster) -> Iterator[_Found]:
    ports = cluster_ports(policy)
    for first, second in combinations_with_replacement(cluster.roles, 2):
        if _are_apart(policy, cluster, first, second):
            continue
        ways = [(a, b) for a, b in {(first, second), (second, first)} if _allowed(policy, a, b)]
        if not ways:
            message = f"{first} and {second} are of one cluster and cannot connect to each other"
            yield "warning", "lint.cluster-unconnected", "cluster.roles", message
        elif first != second and len(ways) == 1:
            source, target = ways[0]
            message = f"{source} may connect to {target}, and {target} not to {source}"
            place = join(f"{join('workloads', source)}.connections", target)
            yield "note", "lint.connections-one-sided", place, message
        for source, target in sorted(ways):
            allowed = _allowed(policy, source, target)
            wanted = {port for (role, _), port in ports.items() if role == target}
            if allowed != "any" and not wanted.issubset(allowed or ()):
                missing = ", ".join(str(port) for port in sorted(wanted.difference(allowed or ())))
                message = f"tasks of {target} listen on {missing}, where {source} may not connect"
                place = join(f"{join('workloads', source)}.connections", target)
                yield "warning", "lint.cluster-port", place, message


def _are_apart(policy: Policy, cluster: Cluster, first: str, second: str) -> bool:
    """Tell whether a framework would not have two roles talk, or there is only one to talk."""
    if first == second:
        instances = policy.workloads[first].instances
        if instances is None or instances.maximum == 1:
            return True
    if cluster.framework != "tensorflow":
        return False
    return bool(_ALONE & {first, second}) or {first, second} <= _APART


def _allowed(policy: Policy, source: str, target: str) -> Ports | None:
    return (policy.workloads[source].connections or {}).get(target)
