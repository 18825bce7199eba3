"""The policy as data, version 1. Frozen; made by `parse_policy` or `policy_from_canonical` only.

A check is a value or, written out, `{unchecked: <reason>}`. There is no default that checks less.
Text in, text out: digests are `sha256:<hex>`, keys `ed25519:<hex>`, volume ids 32 hex digits.
What each field may hold stands in `schema.py`, as one table that both readers use; a policy that
somebody built by hand has no hash until it has passed the same table.

Spec: release-policy-v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "CodeDigests",
    "CodeVolume",
    "Instances",
    "Listener",
    "Mount",
    "Output",
    "Policy",
    "RootsOfTrust",
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
class RootsOfTrust:
    """The roots of trust that are accepted; one that is absent is refused."""

    sim: SimRoot | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRule:
    """A volume by its identity.

    Attributes:
        id: The volume's identity, from its superblock.
        root: `latest`, the newest state that the key service has anchored; or one exact state.
        location: Where its store lies on the machine that runs, relative to the policy file. A hint
            for convenience; untrusted, not part of any decision, and not part of the hash.
    """

    id: str
    root: str
    location: str | None = None


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
    """

    maximum: int


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
        instances: How many there may be at the same time; None leaves it to what a job can hold.
    """

    code: CodeVolume | CodeDigests
    runtime: tuple[str, ...] | Unchecked
    command: tuple[str, ...]
    environment: Mapping[str, str]
    volumes: Mapping[str, Mount]
    listen: Mapping[str, Listener]
    output: Output
    instances: Instances | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """All security facts of one job, in one file.

    Attributes:
        policy: The format, `cloister/v1`.
        name: Its name within the namespace.
        namespace: The tenant.
        predecessor: Hash of the policy that this one replaces, or `none` for the first.
        roots_of_trust: What evidence is accepted.
        volumes: Volumes by name.
        workloads: Roles by name.
        certificate_lifetime: Seconds that a certificate, and the membership that it stands for,
            lasts unless renewed by a fresh attestation; None is a day.
    """

    policy: Literal["cloister/v1"]
    name: str
    namespace: str
    predecessor: str
    roots_of_trust: RootsOfTrust
    volumes: Mapping[str, VolumeRule]
    workloads: Mapping[str, Workload]
    certificate_lifetime: int | None = None
