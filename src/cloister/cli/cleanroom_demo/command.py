"""`cloister cleanroom demo`: parse, run the story, print what each of the three saw."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import console

if TYPE_CHECKING:
    from cloister.cli.cleanroom_demo.facts import Facts

__all__ = ["command"]


def command(
    folder: Path | None = typer.Option(
        None, "--folder", help="Keep everything here (default: a temporary folder, removed)."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Show a clean room on this machine: two owners, one model, and all of them nosy."""
    from cloister.cli.demo.network import enter_own_network

    enter_own_network(users=False)
    from cloister.cli.cleanroom_demo.story import Story  # after the process has moved

    root = Path(tempfile.mkdtemp(prefix="cloister-room-")) if folder is None else folder
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
    from cloister.cli.cleanroom_demo.people import PARTIES

    console.table("What each of them sees", ("", *PARTIES), facts.views())
    rows = [
        (each["party"], each["what"], f"refused, {each['code']}" if each["code"] else "NOT REFUSED")
        for each in facts.attempts
    ]
    rows += [
        ("the recipe, in its cell", what, f"refused, {code}" if code else "NOT REFUSED")
        for what, code in facts.spied.items()
    ]
    console.table("What was tried", ("who", "what", "seen"), rows)
    found = ", ".join(sorted(facts.unprotected))
    rooted = "yes" if facts.hardware_rooted else "no: SIMULATED root of trust"
    checks = [
        ("both owners got the same report", _word(facts.reports_equal)),
        ("the job's receipt holds, checked by the data owner", _word(facts.receipt_holds)),
        (
            "what canaries showed of the model, signed in the server's receipt",
            f"{facts.exposure_tenths / 10:.1f} bits; by chance 1.4"
            if facts.exposure_tenths
            else "FAILED",
        ),
        (
            "searched of the operator's files and wire",
            f"{facts.searched_bytes / 1e6:.1f} MB, of these {facts.captured_bytes / 1e6:.1f} MB "
            "from the wire",
        ),
        ("found by the same search without a room", found or "FAILED"),
        ("rooted in hardware", rooted),
        (
            "queries answered, and counted by the key service",
            f"{facts.answered} and {facts.spent} of {facts.limit}; {facts.right} of "
            f"{facts.answered - 1} digits were right",
        ),
    ]
    console.table("What was checked", ("claim", "seen"), checks)
    console.lines(", ".join(f"{name} {value:.1f} s" for name, value in facts.seconds.items()))


def _word(value: bool) -> str:
    return "yes" if value else "FAILED"
