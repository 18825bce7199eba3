"""`cloister volume mount`: a volume as ordinary files, on a machine that its owner trusts."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import console, regions, settings

if TYPE_CHECKING:
    from cloister.keyservice.owner import OwnerClient
    from cloister.launcher.mounting import MountOutcome, MountRequest

__all__ = ["command"]


def command(  # noqa: PLR0917  # options: typer passes them by name
    store: Path = typer.Argument(help="The folder that holds the volume's store."),
    mount_point: Path = typer.Argument(help="An existing folder."),
    program: list[str] | None = typer.Argument(
        None,
        metavar="[-- COMMAND...]",
        help="Runs where the volume is mounted (default: your shell; as root, none).",
        show_default=False,
    ),
    write: bool = typer.Option(False, "--write", help="Mount for writing, as its one writer."),
    region: list[str] | None = regions.OPTION,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(
        False, "--json", help="One JSON object; the command's output goes to stderr."
    ),
) -> None:
    """Show a volume's files to a command of yours; the exit status is the command's.

    The mount is seen by COMMAND and what it starts, and by nobody else. As root and without a
    COMMAND it is seen by the whole machine, until interrupted.

    With --region a new file has the class of its path, and a volume that has another one where it
    should not is refused. For writing, no --region means that every file is encrypted.
    """
    from cloister.launcher.mounting import mount_for_command, mount_here

    request = _request(store, mount_point, write=write, said=region, domain=domain)
    words = _words(program or [])
    if words:
        outcome = mount_for_command(request, words, stdout=2 if as_json else 1)
    else:
        ready = f"cloister: {store} is mounted on {mount_point}; interrupt to unmount it"
        outcome = mount_here(request, ready=lambda: console.note(ready))
    _report(outcome, store, as_json=as_json)
    raise typer.Exit(outcome.status)


def _request(
    store: Path, mount_point: Path, *, write: bool, said: list[str] | None, domain: Path | None
) -> MountRequest:
    from cloister.keyservice.pinned import PinnedService
    from cloister.launcher.mounting import MountRequest
    from cloister.volume.regions import Regions

    connection = settings.connect(domain)
    found = connection.domain

    def connect() -> OwnerClient:
        return settings.owner(domain).client

    return MountRequest(
        store=store,
        target=mount_point,
        writable=write,
        service=PinnedService(found.identity, found.origin),
        url=connection.url,
        regions=regions.read_regions(said) if said or write else Regions.as_recorded(),
        connect=connect,
    )


def _words(program: list[str]) -> list[str]:
    if program or os.geteuid() == 0:
        return program
    shell = os.environ.get("SHELL") or "/bin/sh"
    console.note(f"cloister: {shell} sees the volume; leave it to unmount")
    return [shell]


def _report(outcome: MountOutcome, store: Path, *, as_json: bool) -> None:
    for trouble in outcome.troubles:
        console.warn(f"{trouble.public} [{trouble.code}]")
    sys.stdout.flush()
    if as_json:
        console.emit(
            {
                "status": outcome.status,
                "store": str(store),
                "version": outcome.after.version,
                "root": "sha256:" + outcome.after.root.hex(),
                "troubles": [trouble.as_record() for trouble in outcome.troubles],
            }
        )
        return
    changed = "committed" if outcome.after != outcome.before else "unchanged"
    console.note(f"cloister: {store} is at version {outcome.after.version}, {changed}")
