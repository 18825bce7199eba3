"""What runs where: a policy and an operator's choices, checked and named. Pure.

The policy decides what gets keys, and is not changed by anything here. The choices (image, claims,
sizes) are the operator's, who could make others by hand; what is refused is what cannot work, or
what would leave open which image runs.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from cloister.attestation.evidence_rules import OneOf
from cloister.errors import ConfigError
from cloister.keyservice.policy.model import CodeDigests, Policy, Workload
from cloister.keyservice.policy.networks import indexed_roles, networked_roles
from cloister.training.kubernetes.agent_policy import INDEX_VARIABLE, agent_policy
from cloister.training.kubernetes.initdata import InitData, Root, init_data
from cloister.training.kubernetes.names import dns_label, require_object_name

__all__ = [
    "CODE",
    "CONFIG",
    "ENTER",
    "RECEIPTS",
    "SCRATCH",
    "VOLUMES",
    "Address",
    "Choices",
    "JobPlan",
    "RolePlan",
    "host_of",
    "plan_job",
]

CONFIG: Final = "/etc/cloister"
CODE: Final = "/opt/cloister/code"
ENTER: Final = "/opt/cloister/enter"
RECEIPTS: Final = "/var/lib/cloister"
SCRATCH: Final = "/tmp"  # noqa: S108  # of the guest, in its memory
VOLUMES: Final = "/volumes"

# `<job>-<role>-0-<index>` is a pod's host name where a JobSet makes it; the index has 3 digits.
_BASE_LIMIT: Final = 30
_ROLE_LIMIT: Final = 26
_IMAGE: Final = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,254}@sha256:[0-9a-f]{64}")
_QUANTITY: Final = re.compile(r"[1-9][0-9]{0,8}(?:m|Ki|Mi|Gi|Ti|k|M|G|T)?")
_RUNTIME_CLASSES: Final[Mapping[Root, str]] = {"tdx": "kata-qemu-tdx", "snp": "kata-qemu-snp"}
_ROOTS: Final[tuple[Root, ...]] = ("tdx", "snp")
_DEFAULT_NAMESPACE: Final = "default"
_MAX_PORT: Final = 65_535
_MAX_MAP_BYTES: Final = 900_000
_HTTPS: Final = 443
# Of TensorFlow: they serve until somebody ends them, so that the job is not done when they are.
_NEVER_DONE: Final = frozenset({"ps", "evaluator"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the operator chooses.

    Attributes:
        image: Reference by digest.
        root: What the pods attest by; None where the policy leaves no choice.
        runtime_class: Of the cluster; empty for the usual one of that processor.
        namespace: Of the cluster; empty for the one that `kubectl` is set to.
        claims: Volume of the policy to the PersistentVolumeClaim that has its store.
        receipts: A claim for receipts; empty to lose them with the pod.
        keyservice: Where pods find the key service; empty for what the trust domain says.
        cpu: For each pod; empty leaves it to the cluster.
        memory: For each pod; likewise.
        scratch: Size of a pod's temporary files, in its memory.
        relay_port: Where relays listen.
        agent_policy: Rego for the guest's agent; empty for the one that is made here.
        fixed_ports: Whether relays do without nftables, which the guest's kernel may lack.
    """

    image: str
    root: str | None = None
    runtime_class: str = ""
    namespace: str = ""
    claims: Mapping[str, str] = field(default_factory=dict)
    receipts: str = ""
    keyservice: str = ""
    cpu: str = ""
    memory: str = ""
    scratch: str = "1Gi"
    relay_port: int = 8443
    agent_policy: str = ""
    fixed_ports: bool = False


@dataclass(frozen=True, slots=True)
class Address:
    """Where the key service answers."""

    host: str
    port: int

    @property
    def network(self) -> str | None:
        """The host as a network of one address; None where it is a name."""
        try:
            return str(ipaddress.ip_network(self.host))
        except ValueError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePlan:
    """One workload of the policy.

    Attributes:
        role: Its name there.
        name: Of its Job, and of its place in a JobSet.
        short: That without the job's.
        pods: How many.
        indexed: Whether each has a number.
        networked: Whether it has a relay.
        restarts: How often one that failed is started again.
        endless: Whether the job can be done while it still runs.
        command: argv in the container; the number is `$(JOB_COMPLETION_INDEX)`.
        claims: Volume to claim and whether pods only read it.
        ports: Of its listeners.
        egress: Ports of what the policy lets it reach outside.
    """

    role: str
    name: str
    short: str
    pods: int
    indexed: bool
    networked: bool
    restarts: int
    endless: bool
    command: tuple[str, ...]
    claims: Mapping[str, tuple[str, bool]]
    ports: tuple[int, ...]
    egress: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """All of a policy.

    Attributes:
        name: Of the job, its Service and its ConfigMap.
        policy: Namespace and name of the policy.
        choices: The operator's, checked.
        root: What the pods attest by.
        runtime_class: Of their pods.
        init: Init data of their guests.
        bound: Whether the policy names the digest of that init data.
        roles: In the policy's order.
        keyservice: Where it answers.
        registry: Where the image comes from.
        configuration: File below `CONFIG` to its text.
    """

    name: str
    policy: str
    choices: Choices
    root: Root
    runtime_class: str
    init: InitData
    bound: bool
    roles: tuple[RolePlan, ...]
    keyservice: Address
    registry: int
    configuration: Mapping[str, str]


