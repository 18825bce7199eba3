"""The policy as data, version 1. Frozen, strict; unknown keys and missing checks are errors.

A check is a value or, written out, `{unchecked: <reason>}`. There is no default that checks less.
Text in, text out: digests are `sha256:<hex>`, keys `ed25519:<hex>`, volume ids 32 hex digits.

Spec: release-policy-v1.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "CodeDigests",
    "CodeVolume",
    "Listener",
    "Mount",
    "Output",
    "Policy",
    "SimRoot",
    "Unchecked",
    "VolumeRule",
    "Workload",
]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
PublicKey = Annotated[str, StringConstraints(pattern=r"^ed25519:[0-9a-f]{64}$")]
VolumeId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
MountPoint = Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9._-]{1,64}){1,8}$")]
Argument = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
EnvironmentValue = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]
SpiffeId = Annotated[str, StringConstraints(pattern=r"^spiffe://[A-Za-z0-9._/*-]{3,600}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Unchecked(_Strict):
    """A check that its author decided to leave out, with the reason, shown in every result."""

    unchecked: Annotated[str, StringConstraints(min_length=8, max_length=300)]


class SimRoot(_Strict):
    """What simulated evidence must say. Naming `sim` is what accepts it at all.

    Attributes:
        anchors: Public keys of the simulated platforms that are accepted.
        measurement: Digests of Cloister installations (launcher images) that are accepted.
        minimum_svn: Lowest security version of the platform.
        debug: Whether an inspectable platform is accepted.
    """

    anchors: Annotated[tuple[PublicKey, ...], Field(min_length=1, max_length=64, strict=False)]
    measurement: (
        Annotated[tuple[Digest, ...], Field(min_length=1, max_length=64, strict=False)] | Unchecked
    )
    minimum_svn: Annotated[int, Field(ge=0, le=65535)] | Unchecked
    debug: Literal["refused", "accepted"]


class RootsOfTrust(_Strict):
    """The roots of trust that are accepted; one that is absent is refused."""

    sim: SimRoot | None = None


class VolumeRule(_Strict):
    """A volume by its identity.

    Attributes:
        id: The volume's identity, from its superblock.
        root: `latest`, the newest state that the key service has anchored; or one exact state.
        location: Where its store lies on the machine that runs, relative to the policy file. A hint
            for convenience; untrusted, and not part of any decision.
    """

    id: VolumeId
    root: Literal["latest"] | Digest
    location: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None


class CodeVolume(_Strict):
    """Code that comes from a sealed volume, which must have an exact `root`."""

    volume: Name


class CodeDigests(_Strict):
    """Code that lies in plain on the operator's disk, in a directory mounted at `/code`."""

    digests: Annotated[tuple[Digest, ...], Field(min_length=1, max_length=64, strict=False)]


class Mount(_Strict):
    """A volume in the workload's file tree."""

    volume: Name
    access: Literal["read", "write"]


class Listener(_Strict):
    """A TCP port that the workload may accept connections on; TLS ends inside.

    Attributes:
        port: On the machine that runs; 0 lets the launcher choose.
        clients: SPIFFE IDs (the instance may be `*`) whose certificates are accepted, or a reason
            why anybody who can reach the port may ask.
    """

    port: Annotated[int, Field(ge=0, le=65535)]
    clients: (
        Annotated[tuple[SpiffeId, ...], Field(min_length=1, max_length=256, strict=False)]
        | Unchecked
    )


class Output(_Strict):
    """What may leave other than through volumes and listeners.

    Attributes:
        logs: `pass` shows standard output and error to the operator; `drop` discards them.
    """

    logs: Literal["pass", "drop"]


class Workload(_Strict):
    """One role: what runs, with what, and where its results may go.

    Attributes:
        code: What is measured as the code.
        runtime: Digests of interpreter and installed distributions that are accepted.
        command: argv; the first item is `python` (the measured interpreter) or an absolute path.
        environment: All of it; nothing is inherited.
        volumes: Mount point to volume.
        listen: Name of a listener to its rule; empty for none.
        output: What the operator may see.
    """

    code: CodeVolume | CodeDigests
    runtime: (
        Annotated[tuple[Digest, ...], Field(min_length=1, max_length=64, strict=False)] | Unchecked
    )
    command: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=256, strict=False)]
    environment: Annotated[dict[EnvironmentName, EnvironmentValue], Field(max_length=256)]
    volumes: Annotated[dict[MountPoint, Mount], Field(max_length=32)]
    listen: Annotated[dict[Name, Listener], Field(max_length=8)]
    output: Output


class Policy(_Strict):
    """All security facts of one job, in one file.

    Attributes:
        policy: The format, `cloister/v1`.
        name: Its name within the namespace.
        namespace: The tenant.
        predecessor: Hash of the policy that this one replaces, or `none` for the first.
        roots_of_trust: What evidence is accepted.
        volumes: Volumes by name.
        workloads: Roles by name.
    """

    policy: Literal["cloister/v1"]
    name: Name
    namespace: Name
    predecessor: Literal["none"] | Digest
    roots_of_trust: RootsOfTrust
    volumes: Annotated[dict[Name, VolumeRule], Field(max_length=64)]
    workloads: Annotated[dict[Name, Workload], Field(min_length=1, max_length=64)]
