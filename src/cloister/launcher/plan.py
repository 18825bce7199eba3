"""What a run will do, decided from the policy and the machine's paths alone. No I/O.

The plan is made from the operator's copy of the policy, which he could have edited. That costs him
nothing but an error: the key service releases only what the policy that it knows by hash says, and
`require_same` compares the two before anything is opened.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.errors import ConfigError, ReleaseDeniedError, RemoteProtocolError
from cloister.keyservice.policy.model import CodeVolume
from cloister.keyservice.policy.networks import mounts_of
from cloister.keyservice.policy.templates import parse_template

if TYPE_CHECKING:
    from cloister.keyservice.bundle import Bundle
    from cloister.keyservice.policy.model import Policy, Workload
    from cloister.volume.regions import Regions

__all__ = [
    "CODE_MOUNT",
    "IDENTITY_FOLDER",
    "LISTENERS_FILE",
    "RunPlan",
    "VolumePlan",
    "environment_of",
    "is_inside_volume",
    "plan_run",
    "refuse_arguments",
    "require_same",
]

CODE_MOUNT: Final = "/code"
IDENTITY_FOLDER: Final = "/run/cloister/identity"
LISTENERS_FILE: Final = "/run/cloister/listeners.json"
PYTHON: Final = "python"

# The policy may override these.
_DEFAULTS: Final[Mapping[str, str]] = {
    "HOME": "/home",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PYTHONUNBUFFERED": "1",  # logs are live
    "TMPDIR": "/tmp",  # noqa: S108  # memory of the sandbox alone
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime writes and sends unless told not to
}
# And not these: what runs must be what was measured.
_FIXED: Final[Mapping[str, str]] = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """A volume at one mount point, where its store lies on this machine, and its regions."""

    target: str
    name: str
    id: bytes
    access: str
    store: Path
    regions: Regions


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What one run does.

    Attributes:
        workload: The role.
        command: argv as the policy has it.
        code: The volume that is measured as the code, or None for a plain folder.
        code_folder: The plain folder, or None for a volume.
        volumes: By mount point, parents first.
        files: Path to permission bits of the files that the policy gives the workload.
        templated: Whether secrets stand in the command of the bundle.
    """

    workload: str
    command: tuple[str, ...]
    code: VolumePlan | None
    code_folder: Path | None
    volumes: tuple[VolumePlan, ...]
    files: Mapping[str, int] = field(default_factory=dict)
    templated: bool = False


def plan_run(
    policy: Policy,
    workload: str,
    *,
    base: Path,
    code_folder: Path | None,
    stores: Mapping[str, Path],
    instance: str = "",
) -> RunPlan:
    """Decide what to mount and measure.

    Args:
        policy: The operator's copy.
        workload: The role to run.
        base: The folder that the policy's `location` hints are relative to.
        code_folder: Where plain code lies, for a workload that names digests.
        stores: Volume name to store, before any hint.
        instance: The run's name for itself, whose index says which shard it has.

    Raises:
        ReleaseDeniedError: The policy has no such workload (`release.workload-unknown`), or
            there are shards and the instance has none (`release.instance-index`).
        ConfigError: A volume's store or the code is not named, or is named and not used.
    """
    role = policy.workloads.get(workload)
    if role is None:
        raise ReleaseDeniedError(
            f"policy {policy.name} has no workload {workload}",
            code="release.workload-unknown",
            hint="it has " + ", ".join(sorted(policy.workloads)),
        )
    unused = sorted(set(stores) - set(policy.volumes))
    if unused:
        raise ConfigError(f"policy {policy.name} has no volume {unused[0]}", code="config.value")
    mounts = {
        target: (mount.volume, mount.access) for target, mount in mounts_of(role, instance).items()
    }
    if isinstance(role.code, CodeVolume):
        mounts[CODE_MOUNT] = (role.code.volume, "read")
    volumes = tuple(
        VolumePlan(
            target,
            name,
            *_identity_and_store(policy, name, base, stores, access),
            regions=_regions(policy, name),
        )
        for target, (name, access) in sorted(mounts.items())
    )
    at_code = next((volume for volume in volumes if volume.target == CODE_MOUNT), None)
    return RunPlan(
        workload=workload,
        command=tuple(role.command),
        code=at_code if isinstance(role.code, CodeVolume) else None,
        code_folder=_code_folder(role, code_folder),
        volumes=volumes,
        files={path: file.bits for path, file in (role.files or {}).items()},
        templated=policy.has_templates,
    )