def plan_job(
    policy: Policy, choices: Choices, *, policy_text: str, domain_text: str, jobset: bool
) -> JobPlan:
    """Return what is to be rendered.

    Args:
        policy: As it was read from `policy_text`.
        choices: The operator's.
        policy_text: The policy's file.
        domain_text: `domain.json` of the trust domain; all of it is public.
        jobset: Whether one JobSet holds the jobs: their pods have other names then.

    Raises:
        ConfigError: Something is missing, or cannot be what it should be (`config.value`).
    """
    root = _root(policy, choices.root)
    if _IMAGE.fullmatch(choices.image) is None:
        raise ConfigError(
            f"{choices.image!r} does not name one image by its digest",
            code="config.value",
            hint="write registry/name@sha256:…: a tag can be moved to another image",
        )
    _check(choices)
    whole = policy.name
    if policy.namespace != _DEFAULT_NAMESPACE:
        whole = f"{policy.namespace}/{policy.name}"
    name = dns_label(whole, limit=_BASE_LIMIT)
    domain, keyservice = _domain(domain_text, choices.keyservice)
    roles = _roles(policy, choices, name, root)
    commands = [role.command for role in roles]
    mounts = {CONFIG, SCRATCH, RECEIPTS}
    mounts.update(f"{VOLUMES}/{volume}" for role in roles for volume in role.claims)
    rules = choices.agent_policy or agent_policy(choices.image, commands, sorted(mounts))
    init = init_data(root, agent_policy=rules)
    configuration = {
        "domain.json": domain,
        "policy.yaml": policy_text,
        "peers": _peers(roles, name, choices.relay_port, jobset=jobset),
    }
    if sum(len(text.encode()) for text in configuration.values()) > _MAX_MAP_BYTES:
        raise ConfigError("the policy is too large for a ConfigMap", code="config.value")
    return JobPlan(
        name=name,
        policy=f"{policy.namespace}/{policy.name}",
        choices=choices,
        root=root,
        runtime_class=choices.runtime_class or _RUNTIME_CLASSES[root],
        init=init,
        bound=_names(policy, root, init),
        roles=roles,
        keyservice=keyservice,
        registry=_registry_port(choices.image),
        configuration=configuration,
    )


def host_of(name: str, role: RolePlan, index: int, *, jobset: bool) -> str:
    """Return the name by which the cluster's DNS has one pod, within the namespace."""
    middle = "-0" if jobset else ""
    return f"{role.name}{middle}-{index}.{name}"


def _root(policy: Policy, chosen: str | None) -> Root:
    possible = [root for root in _ROOTS if root in policy.roots_of_trust.genuine]
    if chosen is not None:
        possible = [root for root in possible if root == chosen]
    if len(possible) == 1:
        return possible[0]
    if possible:
        raise ConfigError(
            "the policy accepts tdx and snp, and the nodes' processors are of one kind",
            code="config.value",
            hint="--root-of-trust tdx, or snp",
        )
    raise ConfigError(
        f"the policy accepts no evidence of {chosen or 'tdx or snp'}, and pods have no other: what "
        "sim attests by is a key in a file, which no manifest carries",
        code="config.value",
        hint="cloister policy show POLICY says what it accepts",
    )


def _check(choices: Choices) -> None:
    if choices.runtime_class:
        require_object_name(choices.runtime_class, "a runtime class")
    if choices.receipts:
        require_object_name(choices.receipts, "a claim")
    if choices.namespace and dns_label(choices.namespace) != choices.namespace:
        raise ConfigError(f"{choices.namespace!r} is no namespace", code="config.value")
    for claim in choices.claims.values():
        require_object_name(claim, "a claim")
    for quantity in (choices.cpu, choices.memory, choices.scratch):
        if quantity and _QUANTITY.fullmatch(quantity) is None:
            raise ConfigError(
                f"{quantity!r} is no quantity", code="config.value", hint="such as 4 or 16Gi"
            )
    if not 0 < choices.relay_port <= _MAX_PORT:
        raise ConfigError(f"{choices.relay_port} is no port", code="config.value")


