"""`cloister doctor`: what this machine can and cannot do, what that costs, and how to get it."""

from __future__ import annotations

import typer

from cloister.cli import console

__all__ = ["command"]


def command(
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Say what this machine has, what is missing, what that costs and how to get it."""
    from cloister.confinement.probe import probe  # commands load what they use

    facts = probe()
    if as_json:
        console.emit({"facts": [fact.as_record() for fact in facts]})
        return
    rows = [(fact.name, fact.state, fact.detail) for fact in facts]
    console.table("This machine", ("what", "state", "found"), rows)
    for fact in facts:
        if fact.state != "ok":
            console.lines(f"\n{fact.name}: {fact.state}")
            console.lines(f"  without it: {fact.cost}")
            console.lines(f"  to get it:  {fact.remedy}")
