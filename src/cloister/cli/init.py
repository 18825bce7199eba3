"""`cloister init`: a trust domain with its owner's key, simulated platform and key service."""

from __future__ import annotations

from pathlib import Path

import typer

from cloister.cli import console, settings

__all__ = ["command"]


def command(
    directory: Path = typer.Argument(
        Path(".cloister"), help="A new or empty folder; parents are made."
    ),
    name: str = typer.Option("cloister.local", "--name", help="The trust domain's name."),
    url: str = typer.Option(
        "embedded", "--url", help="Where clients find the key service; needed with --database."
    ),
    database: str = settings.DATABASE,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Make a trust domain: owner's key, simulated platform, key service."""
    from cloister.keyservice.clock import read_clock  # noqa: PLC0415
    from cloister.keyservice.domain import TrustDomain, missing_parents  # noqa: PLC0415

    made = missing_parents(directory)
    domain = TrustDomain.create(directory, name, moment=read_clock(), url=url, database=database)
    facts = {
        "directory": str(directory),
        "made": [str(folder) for folder in made],
        "name": domain.name,
        "keyservice": domain.identity.text,
        "owner": domain.owner.text,
        "anchors": {root: [key.text for key in keys] for root, keys in domain.anchors.items()},
        "hardware_rooted": False,
    }
    if as_json:
        console.emit(facts)
        return
    console.lines(f"Trust domain {domain.name} in {directory}")
    for folder in made:
        console.lines(f"  new folder   {folder}  (only you may enter)")
    started = "started on demand" if url == "embedded" else url
    console.lines(f"  key service  {domain.identity.text}  ({started})")
    console.lines(f"  owner        {domain.owner.text}  (secret: {directory}/owner/owner.key)")
    for root, keys in domain.anchors.items():
        for key in keys:
            console.lines(f"  {root:<11}  {key.text}  (SIMULATED: no hardware vouches for it)")
    console.lines(f"Next: export CLOISTER_DOMAIN={directory.resolve()}")
