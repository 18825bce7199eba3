"""`cloister demo`: parse, run the story, print what was proved."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import console

if TYPE_CHECKING:
    from cloister.cli.demo.story import Facts

__all__ = ["command"]


def command(
    folder: Path | None = typer.Option(
        None, "--folder", help="Keep everything here (default: a temporary folder, removed)."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Show the whole story on this machine: seal, attest, train, predict, attack."""
    from cloister.cli.demo.network import enter_own_network

    enter_own_network()
    from cloister.cli.demo.story import Story  # after the process has moved

    root = Path(tempfile.mkdtemp(prefix="cloister-demo-")) if folder is None else folder
    root.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        with console.stages(quiet=as_json) as announce:
            facts = Story(root.resolve(), announce=announce).tell()
    finally:
        if folder is None:
            shutil.rmtree(root, ignore_errors=True)
    facts.seconds["in all"] = time.monotonic() - began
    if as_json:
        console.emit(facts.as_record())
    else:
        _print(facts)
    if not facts.proved:
        raise typer.Exit(1)


def _print(facts: Facts) -> None:
    found = ", ".join(facts.found_without_protection)
    rows = [
        ("an unmodified Keras script trained on sealed data", f"{facts.accuracy:.2%} on test data"),
        ("predictions equal the unprotected model's, bit for bit", _word(facts.predictions_equal)),
        (
            f"secrets found in {_size(facts.searched_bytes)} of files and captured traffic",
            str(facts.plaintext_hits),
        ),
        ("found by the same search where protection is off", found),
    ]
    rows += [("  found", f"{one['secret']} in {one['where']}") for one in facts.plaintext_found]
    rows += [
        (f"attack: {name}", f"refused, {attack['code']}" if attack["refused"] else "NOT REFUSED")
        for name, attack in facts.attacks.items()
    ]
    rooted = "yes" if facts.hardware_rooted else "no: SIMULATED root of trust"
    rows.append(("rooted in hardware", rooted))
    console.table("What was proved", ("claim", "seen"), rows)
    times = ", ".join(f"{name} {value:.1f} s" for name, value in facts.seconds.items())
    console.lines(times)


def _word(value: bool) -> str:
    return "yes" if value else "FAILED"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
