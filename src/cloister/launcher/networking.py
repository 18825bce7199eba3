"""From a policy to one run's network: its task, its addresses, its rules, what its program is told.

Made from the operator's copy of the policy, whose hash the released bundle repeats. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cloister.confinement.network import NetworkSpec
from cloister.errors import ConfigError
from cloister.keyservice.policy.networks import cluster_ports, indexed_roles, networked_roles
from cloister.launcher.rendezvous import Cluster, ClusterRole, rendezvous
from cloister.network.addresses import AddressPlan, Task
from cloister.network.rules import ANY_PORT, EgressRule, ShieldRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloister.keyservice.policy.model import Policy
    from cloister.keyservice.policy.network_rules import Ports as PolicyPorts
    from cloister.network.rules import Ports

__all__ = ["NetworkPlan", "plan_network", "require_index", "static_pairs"]

MAX_STATIC: Final = 512


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """One run's part in the network of its job.

    Attributes:
        task: Which instance of which role it is.
        rules: Where its connections may go, and whose it takes.
        environment: What its program is told of the job; empty where the policy has no cluster.
        framework: Whose variables these are, or empty.
    """

    task: Task
    rules: ShieldRules
    environment: Mapping[str, str]
    framework: str

    @property
    def address(self) -> str:
        """The task's virtual address."""
        return self.rules.plan.address(self.task)

    def spec(self, static: tuple[tuple[str, int], ...] | None) -> NetworkSpec:
        """Return what the sandbox needs to know.

        Args:
            static: All that can be connected to, where connections are not redirected.
        """
        return NetworkSpec(address=self.address, hosts=self.rules.plan.hosts(), static=static)


def require_index(policy: Policy, workload: str, index: int | None) -> int | None:
    """Return which instance a run is; None for a role whose instances are not numbered.

    Raises:
        ConfigError: None is said, and there are several (`config.missing`); one is said, and there
            is none such (`config.value`).
    """
    if workload not in indexed_roles(policy):
        if index is not None:
            raise ConfigError(
                f"instances of {workload} are not numbered: it has neither network nor shards",
                code="config.value",
                hint="leave --index out",
            )
        return None
    instances = policy.workloads[workload].instances
    count = 1 if instances is None else instances.maximum
    if index is None:
        if count > 1:
            raise ConfigError(
                f"{workload} has {count} instances; which is this one?",
                code="config.missing",
                hint=f"say --index, 0 to {count - 1}; `cloister cluster run` starts all of them",
            )
        return 0
    if not 0 <= index < count:
        raise ConfigError(
            f"{workload} has no instance {index}", code="config.value", hint=f"0 to {count - 1}"
        )
    return index


def plan_network(policy: Policy, workload: str, index: int | None) -> NetworkPlan | None:
    """Return a run's part in the network, or None for a workload that has none.

    Args:
        policy: Read by its reader, so that its rules fit together.
        workload: The role.
        index: As `require_index` returned it.
    """
    roles = networked_roles(policy)
    if workload not in roles or index is None:
        return None
    role = policy.workloads[workload]
    counts = {name: _count(policy, name) for name in roles}
    plan = AddressPlan.of(counts, role.egress or ())
    task = Task(workload, index)
    rules = ShieldRules(
        own=task,
        plan=plan,
        opens={name: _ports(ports) for name, ports in (role.connections or {}).items()},
        accepts={
            name: _ports(other.connections[workload])
            for name, other in policy.workloads.items()
            if other.connections and workload in other.connections
        },
        egress={
            host: EgressRule(ports=frozenset(rule.ports), bytes=rule.bytes, rate=rule.rate)
            for host, rule in (role.egress or {}).items()
        },
    )
    cluster = policy.cluster
    told: Mapping[str, str] = {}
    if cluster is not None and workload in cluster.roles:
        described = Cluster(
            cluster.framework,
            tuple(
                ClusterRole(name, tuple(str(Task(name, i)) for i in range(counts[name])))
                for name in cluster.roles
            ),
            cluster.port,
        )
        told = rendezvous(described, workload, index)
    return NetworkPlan(task, rules, told, cluster.framework if told and cluster else "")


def static_pairs(policy: Policy, plan: NetworkPlan) -> tuple[tuple[str, int], ...] | None:
    """Return every address and port that a run may connect to, where the policy names each.

    For machines that cannot redirect. A cluster's own ports stand for `any` among its roles: its
    framework may use more, so there it is None.
    """
    pairs: list[tuple[str, int]] = []
    addresses = plan.rules.plan
    own_port = cluster_ports(policy)
    for role, ports in plan.rules.opens.items():
        for index in range(addresses.count(role)):
            task = Task(role, index)
            if task == plan.task:
                continue
            if ports is ANY_PORT:
                if plan.framework != "tensorflow" or (role, index) not in own_port:
                    return None
                wanted = frozenset({own_port[role, index]})
            else:
                wanted = frozenset(ports)
            pairs += [(addresses.address(task), port) for port in sorted(wanted)]
    for host, rule in plan.rules.egress.items():
        pairs += [(addresses.egress_address(host), port) for port in sorted(rule.ports)]
    return tuple(pairs) if len(pairs) <= MAX_STATIC else None


def _count(policy: Policy, role: str) -> int:
    instances = policy.workloads[role].instances
    return 1 if instances is None else instances.maximum


def _ports(ports: PolicyPorts) -> Ports:
    return ANY_PORT if ports == "any" else frozenset(ports)
