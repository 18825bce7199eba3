"""`cloister doctor`: what this machine can and cannot do, what that costs, and how to get it."""

from __future__ import annotations

from pathlib import Path

import typer

from cloister.cli import attesting, console

__all__ = ["command"]


def command(  # noqa: PLR0917  # options: typer passes them by name
    tsm: Path | None = attesting.TSM,
    gramine: Path | None = attesting.GRAMINE,
    tpm: Path | None = attesting.TPM,
    metadata: str | None = attesting.METADATA,
    nvml: Path | None = attesting.NVML,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Say what this machine has, what is missing, what that costs and how to get it.

    Roots of trust are asked as `cloister evidence collect` would ask them, without any evidence.
    """
    from cloister.confinement.probe import probe  # commands load what they use
    from cloister.tee.offers import Machine, offers

    facts = probe()
    where = attesting.places(tsm=tsm, gramine=gramine, tpm=tpm, metadata=metadata, nvml=nvml)
    roots = offers(Machine(where))
    if as_json:
        console.emit(
            {
                "facts": [fact.as_record() for fact in facts],
                "roots_of_trust": [each.as_record() for each in roots],
            }
        )
        return
    rows = [(fact.name, fact.state, fact.detail) for fact in facts]
    console.table("This machine", ("what", "state", "found"), rows)
    for fact in facts:
        if fact.state != "ok":
            console.lines(f"\n{fact.name}: {fact.state}")
            console.lines(f"  without it: {fact.cost}")
            console.lines(f"  to get it:  {fact.remedy}")
    table = [(each.kind, "yes" if each.offered else "no", each.interface) for each in roots]
    console.table("Roots of trust on this machine", ("kind", "offered", "by"), table)
    for each in roots:
        if not each.offered:
            console.lines(f"\n{each.kind}: {each.missing}")
            if each.remedy:
                console.lines(f"  to get it:  {each.remedy}")
