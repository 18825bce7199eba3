"""What a run's sandbox holds: what is shown, what lies in memory, what is executed.

Decided from the plan, the bundle and what was measured; only `code_digest` looks at a disk.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cloister.confinement.mounts import Bind, FuseMount
from cloister.confinement.sandbox import Command, SandboxSpec
from cloister.confinement.unswapped import PlacedFile
from cloister.launcher import plan as planning
from cloister.launcher.listening import listeners_document

if TYPE_CHECKING:
    from cloister.confinement.network import NetworkSpec
    from cloister.confinement.regions import HostFolder
    from cloister.keyservice.bundle import Bundle
    from cloister.keyservice.client import Release
    from cloister.launcher.code import CodeTree
    from cloister.launcher.networking import NetworkPlan
    from cloister.launcher.plan import RunPlan
    from cloister.launcher.runtime import RuntimeLayout

__all__ = [
    "certificate_file",
    "code_digest",
    "code_files",
    "command_of",
    "identity_files",
    "mount_of",
    "sandbox_spec",
    "secret_files",
]

_FSNAME: Final = "cloister"


def sandbox_spec(
    layout: RuntimeLayout,
    folders: tuple[HostFolder, ...],
    network: NetworkSpec | None,
    *,
    cells: bool,
) -> SandboxSpec:
    """Show what was measured, and hide inside it what was left out of the measurement."""
    binds = tuple(Bind(str(path.resolve()), str(path)) for path in layout.visible)
    hidden = [
        str(path)
        for root in layout.roots
        for name in sorted(root.skipped)
        for path in sorted(root.path.rglob(name))
        if path.is_dir()
    ]
    spec = SandboxSpec(binds=binds, hidden=tuple(hidden), folders=folders, cells=cells)
    if network is None:
        return spec
    names = next(names for address, names in network.hosts if address == network.address)
    return replace(spec, hostname=names[0], network=network)


def code_digest(plan: RunPlan, code: CodeTree | None) -> bytes:
    """Return the digest of the code: of its files, or of the volume that it lies in."""
    if code is not None:
        return code.digest()
    if plan.code is None:
        raise LookupError("a plan has code in a volume or in a folder")
    from cloister.volume.opening import observe  # not every run has volumes

    return observe(plan.code.store).root


def mount_of(volume: planning.VolumePlan) -> FuseMount:
    """Return how a volume is mounted."""
    return FuseMount(volume.target, fsname=_FSNAME, read_only=volume.access == "read")


def code_files(code: CodeTree | None) -> list[PlacedFile]:
    """Return the files of plain code, read-only."""
    return [
        PlacedFile(
            f"{planning.CODE_MOUNT}/{file.path}", file.data, 0o555 if file.executable else 0o444
        )
        for file in (code.files if code is not None else ())
    ]


def secret_files(bundle: Bundle) -> list[PlacedFile]:
    """Return the files that the policy gives the workload."""
    return [PlacedFile(path, file.content, file.mode) for path, file in bundle.files.items()]


def identity_files(release: Release) -> list[PlacedFile]:
    """Return certificate, key, authority and the rules of listeners."""
    folder = planning.IDENTITY_FOLDER
    return [
        certificate_file(release.bundle.certificate),
        PlacedFile(f"{folder}/key.pem", release.tls_key, 0o400),
        PlacedFile(f"{folder}/ca.pem", release.bundle.ca, 0o400),
        PlacedFile(planning.LISTENERS_FILE, listeners_document(release.bundle.listen), 0o400),
    ]


def certificate_file(certificate: bytes) -> PlacedFile:
    """Return the certificate, also to replace an older one."""
    return PlacedFile(f"{planning.IDENTITY_FOLDER}/cert.pem", certificate, 0o400)


def command_of(
    bundle: Bundle,
    layout: RuntimeLayout,
    network: NetworkPlan | None,
    *,
    first: tuple[str, ...],
) -> Command:
    """Return what is executed, and all of its environment."""
    program = bundle.command[0]
    executable = str(layout.interpreter) if program == planning.PYTHON else program
    return Command(
        argv=(executable, *bundle.command[1:]),
        environment=planning.environment_of(
            bundle.environment,
            layout.import_path,
            told={} if network is None else network.environment,
            first=first,
        ),
        directory=planning.CODE_MOUNT,
    )
