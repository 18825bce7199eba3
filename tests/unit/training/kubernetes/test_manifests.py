"""Objects of Kubernetes, held against the schemas that are published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from cloister.training.kubernetes.initdata import ANNOTATION
from unit.training.kubernetes.rendering import IMAGE, objects, plan, policy_text

kubernetes_validate = pytest.importorskip("kubernetes_validate")

CRD: Final = Path(__file__).parents[3] / "data" / "jobset" / "jobset-v1alpha2.yaml"
# The oldest version that has everything in its stable API, and the newest that the package knows.
VERSIONS: Final = ("1.31", "1.37")
_LABEL: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
ODD: Final = ("1.a_b--c", "0", "z" * 63, "a.b", "x-" + "9" * 61)


def _closed(schema: Any) -> Any:
    """Return a schema that refuses fields which it does not know, as a strict server does."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(each) for name, each in schema.items()}
    if "properties" in schema and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _jobset_schema() -> Any:
    crd = yaml.safe_load(CRD.read_text())
    return _closed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def _jobs_of(jobset: Any) -> Iterator[Any]:
    for each in jobset["spec"]["replicatedJobs"]:
        yield {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": each["name"], **each["template"]["metadata"]},
            "spec": each["template"]["spec"],
        }


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["digits", *ODD])
def test_every_object_fits_the_published_schema(version: str, name: str) -> None:
    """Fields that the schema does not have are errors."""
    choices = {"cpu": "4", "memory": "16Gi", "namespace": "team", "receipts": "receipts"}
    made = plan(policy_text(name=name), **choices)
    for each in objects(made).values():
        kubernetes_validate.validate(each, version, strict=True)


def test_a_schema_refuses_what_does_not_fit() -> None:
    """The test above could fail."""
    job = objects(plan())["Job", "digits-chief"]
    job["spec"]["template"]["spec"]["runtimeClass"] = "kata"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


def test_a_jobset_fits_its_published_schema() -> None:
    """And the jobs in it fit that of jobs."""
    made = objects(plan(jobset=True), as_jobset=True)
    assert {kind for kind, _ in made} == {"ConfigMap", "NetworkPolicy", "JobSet"}
    jobset = made["JobSet", "digits"]
    schema = _jobset_schema()
    jsonschema.Draft202012Validator(schema).validate(jobset)
    for job in _jobs_of(jobset):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)
    jobset["spec"]["successPolicies"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(jobset)


def test_a_jobset_is_done_when_those_are_that_end() -> None:
    """Parameter servers serve for ever."""
    jobset = objects(plan(jobset=True), as_jobset=True)["JobSet", "digits"]
    assert jobset["spec"]["successPolicy"] == {
        "operator": "All",
        "targetReplicatedJobs": ["chief", "judge"],
    }
    assert jobset["spec"]["failurePolicy"] == {"maxRestarts": 0}


@pytest.mark.parametrize("name", ["digits", *ODD])
@pytest.mark.parametrize("jobset", [False, True])
def test_every_name_is_one_that_dns_takes(name: str, *, jobset: bool) -> None:
    """Objects, pods, their services, volumes and containers, and labels' values."""
    made = plan(policy_text(name=name, namespace="lab/one"), jobset=jobset)
    names = [each.name for each in made.roles] + [each.short for each in made.roles]
    for line in made.configuration["peers"].splitlines():
        host, _, port = line.split()[1].rpartition(":")
        assert port == "8443"
        names += host.split(".")
    for (_, title), each in objects(made, as_jobset=jobset).items():
        names.append(title)
        for label in each["metadata"]["labels"].values():
            assert _VALUE.fullmatch(label)
        if each["kind"] == "Job":
            spec = each["spec"]["template"]["spec"]
            names += [volume["name"] for volume in spec["volumes"]]
            names += [spec.get("subdomain", "none")]
    assert [each for each in names if _LABEL.fullmatch(each) is None] == []


def test_an_indexed_job_numbers_its_pods() -> None:
    """And each number may fail as often as the policy says, and no other one for it."""
    made = objects(plan())
    chief = made["Job", "digits-chief"]["spec"]
    judge = made["Job", "digits-judge"]["spec"]
    servers = made["Job", "digits-ps"]["spec"]
    assert (chief["completionMode"], chief["backoffLimitPerIndex"]) == ("Indexed", 3)
    assert (servers["completions"], servers["parallelism"], servers["maxFailedIndexes"]) == (
        2,
        2,
        0,
    )
    assert (judge["completionMode"], judge["backoffLimit"]) == ("NonIndexed", 0)
    assert chief["template"]["spec"]["subdomain"] == "digits"
    assert "subdomain" not in judge["template"]["spec"]


def test_a_pod_gets_nothing_that_it_does_not_need() -> None:
    """No token of the cluster, no variables of its services, one image by its digest."""
    for (kind, _), each in objects(plan()).items():
        if kind != "Job":
            continue
        spec = each["spec"]["template"]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["runtimeClassName"] == "kata-qemu-tdx"
        (container,) = spec["containers"]
        assert container["image"] == IMAGE
        assert "env" not in container
        assert "envFrom" not in container
        assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} <= {
            "configMap",
            "emptyDir",
            "persistentVolumeClaim",
        }
        annotations = each["spec"]["template"]["metadata"]["annotations"]
        assert annotations == {ANNOTATION: plan().init.annotation}


def test_temporary_files_are_in_memory() -> None:
    """Of the guest: a node's disk is not its own."""
    spec = objects(plan(scratch="2Gi"))["Job", "digits-chief"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["scratch"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}


def test_the_fence_has_the_relay_the_key_service_and_what_the_policy_grants() -> None:
    """And DNS, and the registry that the guest pulls from; nothing else."""
    fence = objects(plan())["NetworkPolicy", "digits"]["spec"]
    peers = [{"podSelector": {"matchLabels": {"app.kubernetes.io/instance": "digits"}}}]
    relay = [{"port": 8443, "protocol": "TCP"}]
    assert fence["policyTypes"] == ["Ingress", "Egress"]
    assert fence["ingress"] == [
        {"from": peers, "ports": relay},
        {"ports": [{"port": 6006, "protocol": "TCP"}]},
    ]
    assert fence["egress"] == [
        {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
        {"to": peers, "ports": relay},
        {
            "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}],
            "ports": [{"port": 8400, "protocol": "TCP"}],
        },
        {"ports": [{"port": 5000, "protocol": "TCP"}]},
        {"ports": [{"port": 8080, "protocol": "TCP"}]},
    ]


def test_a_service_finds_pods_before_they_are_ready() -> None:
    """A relay looks for its peers at once."""
    service = objects(plan())["Service", "digits"]["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    assert service["selector"] == {"app.kubernetes.io/instance": "digits"}