def refuse_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that the operator adds: argv comes from the policy and nowhere else.

    Raises:
        ReleaseDeniedError: Code `launch.argv`.
    """
    if arguments:
        raise ReleaseDeniedError(
            f"the operator may not add arguments ({arguments[0]!r}): argv comes from the policy",
            code="launch.argv",
            hint="put them into the policy's command and have the owner apply it",
        )


def require_same(plan: RunPlan, bundle: Bundle) -> None:
    """Require that what was released is what was planned and measured.

    Raises:
        ReleaseDeniedError: The command is another (`launch.argv`).
        RemoteProtocolError: The volumes or the files are others.
    """
    if not _same_command(plan, bundle.command):
        raise ReleaseDeniedError(
            "the released command is not the one that was planned", code="launch.argv"
        )
    released = {(path, grant.id, grant.access) for path, grant in bundle.volumes.items()}
    planned = {(volume.target, volume.id, volume.access) for volume in plan.volumes}
    if released != planned:
        raise RemoteProtocolError(
            "the released volumes are not those that were planned", code="protocol.remote"
        )
    if {path: file.mode for path, file in bundle.files.items()} != plan.files:
        raise RemoteProtocolError(
            "the released files are not those that were planned", code="protocol.remote"
        )


def _same_command(plan: RunPlan, command: tuple[str, ...]) -> bool:
    """Compare argv word for word; where secrets stand, what lies around them."""
    if not plan.templated:
        return command == plan.command
    return len(command) == len(plan.command) and all(
        parse_template(planned).admits(released)
        for planned, released in zip(plan.command, command, strict=True)
    )


def is_inside_volume(program: str, plan: RunPlan) -> bool:
    """Tell whether a command's program comes from a volume or the code tree."""
    places = [CODE_MOUNT, *(volume.target for volume in plan.volumes)]
    return any(posixpath.normpath(program).startswith(f"{place}/") for place in places)


def environment_of(
    given: Mapping[str, str],
    import_path: Sequence[Path],
    *,
    told: Mapping[str, str] | None = None,
    first: Sequence[str] = (),
) -> dict[str, str]:
    """Return the workload's whole environment.

    Args:
        given: The policy's variables.
        import_path: Folders of the measured runtime that the interpreter must be told of.
        told: What a framework is told of its job.
        first: Folders of ours that come before everything else on the import path.
    """
    variables = {**_DEFAULTS, **given, **(told or {}), **_FIXED}
    folders = [*first, variables.get("PYTHONPATH", ""), *(str(path) for path in import_path)]
    joined = ":".join(folder for folder in folders if folder)
    return variables | ({"PYTHONPATH": joined} if joined else {})


def _identity_and_store(
    policy: Policy, name: str, base: Path, stores: Mapping[str, Path], access: str
) -> tuple[bytes, str, Path]:
    rule = policy.volumes.get(name)
    if rule is None:
        raise ConfigError(f"volume {name} is mounted and not declared", code="config.value")
    store = stores.get(name)
    if store is None and rule.location is not None:
        store = base / rule.location
    if store is None:
        raise ConfigError(
            f"where the store of volume {name} lies is not known",
            code="config.missing",
            hint=f"name it: --volume {name}=PATH, or `location` in the policy",
        )
    return bytes.fromhex(rule.id), access, store


def _regions(policy: Policy, name: str) -> Regions:
    """Take a volume's regions from our copy: its hash, which the bundle repeats, covers them."""
    from cloister.volume.regions import RegionClass, Regions  # not every run has volumes

    said = policy.volumes[name].regions or {}
    return Regions({path: RegionClass(found) for path, found in said.items()})


def _code_folder(role: Workload, folder: Path | None) -> Path | None:
    if isinstance(role.code, CodeVolume):
        if folder is not None:
            raise ConfigError(
                "this workload's code comes from a sealed volume, not from a folder",
                code="config.value",
            )
        return None
    if folder is None:
        raise ConfigError(
            "this workload's code lies in a plain folder that was not named",
            code="config.missing",
            hint="name it: --code FOLDER",
        )
    return folder
