"""A job as objects of Kubernetes: one Job for each workload, or one JobSet; its names and fence.

None of it is trusted and none of it is secret: pods get keys from the key service, for what they
prove. Pure, and the same plan gives the same objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cloister.training.kubernetes.initdata import ANNOTATION
from cloister.training.kubernetes.plan import (
    CONFIG,
    RECEIPTS,
    SCRATCH,
    VOLUMES,
    JobPlan,
    RolePlan,
)

__all__ = ["Manifest", "configuration", "jobs", "jobset", "network"]

Manifest = Mapping[str, Any]

_CONTAINER: Final = "cloister"
_DNS_PORT: Final = 53
_JOBSET: Final = "jobset.x-k8s.io/v1alpha2"
_GRACE_S: Final = 30


def configuration(plan: JobPlan) -> Manifest:
    """Return the ConfigMap with the policy, the trust domain's public facts and the peers."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(plan, plan.name),
        "data": dict(plan.configuration),
    }


def network(plan: JobPlan, *, service: bool) -> Sequence[Manifest]:
    """Return what pods find each other by, and what they may reach.

    Args:
        plan: The job.
        service: Whether a Service is needed; a JobSet makes its own.
    """
    fence = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(plan, plan.name),
        "spec": {
            "podSelector": {"matchLabels": _selector(plan)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": _ingress(plan),
            "egress": _egress(plan),
        },
    }
    if not service or not any(role.networked for role in plan.roles):
        return [fence]
    headless = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(plan, plan.name),
        "spec": {
            "clusterIP": "None",
            # A relay looks for its peers before anybody is ready.
            "publishNotReadyAddresses": True,
            "selector": _selector(plan),
            "ports": [{"name": "relay", "port": plan.choices.relay_port, "protocol": "TCP"}],
        },
    }
    return [headless, fence]


def jobs(plan: JobPlan) -> Sequence[Manifest]:
    """Return a Job for each workload."""
    return [
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": _metadata(plan, role.name, role),
            "spec": _job(plan, role, subdomain=True),
        }
        for role in plan.roles
    ]


def jobset(plan: JobPlan) -> Manifest:
    """Return one JobSet of all workloads; it is done when those are that end by themselves."""
    ending = [role.short for role in plan.roles if not role.endless]
    return {
        "apiVersion": _JOBSET,
        "kind": "JobSet",
        "metadata": _metadata(plan, plan.name),
        "spec": {
            "network": {
                "enableDNSHostnames": True,
                "publishNotReadyAddresses": True,
                "subdomain": plan.name,
            },
            "successPolicy": {"operator": "All", "targetReplicatedJobs": ending},
            # Pods are started again within their Job, as often as the policy says, and no further.
            "failurePolicy": {"maxRestarts": 0},
            "replicatedJobs": [
                {
                    "name": role.short,
                    "replicas": 1,
                    "template": {
                        "metadata": {"labels": _labels(plan, role)},
                        # Its controller sets the pods' subdomain.
                        "spec": _job(plan, role, subdomain=False),
                    },
                }
                for role in plan.roles
            ],
        },
    }


