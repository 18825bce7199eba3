"""What a framework is told of its job."""

from __future__ import annotations

import json

import pytest

from cloister.errors import ConfigError
from cloister.launcher.rendezvous import (
    FRAMEWORKS,
    VARIABLES,
    Cluster,
    ClusterRole,
    rendezvous,
)

_WORKERS = ClusterRole("worker", ("worker-0", "worker-1"))


def _cluster(framework: str, *roles: ClusterRole, port: int = 2222) -> Cluster:
    return Cluster(framework, roles or (_WORKERS,), port)


def test_tensorflow_is_told_of_every_task_and_its_own() -> None:
    """Ports count through the roles in the order given; the cluster's part is the same for all."""
    cluster = _cluster(
        "tensorflow",
        ClusterRole("chief", ("chief",)),
        _WORKERS,
        ClusterRole("ps", ("10.77.8.1",)),
    )
    configs = {
        task: json.loads(rendezvous(cluster, *task)["TF_CONFIG"]) for task in cluster.tasks()
    }
    for (role, index), config in configs.items():
        assert config == {
            "cluster": {
                "chief": ["chief:2222"],
                "worker": ["worker-0:2223", "worker-1:2224"],
                "ps": ["10.77.8.1:2225"],
            },
            "task": {"type": role, "index": index},
        }
    assert list(configs) == [("chief", 0), ("worker", 0), ("worker", 1), ("ps", 0)]


def test_pytorch_is_told_by_rank() -> None:
    """Both ways of starting: a script that asks its environment, and torchrun."""
    roles = (ClusterRole("first", ("10.77.4.1",)), _WORKERS)
    assert rendezvous(_cluster("pytorch", *roles), "worker", 1) == {
        "MASTER_ADDR": "10.77.4.1",
        "MASTER_PORT": "2222",
        "WORLD_SIZE": "3",
        "RANK": "2",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "PET_MASTER_ADDR": "10.77.4.1",
        "PET_MASTER_PORT": "2222",
        "PET_NNODES": "3",
        "PET_NODE_RANK": "2",
    }


def test_jax_and_keras_are_told_by_rank() -> None:
    """JAX takes the count and its place from what Open MPI would say, Keras from its own names."""
    assert rendezvous(_cluster("jax"), "worker", 1) == {
        "JAX_COORDINATOR_ADDRESS": "worker-0:2222",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": "1",
        "COORDINATOR_ADDRESS": "worker-0",
        "COORDINATOR_PORT": "2222",
        "NUM_PROCESSES": "2",
        "PROCESS_ID": "1",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": "worker-0:2222,worker-1:2223",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "KERAS_DISTRIBUTION_PROCESS_ID": "1",
        "OMPI_MCA_orte_hnp_uri": "0.0;tcp://worker-0:2222",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    }


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_the_variables_are_those_that_are_listed(framework: str) -> None:
    """The policy refuses to set these: the list has all, and no other."""
    assert set(rendezvous(_cluster(framework), "worker", 0)) == VARIABLES[framework]


@pytest.mark.parametrize(
    ("framework", "roles", "port"),
    [
        ("mxnet", (_WORKERS,), 2222),
        ("jax", (), 2222),
        ("jax", (_WORKERS, _WORKERS), 2222),
        ("jax", (ClusterRole("worker", ()),), 2222),
        ("jax", (ClusterRole("worker", ("one", "a,b")),), 2222),
        ("jax", (ClusterRole("worker", ("a:1",)),), 2222),
        ("jax", (ClusterRole("worker", ("",)),), 2222),
        ("jax", (ClusterRole("worker", ("a\n",)),), 2222),
        ("tensorflow", (ClusterRole("trainer", ("a",)),), 2222),
        ("tensorflow", (ClusterRole("chief", ("a", "b")),), 2222),
        ("jax", (_WORKERS,), 0),
        ("jax", (_WORKERS,), 65535),
    ],
)
def test_what_is_no_cluster_is_refused(
    framework: str, roles: tuple[ClusterRole, ...], port: int
) -> None:
    """A mistake ends here, not in a framework that waits for a task that never comes."""
    with pytest.raises(ConfigError, match=r"config\.value"):
        Cluster(framework, roles, port)


def test_the_last_port_may_be_used() -> None:
    """Two tasks from the last port but one."""
    assert _cluster("jax", port=65534).addresses()[-1] == ("worker-1", 65535)


@pytest.mark.parametrize(("role", "index"), [("worker", 2), ("worker", -1), ("ps", 0)])
def test_a_task_that_the_cluster_lacks_is_told_nothing(role: str, index: int) -> None:
    """An index beyond the maximum has no place to be."""
    with pytest.raises(ConfigError, match="no task"):
        rendezvous(_cluster("tensorflow"), role, index)
