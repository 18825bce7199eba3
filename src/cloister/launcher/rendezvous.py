"""What a framework is told of the job it is part of: TF_CONFIG and its like. No I/O.

Everything here comes from the policy, so that every task is told the same. Nothing here protects
anything: a program that connects elsewhere meets the network shield all the same.

Ranks count through the roles in the order given, and inside a role through its instances. Each
task has a port of its own, the first port plus its rank, so that a connection's port says for whom
it is meant.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import starmap
from typing import Final

from cloister.errors import ConfigError

__all__ = ["FRAMEWORKS", "VARIABLES", "Cluster", "ClusterRole", "rendezvous"]

_LAST_PORT: Final = 65535
# A name or an IPv4 address: nothing that an address with a port, or a list of them, is split at.
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_TENSORFLOW_TASKS: Final = frozenset({"chief", "worker", "ps", "evaluator"})

VARIABLES: Final[Mapping[str, frozenset[str]]] = {
    "tensorflow": frozenset({"TF_CONFIG"}),
    "pytorch": frozenset(
        {
            "LOCAL_RANK",
            "LOCAL_WORLD_SIZE",
            "MASTER_ADDR",
            "MASTER_PORT",
            "PET_MASTER_ADDR",
            "PET_MASTER_PORT",
            "PET_NNODES",
            "PET_NODE_RANK",
            "RANK",
            "WORLD_SIZE",
        }
    ),
    "jax": frozenset(
        {
            "COORDINATOR_ADDRESS",
            "COORDINATOR_PORT",
            "JAX_COORDINATOR_ADDRESS",
            "JAX_NUM_PROCESSES",
            "JAX_PROCESS_ID",
            "KERAS_DISTRIBUTION_JOB_ADDRESSES",
            "KERAS_DISTRIBUTION_NUM_PROCESSES",
            "KERAS_DISTRIBUTION_PROCESS_ID",
            "NUM_PROCESSES",
            "OMPI_COMM_WORLD_LOCAL_RANK",
            "OMPI_COMM_WORLD_RANK",
            "OMPI_COMM_WORLD_SIZE",
            "OMPI_MCA_orte_hnp_uri",
            "PROCESS_ID",
        }
    ),
}
"""The variables that each framework is told by; a policy's environment has no say in them."""

FRAMEWORKS: Final = frozenset(VARIABLES)


@dataclass(frozen=True, slots=True)
class ClusterRole:
    """A role, and where each of its instances is found: names or virtual addresses, by index."""

    name: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The job as the framework sees it.

    Attributes:
        framework: `tensorflow`, `pytorch` or `jax`.
        roles: In the order of ranks.
        port: Of the task with rank 0.

    Raises:
        ConfigError: The framework is not one of these, a role is twice there, has no instances or
            a name that TensorFlow has no task for, a host is not one, or the ports do not reach.
    """

    framework: str
    roles: tuple[ClusterRole, ...]
    port: int

    def __post_init__(self) -> None:
        names = [role.name for role in self.roles]
        if self.framework not in FRAMEWORKS:
            raise _refusal(f"there is no framework {self.framework!r}")
        if len(set(names)) < len(names) or not names:
            raise _refusal("a cluster has at least one role, and each once")
        for role in self.roles:
            if not role.hosts or not all(map(_HOST.fullmatch, role.hosts)):
                raise _refusal(f"role {role.name} has no instance, or one without a host's name")
        if self.framework == "tensorflow":
            self._require_tensorflow_tasks()
        if not 0 < self.port <= _LAST_PORT - len(self.tasks()) + 1:
            raise _refusal(f"from {self.port} on there are not enough ports")

    def tasks(self) -> tuple[tuple[str, int], ...]:
        """Return role and index of every task; the place of a task is its rank."""
        return tuple((role.name, index) for role in self.roles for index in range(len(role.hosts)))

    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Return host and port of every task, by rank."""
        hosts = [host for role in self.roles for host in role.hosts]
        return tuple((host, self.port + rank) for rank, host in enumerate(hosts))

    def _require_tensorflow_tasks(self) -> None:
        for role in self.roles:
            if role.name not in _TENSORFLOW_TASKS:
                raise _refusal(
                    f"TensorFlow has no task {role.name}",
                    hint="it has " + ", ".join(sorted(_TENSORFLOW_TASKS)),
                )
            if role.name == "chief" and len(role.hosts) > 1:
                raise _refusal("TensorFlow has one chief")