def _job(plan: JobPlan, role: RolePlan, *, subdomain: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {"completions": role.pods, "parallelism": role.pods}
    if role.indexed:
        spec["completionMode"] = "Indexed"
        spec["backoffLimitPerIndex"] = role.restarts
        spec["maxFailedIndexes"] = 0
    else:
        spec["completionMode"] = "NonIndexed"
        spec["backoffLimit"] = role.restarts
    # A node that is drained is nobody's failure.
    spec["podFailurePolicy"] = {
        "rules": [
            {
                "action": "Ignore",
                "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
            }
        ]
    }
    spec["template"] = {
        "metadata": {
            "labels": _labels(plan, role),
            "annotations": {ANNOTATION: plan.init.annotation},
        },
        "spec": _pod(plan, role, subdomain=subdomain and role.networked),
    }
    return spec


def _pod(plan: JobPlan, role: RolePlan, *, subdomain: bool) -> dict[str, Any]:
    return {
        "runtimeClassName": plan.runtime_class,
        "restartPolicy": "Never",
        **({"subdomain": plan.name} if subdomain else {}),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_S,
        "containers": [_container(plan, role)],
        "volumes": _volumes(plan, role),
    }


def _container(plan: JobPlan, role: RolePlan) -> dict[str, Any]:
    command, *arguments = role.command
    ports = [{"containerPort": port, "protocol": "TCP"} for port in role.ports]
    if role.networked:
        relay = {"name": "relay", "containerPort": plan.choices.relay_port, "protocol": "TCP"}
        ports.insert(0, relay)
    sizes = {
        name: size
        for name, size in (("cpu", plan.choices.cpu), ("memory", plan.choices.memory))
        if size
    }
    return {
        "name": _CONTAINER,
        "image": plan.choices.image,
        "imagePullPolicy": "Always",
        "command": [command],
        "args": arguments,
        "workingDir": RECEIPTS,
        **({"ports": ports} if ports else {}),
        **({"resources": {"requests": sizes, "limits": dict(sizes)}} if sizes else {}),
        # Within the guest, which is the boundary: /dev/fuse, mounts, namespaces, and evidence from
        # configfs. No other combination of words gives a container all of them.
        "securityContext": {"privileged": True, "runAsUser": 0},
        "volumeMounts": [
            {"name": "configuration", "mountPath": CONFIG, "readOnly": True},
            {"name": "scratch", "mountPath": SCRATCH},
            {"name": "receipts", "mountPath": RECEIPTS},
            *(
                {
                    "name": f"sealed-{number}",
                    "mountPath": f"{VOLUMES}/{volume}",
                    "readOnly": only_read,
                }
                for number, (volume, (_, only_read)) in enumerate(role.claims.items())
            ),
        ],
    }


def _volumes(plan: JobPlan, role: RolePlan) -> list[dict[str, Any]]:
    memory = {"emptyDir": {"medium": "Memory", "sizeLimit": plan.choices.scratch}}
    receipts = plan.choices.receipts
    return [
        {"name": "configuration", "configMap": {"name": plan.name}},
        {"name": "scratch", **memory},
        {"name": "receipts", **(_claim(receipts, only_read=False) if receipts else memory)},
        *(
            {"name": f"sealed-{number}", **_claim(claim, only_read=only_read)}
            for number, (claim, only_read) in enumerate(role.claims.values())
        ),
    ]


def _claim(name: str, *, only_read: bool) -> dict[str, Any]:
    return {"persistentVolumeClaim": {"claimName": name, "readOnly": only_read}}


def _ingress(plan: JobPlan) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = []
    if any(role.networked for role in plan.roles):
        peers = [{"podSelector": {"matchLabels": _selector(plan)}}]
        rules.append({"from": peers, "ports": _tcp([plan.choices.relay_port])})
    ports = sorted({port for role in plan.roles for port in role.ports})
    if ports:
        # Who may use a listener is the policy's to say; TLS ends inside.
        rules.append({"ports": _tcp(ports)})
    return rules


def _egress(plan: JobPlan) -> list[dict[str, Any]]:
    dns = [{"port": _DNS_PORT, "protocol": protocol} for protocol in ("UDP", "TCP")]
    rules: list[dict[str, Any]] = [{"ports": dns}]
    if any(role.networked for role in plan.roles):
        peers = [{"podSelector": {"matchLabels": _selector(plan)}}]
        rules.append({"to": peers, "ports": _tcp([plan.choices.relay_port])})
    service = {"ports": _tcp([plan.keyservice.port])}
    if plan.keyservice.network is not None:
        rules.append({"to": [{"ipBlock": {"cidr": plan.keyservice.network}}], **service})
    else:
        rules.append(service)
    # The image is pulled inside of the guest, so its registry is reached from the pod.
    rules.append({"ports": _tcp([plan.registry])})
    outside = sorted({port for role in plan.roles for port in role.egress})
    if outside:
        rules.append({"ports": _tcp(outside)})
    return rules


def _tcp(ports: Sequence[int]) -> list[dict[str, Any]]:
    return [{"port": port, "protocol": "TCP"} for port in ports]


def _metadata(plan: JobPlan, name: str, role: RolePlan | None = None) -> dict[str, Any]:
    named: dict[str, Any] = {"name": name}
    if plan.choices.namespace:
        named["namespace"] = plan.choices.namespace
    return {**named, "labels": _labels(plan, role)}


def _selector(plan: JobPlan) -> dict[str, str]:
    return {"app.kubernetes.io/instance": plan.name}


def _labels(plan: JobPlan, role: RolePlan | None) -> dict[str, str]:
    component = {} if role is None else {"app.kubernetes.io/component": role.short}
    return {**_selector(plan), **component, "app.kubernetes.io/managed-by": "cloister"}
