"""Policy and charter as data, version 1. Frozen; made by the readers of text or canonical bytes.

A check is a value or, written out, `{unchecked: <reason>}`. There is no default that checks less.
Text in, text out: digests are `sha256:<hex>`, keys `ed25519:<hex>`, volume ids 32 hex digits.
What each field may hold stands in `schema.py`, as one table that both readers use; a policy that
somebody built by hand has no hash until it has passed the same table.

Spec: release-policy-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cloister.attestation.evidence_rules import Rule
from cloister.keyservice.policy.budget_rules import BudgetRule
from cloister.keyservice.policy.network_rules import Cluster, EgressRule, Ports
from cloister.keyservice.policy.secret_rules import FileRule, ImportRule, SecretRule

__all__ = [
    "Access",
    "Board",
    "Charter",
    "CodeDigests",
    "CodeVolume",
    "EvidenceRoot",
    "Instances",
    "Listener",
    "Mount",
    "Output",
    "Policy",
    "Quotas",
    "RootsOfTrust",
    "ShardMount",
    "SimRoot",
    "Unchecked",
    "VolumeRule",
    "Workload",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """A check that its author decided to leave out, with the reason, shown in every result."""

    unchecked: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SimRoot:
    """What simulated evidence must say. Naming `sim` is what accepts it at all.

    Attributes:
        anchors: Public keys of the simulated platforms that are accepted.
        measurement: Digests of Cloister installations (launcher images) that are accepted.
        minimum_svn: Lowest security version of the platform.
        debug: Whether an inspectable platform is accepted.
    """

    anchors: tuple[str, ...]
    measurement: tuple[str, ...] | Unchecked
    minimum_svn: int | Unchecked
    debug: Literal["refused", "accepted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRoot:
    """What genuine evidence of one kind must say, in the words of evidence-policy-v1.

    Attributes:
        anchors: `manufacturer` for the roots that the package pins, or `sha256:` of a root.
        claims: Path of a claim to its rule; what the kind's table requires is there. Report data
            is not among them: the protocol binds it, and no policy can say otherwise.
        devices: What evidence of accelerators beside the processor must say, by kind; with none the
            processor's alone is accepted, with some all of it or nothing.
    """

    anchors: tuple[str, ...]
    claims: Mapping[str, Rule]
    devices: Mapping[str, EvidenceRoot] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootsOfTrust:
    """The roots of trust that are accepted; one that is absent is refused.

    Attributes:
        sim: Simulated evidence.
        genuine: Evidence of processors, by the registry's name of its kind.
    """

    sim: SimRoot | None = None
    genuine: Mapping[str, EvidenceRoot] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The kinds that are accepted, `sim` first, in one order for all policies."""
        return (*(("sim",) if self.sim is not None else ()), *sorted(self.genuine))