def _domain(text: str, keyservice: str) -> tuple[str, Address]:
    """Return the public facts with the address that pods use, and that address."""
    facts = json.loads(text)
    facts["url"] = url = keyservice or facts["url"]
    wrong = ConfigError(
        f"pods cannot reach a key service at {url}",
        code="config.value",
        hint="--keyservice http://HOST:PORT, where cloister keyservice serve --listen answers",
    )
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as e:
        raise wrong from e
    if parts.scheme != "http" or not parts.hostname or port is None:
        raise wrong
    return json.dumps(facts, indent=2) + "\n", Address(parts.hostname, port)


def _roles(policy: Policy, choices: Choices, name: str, root: Root) -> tuple[RolePlan, ...]:
    networked = networked_roles(policy)
    indexed = indexed_roles(policy)
    unused = choices.claims.keys() - policy.volumes.keys()
    if unused:
        raise ConfigError(
            f"the policy has no volume {', '.join(sorted(unused))}",
            code="config.value",
            hint=f"it has {', '.join(sorted(policy.volumes)) or 'none'}",
        )
    plans = []
    for role, workload in policy.workloads.items():
        short = dns_label(role, limit=_ROLE_LIMIT)
        instances = workload.instances
        plans.append(
            RolePlan(
                role=role,
                name=f"{name}-{short}",
                short=short,
                pods=instances.maximum if instances is not None and role in indexed else 1,
                indexed=role in indexed,
                networked=role in networked,
                restarts=(instances.restarts or 0) if instances is not None else 0,
                endless=policy.cluster is not None
                and policy.cluster.framework == "tensorflow"
                and role in policy.cluster.roles
                and role in _NEVER_DONE,
                command=_command(
                    role,
                    workload,
                    choices,
                    root,
                    indexed=role in indexed,
                    networked=role in networked,
                ),
                claims=_claims(role, workload, choices.claims),
                ports=tuple(each.port for each in workload.listen.values() if each.port),
                egress=tuple(
                    sorted({p for rule in (workload.egress or {}).values() for p in rule.ports})
                ),
            )
        )
    if len({plan.short for plan in plans}) != len(plans):
        raise ConfigError("two workloads would have one name", code="config.value")
    return tuple(plans)


def _command(
    role: str, workload: Workload, choices: Choices, root: Root, *, indexed: bool, networked: bool
) -> tuple[str, ...]:
    words = [ENTER, "run", f"{CONFIG}/policy.yaml", "--workload", role, "--domain", CONFIG]
    words += ["--root-of-trust", root]
    if isinstance(workload.code, CodeDigests):
        words += ["--code", CODE]
    for volume in _volumes(workload):
        words += ["--volume", f"{volume}={VOLUMES}/{volume}"]
    if any(listener.port for listener in workload.listen.values()):
        words += ["--host", "0.0.0.0"]  # noqa: S104  # inside the guest; the policy grants the ports
    if indexed:
        words += ["--index", f"$({INDEX_VARIABLE})"]
    if networked:
        words += ["--peers", f"{CONFIG}/peers", "--relay", f"0.0.0.0:{choices.relay_port}"]
        words += ["--fixed-ports"] if choices.fixed_ports else []
    return tuple(words)


def _volumes(workload: Workload) -> Sequence[str]:
    return sorted({name for mount in workload.volumes.values() for name in mount.names})


def _claims(
    role: str, workload: Workload, claims: Mapping[str, str]
) -> Mapping[str, tuple[str, bool]]:
    found: dict[str, tuple[str, bool]] = {}
    for volume in _volumes(workload):
        if volume not in claims:
            raise ConfigError(
                f"nothing says where workload {role} has the store of volume {volume}",
                code="config.value",
                hint=f"--claim {volume}=NAME of a PersistentVolumeClaim",
            )
        mounts = [mount for mount in workload.volumes.values() if volume in mount.names]
        found[volume] = (claims[volume], all(mount.access == "read" for mount in mounts))
    return found


def _peers(roles: Sequence[RolePlan], name: str, port: int, *, jobset: bool) -> str:
    return "".join(
        f"{role.role}-{index} {host_of(name, role, index, jobset=jobset)}:{port}\n"
        for role in roles
        if role.networked
        for index in range(role.pods)
    )


def _registry_port(image: str) -> int:
    host, slash, _ = image.partition("/")
    port = host.rpartition(":")[2]
    return int(port) if slash and ":" in host and port.isdecimal() else _HTTPS


def _names(policy: Policy, root: Root, init: InitData) -> bool:
    """Tell whether the policy accepts guests with these rules."""
    rule = policy.roots_of_trust.genuine[root].claims.get(init.claim)
    return isinstance(rule, OneOf) and bytes.fromhex(init.digest) in rule.values
