"""The files of a rendered job, as text: manifests, init data, a container file, a page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from cloister.training.kubernetes.agent_policy import PATH
from cloister.training.kubernetes.manifests import Manifest, configuration, jobs, jobset, network
from cloister.training.kubernetes.plan import CODE, ENTER, JobPlan

__all__ = ["render_files"]

_CONTAINERFILE: Final = """\
# The image of {policy}'s pods. From a checkout of Cloister:
#   podman build --file {here}/Containerfile{context} --build-arg EXTRAS='[pytorch]' --tag IMAGE .
# Name BASE by its digest where the image should come out the same again.
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${{BASE}} AS build
ARG EXTRAS=
RUN apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv
WORKDIR /opt/cloister
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python3 -m venv .venv \\
    && .venv/bin/pip --disable-pip-version-check install --no-cache-dir --constraint constraints.txt ".${{EXTRAS}}" \\
    && .venv/bin/python -m compileall -q .venv/lib \\
    && rm -rf src

FROM ${{BASE}}
RUN apt-get update && apt-get install --yes --no-install-recommends mount nftables python3 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/cloister /opt/cloister
{code}# Evidence comes from configfs, which a container does not see unless it mounts it.
RUN printf '%s\\n' '#!/bin/sh' 'set -eu' \\
    'test -d /sys/kernel/config/tsm || mount -t configfs configfs /sys/kernel/config' \\
    'exec /opt/cloister/.venv/bin/cloister "$@"' > {enter} && chmod 0755 {enter}
ENV PATH={path}
ENTRYPOINT ["{enter}"]
"""  # noqa: E501  # a file as it is written
_README: Final = """\
# {policy} on Kubernetes

Written by `cloister render kubernetes`. Nothing here is secret, and nothing here is trusted: whoever runs the cluster may read and
change all of it, and gets no key for what he changed. **This has been checked against published schemas, and never been run on a cluster.**

| file | what |
| --- | --- |
| `10-configuration.yaml` | the policy, the trust domain's public facts, where relays answer |
| `20-network.yaml` | how pods find each other, and what they may reach |
| `30-jobs.yaml` | {jobs} |
| `initdata.toml` | what the guests are configured with; packed in an annotation of each pod |
| `Containerfile` | the image |

## What the cluster must have

- Kubernetes 1.29 or newer; nodes with {processor}, Confidential Containers (Kata) on them, and the runtime class `{runtime_class}`{operator}
- An admission policy of the namespace that lets pods be privileged (`pod-security.kubernetes.io/enforce: privileged`). The container is
  privileged within its own virtual machine, which is the boundary here: no other combination of words gives it `/dev/fuse`, mounts,
  namespaces and `configfs`. It gets none of the node's devices where the runtime has `privileged_without_host_devices`.
- A guest kernel with FUSE, user and network namespaces, `configfs` with TSM reports, and nftables. Kata's own has had no nftables
  by default: build one that has, or let the policy name every port in `connections` and render with `--fixed-ports`. `cloister doctor`, run once in such a pod, says what
  is missing.
- Claims whose stores arrive inside of the guest as folders: {claims}. Confidential guests share no folder of the node; it takes a storage
  driver that attaches volumes to the guest itself. A claim of a workload with several pods must be `ReadWriteMany`, or `ReadOnlyMany` where it
  is only read.
- A network plugin that keeps NetworkPolicies, and a way from pods to the key service at {keyservice} and to the image's registry, which
  the guest pulls from.

## What the policy must say

The init data below has this digest, and the processor puts it into its report. A policy without this line accepts guests whose agents
do whatever the operator asks of them:

```yaml
roots_of_trust:
  {root}:
    claims:
      {claim}: {{one_of: ["{digest}"]}}
```

{bound} The digest changes with the image, the workloads and their volumes, and not with the rest of the policy: so this line changes nothing
here but the copy of the policy. The other claims are about the guest's firmware, kernel and command line: they come from whoever built the
runtime class. `code` and `runtime` of the workloads are those of the image: `cloister init /tmp/d && cloister measure --domain /tmp/d --code /opt/cloister/code` says them inside of it.

## Commands

```sh
podman build --file Containerfile{context} --tag {repository} CHECKOUT-OF-CLOISTER
podman push {repository}
cloister policy apply policy.yaml          # with the line above, and rendered again after it
kubectl apply -f 10-configuration.yaml -f 20-network.yaml
kubectl apply -f 30-jobs.yaml
kubectl logs -f -l app.kubernetes.io/instance={name} --prefix
{end}
```

Receipts lie in `/var/lib/cloister/receipts` of each pod: {receipts}
"""  # noqa: E501  # a page as it is written


def render_files(plan: JobPlan, *, as_jobset: bool) -> Mapping[str, str]:
    """Return every file by its name."""
    plain = any("--code" in role.command for role in plan.roles)
    context = " --build-context code=FOLDER" if plain else ""
    return {
        "10-configuration.yaml": _yaml([configuration(plan)]),
        "20-network.yaml": _yaml(network(plan, service=not as_jobset)),
        "30-jobs.yaml": _yaml([jobset(plan)] if as_jobset else jobs(plan)),
        "Containerfile": _CONTAINERFILE.format(
            policy=plan.policy,
            here="FOLDER-OF-THIS-FILE",
            context=context,
            code=f"COPY --from=code . {CODE}\n" if plain else "",
            enter=ENTER,
            path=PATH,
        ),
        "README.md": _readme(plan, context, as_jobset=as_jobset),
        "initdata.toml": plan.init.text,
    }


def _readme(plan: JobPlan, context: str, *, as_jobset: bool) -> str:
    claims = sorted({claim for role in plan.roles for claim, _ in role.claims.values()})
    endless = [role.name for role in plan.roles if role.endless]
    end = f"kubectl delete -f 30-jobs.yaml          # {', '.join(endless)} would go on for ever"
    return _README.format(
        policy=plan.policy,
        name=plan.name,
        jobs="a JobSet" if as_jobset else "a Job for each workload",
        processor={"tdx": "Intel TDX", "snp": "AMD SEV-SNP"}[plan.root],
        runtime_class=plan.runtime_class,
        operator="; and the JobSet controller, `v1alpha2`." if as_jobset else ".",
        claims=", ".join(f"`{claim}`" for claim in claims) or "none",
        keyservice=f"`{plan.keyservice.host}:{plan.keyservice.port}`",
        root=plan.root,
        claim=plan.init.claim,
        digest=plan.init.digest,
        bound="This policy has it." if plan.bound else "**This policy does not have it.**",
        context=context,
        repository=plan.choices.image.partition("@")[0],
        end=end if endless and not as_jobset else "kubectl get -f 30-jobs.yaml",
        receipts=f"on the claim `{plan.choices.receipts}`."
        if plan.choices.receipts
        else "they go with the pod, since no `--receipts CLAIM` was named.",
    )


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are read, and nothing by reference to another place."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # the base class names it
        """Say of every value that it is written out."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _yaml(objects: Sequence[Manifest]) -> str:
    plain: list[Any] = [dict(each) for each in objects]
    return yaml.dump_all(
        plain, Dumper=_Dumper, sort_keys=False, width=4096, explicit_start=True, allow_unicode=True
    )
