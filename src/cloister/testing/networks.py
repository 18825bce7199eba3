"""A policy of a cluster with shards, egress and connections, as text, for tests that need one."""

from __future__ import annotations

from typing import Final

from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.reader import parse_policy
from cloister.testing.policies import ANCHOR_RAW, CODE_ROOT, LAUNCHER, RUNTIME

__all__ = ["networked_policy", "networked_text"]

_TEXT: Final = """\
policy: cloister/v1
name: digits
namespace: clinic
predecessor: none
roots_of_trust:
  sim:
    anchors: ["ed25519:{anchor}"]
    measurement: ["sha256:{launcher}"]
    minimum_svn: 2
    debug: refused
volumes:
  code: {{id: "11111111111111111111111111111111", root: "sha256:{code}"}}
  train-0: {{id: "22222222222222222222222222222222", root: latest}}
  train-1: {{id: "33333333333333333333333333333333", root: latest}}
  model: {{id: "44444444444444444444444444444444", root: latest}}
cluster: {{framework: tensorflow, roles: [chief, worker, ps], port: 2222}}
workloads:
  chief:
    code: {{volume: code}}
    runtime: ["sha256:{runtime}"]
    command: [python, /code/train.py]
    environment: {{}}
    volumes: {{/model: {{volume: model, access: write}}}}
    listen: {{}}
    output: {{logs: drop}}
    instances: {{maximum: 1}}
    connections: {{chief: any, worker: any, ps: any}}
    egress: {{mlflow.example.org: {{ports: [443], bytes: 10000000, rate: 1000000}}}}
  worker:
    code: {{volume: code}}
    runtime: ["sha256:{runtime}"]
    command: [python, /code/train.py]
    environment: {{SEED: "1"}}
    volumes: {{/data: {{shards: [train-0, train-1], access: read}}}}
    listen: {{}}
    output: {{logs: drop}}
    instances: {{maximum: 2, restarts: 3}}
    connections: {{chief: any, worker: any, ps: [2225]}}
  ps:
    code: {{volume: code}}
    runtime: ["sha256:{runtime}"]
    command: [python, /code/train.py]
    environment: {{}}
    volumes: {{}}
    listen: {{}}
    output: {{logs: drop}}
    instances: {{maximum: 1}}
    connections: {{chief: any, worker: any}}
  report:
    code: {{volume: code}}
    runtime: ["sha256:{runtime}"]
    command: [python, /code/report.py]
    environment: {{}}
    volumes: {{/model: {{volume: model, access: read}}}}
    listen: {{}}
    output: {{logs: pass}}
"""


def networked_text(*changes: tuple[str, str]) -> str:
    """Return the text with the first of each `old` replaced by `new`.

    Raises:
        ValueError: There is no such `old`: a test that changes nothing shows nothing.
    """
    text = _TEXT.format(
        anchor=ANCHOR_RAW.hex(),
        launcher=LAUNCHER.hex(),
        code=CODE_ROOT.hex(),
        runtime=RUNTIME.hex(),
    )
    for old, new in changes:
        if old not in text:
            raise ValueError(old)
        text = text.replace(old, new, 1)
    return text


def networked_policy(*changes: tuple[str, str]) -> Policy:
    """Return the policy that the text says."""
    return parse_policy(networked_text(*changes).encode(), source="networked")
