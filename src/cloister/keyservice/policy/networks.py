"""Which workloads have a network, which are numbered, and what must hold between their rules. Pure.

Every `Policy` that a reader returned satisfies what `network_problems` looks for, so the functions
here may rely on it.

Spec: release-policy-v1, clauses POL-80 to POL-86.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from cloister.errors import ReleaseDeniedError
from cloister.keyservice.policy.model import Mount, Policy, ShardMount, Workload
from cloister.keyservice.policy.network_rules import Cluster
from cloister.keyservice.policy.node import join, quote

__all__ = [
    "CLUSTER_VARIABLES",
    "cluster_ports",
    "indexed_roles",
    "instance_index",
    "mounts_of",
    "network_problems",
    "networked_roles",
    "require_index",
]

# What the launcher writes for a framework, and so nobody else does.
CLUSTER_VARIABLES: Final = re.compile(
    r"TF_CONFIG|MASTER_(ADDR|PORT)|RANK|WORLD_SIZE|LOCAL_(RANK|WORLD_SIZE)"
    r"|JAX_(COORDINATOR_ADDRESS|NUM_PROCESSES|PROCESS_ID)|KERAS_DISTRIBUTION_.*"
)
_TENSORFLOW_TASKS: Final = ("chief", "worker", "ps", "evaluator")
# A workload with a network is a host: `<role>-<index>` is its name, of at most 63 characters.
_HOST: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,57}[a-z0-9])?")
_INSTANCE: Final = re.compile(r"(0|[1-9][0-9]{0,2})\.[0-9a-f]{16,32}")
_MAX_PORT: Final = 65_535

_Problem = tuple[str, str, str]


def networked_roles(policy: Policy) -> tuple[str, ...]:
    """Return the workloads that have a network, sorted by name.

    Those with connections or egress, those that connections name, and those of the cluster.
    """
    named = set(policy.cluster.roles if policy.cluster is not None else ())
    for role, workload in policy.workloads.items():
        named.update(workload.connections or ())
        if workload.connections or workload.egress:
            named.add(role)
    return tuple(sorted(named & policy.workloads.keys()))


def indexed_roles(policy: Policy) -> frozenset[str]:
    """Return the workloads whose instances are numbered: with a network, or with shards."""
    sharded = (role for role, workload in policy.workloads.items() if _shards(workload))
    return frozenset(networked_roles(policy)) | frozenset(sharded)


def instance_index(instance: str) -> int | None:
    """Return the index in `<index>.<16 to 32 lower-case hex digits>`; None for any other name.

    An index has one spelling, so that two names with one index cannot pass for two indices.
    """
    found = _INSTANCE.fullmatch(instance)
    return None if found is None else int(found[1])


def require_index(policy: Policy, role: str, instance: str) -> int | None:
    """Return the index of an instance, or None where the role's instances are not numbered.

    Args:
        policy: Has the role.
        role: Of the instance.
        instance: Its name for itself; untrusted.

    Raises:
        ReleaseDeniedError: The name has no index, or one that is too high
            (`release.instance-index`).
    """
    if role not in indexed_roles(policy):
        return None
    index = instance_index(instance)
    if index is None or index >= _most(policy, role):
        raise _no_index(f"{instance!r} of {role}, which has {_most(policy, role)}")
    return index


def mounts_of(workload: Workload, instance: str) -> Mapping[str, Mount]:
    """Return what one instance mounts: of shards its own, and no other.

    Raises:
        ReleaseDeniedError: There are shards, and the name has no index of one
            (`release.instance-index`).
    """
    return {point: _mount_of(mount, instance) for point, mount in workload.volumes.items()}


def _mount_of(mount: Mount | ShardMount, instance: str) -> Mount:
    if isinstance(mount, Mount):
        return mount
    index = instance_index(instance)
    if index is None or index >= len(mount.shards):
        raise _no_index(f"{instance!r}, of {len(mount.shards)} shards")
    return Mount(volume=mount.shards[index], access=mount.access)


def _no_index(detail: str) -> ReleaseDeniedError:
    return ReleaseDeniedError(
        "an instance of this workload is called <index>.<16 to 32 lower-case hex digits>, with the "
        "index of a place that there is",
        code="release.instance-index",
        detail=detail,
    )


def cluster_ports(policy: Policy) -> Mapping[tuple[str, int], int]:
    """Return role and index of every task of the cluster, in the order of ranks, with its port."""
    if policy.cluster is None:
        return {}
    tasks = [(role, i) for role in policy.cluster.roles for i in range(_most(policy, role))]
    return {task: policy.cluster.port + rank for rank, task in enumerate(tasks)}


def network_problems(policy: Policy) -> Iterator[_Problem]:
    """Yield path, sentence and hint of everything that keeps a policy from being one."""
    networked = networked_roles(policy)
    for role, workload in policy.workloads.items():
        path = join("workloads", role)
        for other in workload.connections or ():
            if other not in policy.workloads:
                place = join(f"{path}.connections", other)
                yield place, f"there is no workload {quote(other)}", _known(policy)
        if role in networked:
            yield from _host(workload, role, path)
        yield from _shard_problems(workload, path)
    if policy.cluster is not None:
        yield from _cluster_problems(policy, policy.cluster)


def _host(workload: Workload, role: str, path: str) -> Iterator[_Problem]:
    # POL-83. How many there are is what makes an address of each known beforehand.
    if workload.instances is None:
        message = "a workload with a network must say instances.maximum"
        yield path, message, "write instances: {maximum: 1}"
    # POL-84. Its name is a host's name inside.
    if not _HOST.fullmatch(role) or role == "localhost":
        message = (
            f"{quote(role)} has a network, so its name must be a host's: at most 59 lower-case "
            "letters, digits and hyphens, first a letter, last no hyphen, not localhost"
        )
        yield path, message, ""


def _shard_problems(workload: Workload, path: str) -> Iterator[_Problem]:
    # POL-86. One for each instance, and no other.
    for point, mount in workload.volumes.items():
        if not isinstance(mount, ShardMount):
            continue
        place = join(f"{path}.volumes", point)
        if workload.instances is None:
            message = "a workload with shards must say instances.maximum"
            yield place, message, f"write instances: {{maximum: {len(mount.shards)}}}"
        elif len(mount.shards) != workload.instances.maximum:
            message = (
                f"{len(mount.shards)} shards for {workload.instances.maximum} instances: each "
                "instance has one of its own"
            )
            yield place, message, ""


def _cluster_problems(policy: Policy, cluster: Cluster) -> Iterator[_Problem]:
    # POL-85.
    for index, role in enumerate(cluster.roles):
        place = f"cluster.roles[{index}]"
        workload = policy.workloads.get(role)
        if workload is None:
            yield place, f"there is no workload {quote(role)}", _known(policy)
            continue
        if cluster.framework == "tensorflow":
            yield from _tensorflow(policy, role, place)
        for name in workload.environment:
            if CLUSTER_VARIABLES.fullmatch(name):
                variable = join(f"{join('workloads', role)}.environment", name)
                message = f"{name} is the launcher's to set in a workload of the cluster"
                yield variable, message, "leave it out"
    tasks = sum(_most(policy, role) for role in cluster.roles)
    if cluster.port + tasks > _MAX_PORT:
        message = f"{tasks} tasks from port {cluster.port} on need ports above {_MAX_PORT}"
        yield "cluster.port", message, ""


def _tensorflow(policy: Policy, role: str, place: str) -> Iterator[_Problem]:
    if role not in _TENSORFLOW_TASKS:
        message = (
            f"TensorFlow has no task {quote(role)}; its tasks are chief, worker, ps, evaluator"
        )
        yield place, message, "name the workload so"
    if role == "chief" and _most(policy, role) > 1:
        yield place, "a TensorFlow cluster has one chief", "write instances: {maximum: 1}"


def _most(policy: Policy, role: str) -> int:
    workload = policy.workloads.get(role)
    instances = None if workload is None else workload.instances
    return 0 if instances is None else instances.maximum


def _shards(workload: Workload) -> bool:
    return any(isinstance(mount, ShardMount) for mount in workload.volumes.values())


def _known(policy: Policy) -> str:
    return "there are " + ", ".join(sorted(policy.workloads)[:16])