RegionClass = Literal["encrypted", "authenticated", "plain", "ephemeral"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRule:
    """A volume by its identity.

    Attributes:
        id: The volume's identity, from its superblock.
        root: `latest`, the newest state that the key service has anchored; or one exact state.
        location: Where its store lies on the machine that runs, relative to the policy file. A hint
            for convenience; untrusted, not part of any decision, and not part of the hash.
        regions: Path in the volume to the class of what lies there; the longest prefix decides,
            and what none covers is encrypted. Absent for none.
    """

    id: str
    root: str
    location: str | None = None
    regions: Mapping[str, RegionClass] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeVolume:
    """Code that comes from a sealed volume with an exact `root`, mounted read-only at `/code`."""

    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeDigests:
    """Code that lies in plain on the operator's disk, in a directory mounted at `/code`."""

    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A volume in the workload's file tree."""

    volume: str
    access: Literal["read", "write"]

    @property
    def names(self) -> tuple[str, ...]:
        """The volumes that it may be."""
        return (self.volume,)

    def places(self, path: str) -> dict[str, str]:
        """Return each volume with where it is named, for a mount at `path` in the policy."""
        return {self.volume: path}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMount:
    """Volumes in the workload's file tree, of which each instance has one.

    Attributes:
        shards: By the index of the instance; as many as there may be instances.
        access: What each may do with its own.
    """

    shards: tuple[str, ...]
    access: Literal["read", "write"]

    @property
    def names(self) -> tuple[str, ...]:
        """The volumes that it may be."""
        return self.shards

    def places(self, path: str) -> dict[str, str]:
        """Return each volume with where it is named, for a mount at `path` in the policy."""
        return {name: f"{path}.shards[{index}]" for index, name in enumerate(self.shards)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A TCP port that the workload may accept connections on; TLS ends inside.

    Attributes:
        port: On the machine that runs; 0 lets the launcher choose.
        clients: SPIFFE IDs (the instance may be `*`) whose certificates are accepted, or a reason
            why anybody who can reach the port may ask.
    """

    port: int
    clients: tuple[str, ...] | Unchecked


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What may leave other than through volumes and listeners.

    Attributes:
        logs: `pass` shows standard output and error to the operator; `drop` discards them.
    """

    logs: Literal["pass", "drop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """How many instances of a workload may be members of the job at the same time.

    Attributes:
        maximum: The release of one more is refused.
        restarts: How often a failed one may be started again by whoever runs the whole cluster;
            None leaves it to them.
    """

    maximum: int
    restarts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One role: what runs, with what, and where its results may go.

    Attributes:
        code: What is measured as the code.
        runtime: Digests of interpreter and installed distributions that are accepted.
        command: argv; the first item is `python` (the measured interpreter) or an absolute path.
        environment: All of it; nothing is inherited.
        volumes: Mount point to volume.
        listen: Name of a listener to its rule; empty for none.
        output: What the operator may see.
        files: Absolute path to a file in memory; absent for none.
        instances: How many there may be at the same time; None leaves it to what a job can hold.
        connections: Role to the ports of its instances that this one may connect to; None for none.
        egress: DNS name to what may go there; None for nothing.
        cells: Whether its program may make cells, with namespaces of their own, for code that it
            does not trust itself; None for no.
    """

    code: CodeVolume | CodeDigests
    runtime: tuple[str, ...] | Unchecked
    command: tuple[str, ...]
    environment: Mapping[str, str]
    volumes: Mapping[str, Mount | ShardMount]
    listen: Mapping[str, Listener]
    output: Output
    files: Mapping[str, FileRule] | None = None
    instances: Instances | None = None
    connections: Mapping[str, Ports] | None = None
    egress: Mapping[str, EgressRule] | None = None
    cells: Literal["allowed"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Who approves together.

    Attributes:
        approvers: Their public keys.
        threshold: How many different ones must approve; at most as many as there are.
        timeout: Seconds from the first proposal in which they must.
    """

    approvers: tuple[str, ...]
    threshold: int
    timeout: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who, beside those that the charter names, may read a policy.

    Attributes:
        readers: Public keys.
    """

    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All security facts of one job, in one file.

    Attributes:
        policy: The format, `cloister/v1`.
        name: Its name within the namespace.
        namespace: The tenant: 1 to 4 names, separated by `/`.
        predecessor: Hash of the policy that this one replaces, or `none` for the first.
        roots_of_trust: What evidence is accepted.
        volumes: Volumes by name.
        workloads: Roles by name.
        secrets: Values that the key service makes and keeps; absent for none.
        imports: Secrets of other policies by the name that they have here; absent for none.
        approval: Who must approve the policy that replaces this one; absent for the board of the
            charter that governs its namespace.
        access: Who else may read it; absent for nobody.
        certificate_lifetime: Seconds that a certificate, and the membership that it stands for,
            lasts unless renewed by a fresh attestation; None is a day.
        cluster: What a framework is told of its tasks; None where nobody needs to be told.
        budgets: What workloads may spend, by name; absent for none.
    """

    policy: Literal["cloister/v1"]
    name: str
    namespace: str
    predecessor: str
    roots_of_trust: RootsOfTrust
    volumes: Mapping[str, VolumeRule]
    workloads: Mapping[str, Workload]
    approval: Board | None = None
    access: Access | None = None
    secrets: Mapping[str, SecretRule] | None = None
    imports: Mapping[str, ImportRule] | None = None
    certificate_lifetime: int | None = None
    cluster: Cluster | None = None
    budgets: Mapping[str, BudgetRule] | None = None

    @property
    def has_templates(self) -> bool:
        """Whether `${secret:` in commands, variables and files means a secret."""
        return bool(self.secrets or self.imports)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """How much one charter's namespaces may hold, and ask.

    Attributes:
        policies: Policies in force.
        volumes: Registered volumes.
        secrets: Stored secrets.
        members: Enrolled members.
        requests_per_minute: Releases and owner operations together.
    """

    policies: int
    volumes: int
    secrets: int
    members: int
    requests_per_minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Charter:
    """Who decides in a namespace, and in those below it that have no charter of their own.

    Attributes:
        charter: The format, `cloister/namespace/v1`.
        namespace: 1 to 4 names separated by `/`, or `/` for the root.
        predecessor: Hash of the charter that this one replaces, or `none` for the first.
        approvers: Their public keys.
        threshold: How many different ones must approve.
        timeout: Seconds that an approval process may take.
        readers: Public keys that may read policies, status and log, and change nothing.
        quotas: How much there may be.
    """

    charter: Literal["cloister/namespace/v1"]
    namespace: str
    predecessor: str
    approvers: tuple[str, ...]
    threshold: int
    timeout: int
    readers: tuple[str, ...]
    quotas: Quotas

    @property
    def board(self) -> Board:
        """Who approves, as policies write it."""
        return Board(approvers=self.approvers, threshold=self.threshold, timeout=self.timeout)
