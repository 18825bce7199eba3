"""A first policy, written from facts: complete, commented, and free of lint errors.

What comes out is text for a person to read and change; it is read back before it is returned.

Spec: release-policy-v1, clause POL-74.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cloister.keyservice.policy.budget_rules import BudgetRule
from cloister.keyservice.policy.lint import require_sound
from cloister.keyservice.policy.model import (
    CodeDigests,
    CodeVolume,
    Listener,
    Mount,
    ShardMount,
    SimRoot,
    Unchecked,
    VolumeRule,
    Workload,
)
from cloister.keyservice.policy.network_rules import Cluster, EgressRule, Ports
from cloister.keyservice.policy.reader import parse_policy

__all__ = ["PolicyDraft", "draft_policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDraft:
    """The facts that a draft is written from; the types are the policy's own.

    Attributes:
        name: The policy's name.
        namespace: The tenant.
        sim: What simulated evidence must say.
        volumes: Volumes by name.
        workloads: Roles by name.
        predecessor: `none`, or the hash of the policy that this one replaces.
        cluster: What a framework is told; None where none has to be told.
        certificate_lifetime: Seconds; None is a day.
        budgets: What workloads may spend, by name; None for nothing.
    """

    name: str
    namespace: str
    sim: SimRoot
    volumes: Mapping[str, VolumeRule]
    workloads: Mapping[str, Workload]
    predecessor: str = "none"
    cluster: Cluster | None = None
    certificate_lifetime: int | None = None
    budgets: Mapping[str, BudgetRule] | None = None


def draft_policy(draft: PolicyDraft) -> str:
    """Return YAML that says what `draft` says.

    Raises:
        MalformedError: The facts make no policy, or one with lint errors (`policy.invalid`).
    """
    text = "\n".join(_lines(draft)) + "\n"
    require_sound(parse_policy(text.encode(), source="draft"))
    return text


def _lines(draft: PolicyDraft) -> Iterator[str]:
    yield "# A Cloister policy: what may run, what it gets, whom it may talk to, what may come out."
    yield "# A check is a value, or {unchecked: <reason>}. Nothing is left out silently."
    yield "# Look at it with: cloister policy lint, cloister policy show."
    yield "policy: cloister/v1"
    yield f"name: {_quoted(draft.name)}"
    yield f"namespace: {_quoted(draft.namespace)}"
    yield "# The hash of the policy that this one replaces."
    yield f"predecessor: {_quoted(draft.predecessor)}"
    if draft.certificate_lifetime is not None:
        yield "# Seconds that a certificate, and a membership, lasts unless renewed."
        yield f"certificate_lifetime: {draft.certificate_lifetime}"
    yield ""
    yield from _sim_lines(draft.sim)
    yield ""
    yield "# Sealed volumes. The root latest is the newest state that the key service has anchored."
    yield "volumes:" if draft.volumes else "volumes: {}"
    for name, volume in draft.volumes.items():
        yield from _volume_lines(name, volume)
    if draft.cluster is not None:
        yield ""
        yield "# What the launcher tells the framework; each task has its own port, counting on."
        cluster = draft.cluster
        roles = _list(cluster.roles)
        yield f"cluster: {{framework: {cluster.framework}, roles: {roles}, port: {cluster.port}}}"
    if draft.budgets:
        yield ""
        yield "# What the key service counts; neither a new run nor a new policy starts it again."
        yield "budgets:"
        for name, rule in draft.budgets.items():
            yield f"  {_quoted(name)}: {_budget(rule)}"
    yield ""
    yield "workloads:"
    for name, workload in draft.workloads.items():
        yield from _workload_lines(name, workload)


def _sim_lines(root: SimRoot) -> Iterator[str]:
    yield "roots_of_trust:"
    yield "  # Simulated evidence: good for development, rooted in no hardware."
    yield "  sim:"
    yield "    # Public keys of the platforms that are accepted."
    yield f"    anchors: {_list(root.anchors)}"
    yield "    # The launcher, which measures everything else."
    yield f"    measurement: {_check(root.measurement)}"
    yield f"    minimum_svn: {_check(root.minimum_svn)}"
    yield f"    debug: {_quoted(root.debug)}"


def _volume_lines(name: str, volume: VolumeRule) -> Iterator[str]:
    yield f"  {_quoted(name)}:"
    yield f"    id: {_quoted(volume.id)}"
    yield f"    root: {_quoted(volume.root)}"
    if volume.location is not None:
        yield "    # A hint for this machine; no part of the policy's hash."
        yield f"    location: {_quoted(volume.location)}"
    if volume.regions is not None:
        yield "    # What protects which folder; what none covers is encrypted."
        yield "    regions:"
        for path, found in volume.regions.items():
            yield f"      {_quoted(path)}: {_quoted(found)}"


def _workload_lines(name: str, workload: Workload) -> Iterator[str]:
    yield f"  {_quoted(name)}:"
    yield "    # What is measured before any key is released."
    yield f"    code: {_code(workload.code)}"
    yield "    # The interpreter with every installed package."
    yield f"    runtime: {_check(workload.runtime)}"
    yield f"    command: {_list(workload.command)}"
    yield "    # All of it; nothing is inherited."
    yield from _map("environment", {k: _quoted(v) for k, v in workload.environment.items()})
    yield from _map("volumes", {k: _mount(m) for k, m in workload.volumes.items()})
    yield "    # TCP ports; TLS ends inside."
    yield from _map("listen", {k: _listener(v) for k, v in workload.listen.items()})
    yield "    # pass shows standard output and error to the operator; drop discards them."
    yield f"    output: {{logs: {_quoted(workload.output.logs)}}}"
    yield from _instance_lines(workload)
    yield from _network_lines(workload)
    if workload.cells is not None:
        yield "    # Its program may confine others further; it has more of the kernel for that."
        yield f"    cells: {_quoted(workload.cells)}"


def _instance_lines(workload: Workload) -> Iterator[str]:
    if workload.instances is None:
        return
    yield "    # How many there may be at the same time, and how often a failed one comes back."
    more = workload.instances.restarts
    restarts = "" if more is None else f", restarts: {more}"
    yield f"    instances: {{maximum: {workload.instances.maximum}{restarts}}}"


def _network_lines(workload: Workload) -> Iterator[str]:
    if workload.connections is not None:
        yield "    # Whom it may open connections to, at which ports; nobody else can be reached."
        yield from _map("connections", {k: _ports(v) for k, v in workload.connections.items()})
    if workload.egress is not None:
        yield "    # What may leave the job, protected by what the program does and nothing else."
        yield from _map("egress", {k: _egress(v) for k, v in workload.egress.items()})


def _map(name: str, entries: Mapping[str, str]) -> Iterator[str]:
    yield f"    {name}:" if entries else f"    {name}: {{}}"
    for key, value in entries.items():
        yield f"      {_quoted(key)}: {value}"


def _code(code: CodeVolume | CodeDigests) -> str:
    if isinstance(code, CodeVolume):
        return f"{{volume: {_quoted(code.volume)}}}"
    return f"{{digests: {_list(code.digests)}}}"


def _mount(mount: Mount | ShardMount) -> str:
    if isinstance(mount, ShardMount):
        return f"{{shards: {_list(mount.shards)}, access: {_quoted(mount.access)}}}"
    return f"{{volume: {_quoted(mount.volume)}, access: {_quoted(mount.access)}}}"


def _listener(listener: Listener) -> str:
    return f"{{port: {listener.port}, clients: {_check(listener.clients)}}}"


def _ports(ports: Ports) -> str:
    return ports if ports == "any" else _integers(ports)


def _egress(rule: EgressRule) -> str:
    return f"{{ports: {_integers(rule.ports)}, bytes: {rule.bytes}, rate: {rule.rate}}}"


def _budget(rule: BudgetRule) -> str:
    whose = rule.principals if rule.principals == "any" else _list(rule.principals)
    return f"{{limit: {rule.limit}, principals: {whose}, roles: {_list(rule.roles)}}}"


def _integers(numbers: tuple[int, ...]) -> str:
    return "[" + ", ".join(str(number) for number in numbers) + "]"


def _check(check: tuple[str, ...] | int | Unchecked) -> str:
    if isinstance(check, Unchecked):
        return f"{{unchecked: {_quoted(check.unchecked)}}}"
    return str(check) if isinstance(check, int) else _list(check)


def _list(items: tuple[str, ...]) -> str:
    return "[" + ", ".join(_quoted(item) for item in items) + "]"


def _quoted(text: str) -> str:
    """Write a text so that every YAML reader takes it for that text: JSON's form is YAML's."""
    plain = text.isidentifier() and text.isascii() and len(text) > 3 and text.lower() not in _WORDS  # noqa: PLR2004  # longer than true and yes
    return text if plain else json.dumps(text, ensure_ascii=False)


_WORDS = frozenset({"true", "false", "null"})
