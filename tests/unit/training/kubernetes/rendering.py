"""A policy for pods, choices that fit it, and what is rendered of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import yaml

from cloister.keyservice.policy import parse_policy
from cloister.training.kubernetes.files import render_files
from cloister.training.kubernetes.plan import Choices, JobPlan, plan_job

IMAGE: Final = f"registry.example.org:5000/team/train@sha256:{'a' * 64}"
DOMAIN: Final = '{"name": "example.org", "url": "http://10.1.2.3:8400"}'
CHOICES: Final = Choices(image=IMAGE, claims={"code": "code-store", "model": "model-store"})
_HEX48: Final = "91" * 48
_TDX: Final = f"""\
  tdx:
    anchors: [manufacturer]
    claims:
      measurement: {{one_of: ["{_HEX48}"]}}
      rtmr0: {{unchecked: the provider configures the firmware}}
      rtmr1: {{one_of: ["{_HEX48}"]}}
      rtmr2: {{one_of: ["{_HEX48}"]}}
      rtmr3: {{unchecked: nothing extends it in this image}}
      debug: {{one_of: [clear]}}
      status: {{one_of: [UpToDate]}}
      advisories: {{within: []}}
      sept_ve_disable: {{one_of: [set]}}
      migratable: {{one_of: [clear]}}
      mr_service_td: {{unchecked: this provider binds no service TD}}
"""
_SNP: Final = f"""\
  snp:
    anchors: [manufacturer]
    claims:
      measurement: {{one_of: ["{_HEX48}"]}}
      debug: {{one_of: [clear]}}
      policy.migrate_ma: {{one_of: [clear]}}
      vmpl: {{one_of: [0]}}
      reported_tcb: {{at_least: {{bootloader: 4, tee: 0, snp: 20, microcode: 200}}}}
      revocation_checked: {{one_of: [set]}}
"""
ROOTS: Final = {"tdx": _TDX, "snp": _SNP}


def policy_text(
    *roots: str, name: str = "digits", namespace: str = "default", claims: str = ""
) -> str:
    """Return a chief, two parameter servers and an evaluation without a network."""
    said = "".join(ROOTS[root] for root in roots or ("tdx",)) + claims
    workload = """\
    code: {volume: code}
    runtime: ["sha256:d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4"]
    command: [python, /code/train.py]
    environment: {}
    output: {logs: pass}
"""
    return f"""\
policy: cloister/v1
name: "{name}"
namespace: {namespace}
predecessor: none
roots_of_trust:
{said}volumes:
  code: {{id: "{"1" * 32}", root: "sha256:{"c3" * 32}"}}
  model: {{id: "{"3" * 32}", root: latest}}
cluster: {{framework: tensorflow, roles: [chief, ps], port: 2222}}
workloads:
  chief:
    instances: {{maximum: 1, restarts: 3}}
    volumes: {{/code: {{volume: code, access: read}}, /model: {{volume: model, access: write}}}}
    connections: {{ps: [2223, 2224]}}
    egress: {{mlflow.example.org: {{ports: [8080], bytes: 1000, rate: 1000}}}}
    listen: {{board: {{port: 6006, clients: {{unchecked: a board for anybody}}}}}}
{workload}  ps:
    instances: {{maximum: 2}}
    volumes: {{/code: {{volume: code, access: read}}}}
    listen: {{}}
{workload}  judge:
    volumes: {{/code: {{volume: code, access: read}}, /model: {{volume: model, access: read}}}}
    listen: {{}}
{workload}"""


def plan(text: str = "", *, jobset: bool = False, **changes: Any) -> JobPlan:
    """Return the plan of a policy, with changes to the choices."""
    said = text or policy_text()
    return plan_job(
        parse_policy(said.encode(), source="policy.yaml"),
        replace(CHOICES, **changes),
        policy_text=said,
        domain_text=DOMAIN,
        jobset=jobset,
    )


def objects(made: JobPlan, *, as_jobset: bool = False) -> Mapping[tuple[str, str], Any]:
    """Return every object of the files, by kind and name."""
    files = render_files(made, as_jobset=as_jobset)
    found = {}
    for name, content in files.items():
        if name.endswith(".yaml"):
            for each in yaml.safe_load_all(content):
                found[each["kind"], each["metadata"]["name"]] = each
    return found