def rendezvous(cluster: Cluster, role: str, index: int) -> dict[str, str]:
    """Return the variables that tell one task of the others and of itself.

    Args:
        cluster: The same for all tasks.
        role: Of the task.
        index: Of the task inside of its role.

    Raises:
        ConfigError: The cluster has no such task.
    """
    tasks = cluster.tasks()
    if (role, index) not in tasks:
        raise _refusal(f"the cluster has no task {role}-{index}")
    variables = _WRITERS[cluster.framework](cluster, tasks.index((role, index)))
    return dict(sorted(variables.items()))


def _tensorflow(cluster: Cluster, rank: int) -> Mapping[str, str]:
    # The same cluster for everybody: a chief sends its own idea of it to the workers.
    found: dict[str, list[str]] = {role.name: [] for role in cluster.roles}
    for (name, _), address in zip(cluster.tasks(), _joined(cluster), strict=True):
        found[name].append(address)
    name, index = cluster.tasks()[rank]
    return {"TF_CONFIG": json.dumps({"cluster": found, "task": {"type": name, "index": index}})}


def _pytorch(cluster: Cluster, rank: int) -> Mapping[str, str]:
    # Without GLOO_SOCKET_IFNAME: named `lo`, gloo would announce 127.0.0.1, that interface's first
    # address. Unnamed, it announces what the machine's own name resolves to.
    host, port = cluster.addresses()[0]
    return {
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(len(cluster.tasks())),
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        # What torchrun takes its options from, where that is the command.
        "PET_MASTER_ADDR": host,
        "PET_MASTER_PORT": str(port),
        "PET_NNODES": str(len(cluster.tasks())),
        "PET_NODE_RANK": str(rank),
    }


def _jax(cluster: Cluster, rank: int) -> Mapping[str, str]:
    # JAX itself reads its coordinator's address only, and asks the environment of a cluster's
    # manager for the rest: Open MPI's is the one that has all of it in variables. The others are
    # for programs that read them themselves and pass them on: as Kubeflow's trainer says it, and as
    # its JAXJob did.
    host, port = cluster.addresses()[0]
    count, own = str(len(cluster.tasks())), str(rank)
    return {
        "JAX_COORDINATOR_ADDRESS": f"{host}:{port}",
        "JAX_NUM_PROCESSES": count,
        "JAX_PROCESS_ID": own,
        "COORDINATOR_ADDRESS": host,
        "COORDINATOR_PORT": str(port),
        "NUM_PROCESSES": count,
        "PROCESS_ID": own,
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": ",".join(_joined(cluster)),
        "KERAS_DISTRIBUTION_NUM_PROCESSES": count,
        "KERAS_DISTRIBUTION_PROCESS_ID": own,
        "OMPI_MCA_orte_hnp_uri": f"0.0;tcp://{host}:{port}",
        "OMPI_COMM_WORLD_SIZE": count,
        "OMPI_COMM_WORLD_RANK": own,
        "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    }


_WRITERS: Final[Mapping[str, Callable[[Cluster, int], Mapping[str, str]]]] = {
    "tensorflow": _tensorflow,
    "pytorch": _pytorch,
    "jax": _jax,
}


def _joined(cluster: Cluster) -> Iterator[str]:
    return starmap("{}:{}".format, cluster.addresses())


def _refusal(message: str, *, hint: str | None = None) -> ConfigError:
    return ConfigError(message, code="config.value", hint=hint)
