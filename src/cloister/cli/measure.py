"""`cloister measure`: the reference values that a policy for this machine, or an image, names."""

from __future__ import annotations

from pathlib import Path

import typer

from cloister.cli import console, measure_image, settings

__all__ = ["app"]

app = typer.Typer(
    help="Measure this machine, as a run would; or the image of a virtual machine.",
    invoke_without_command=True,
)

app.command("tdx")(measure_image.tdx)
app.command("snp")(measure_image.snp)


@app.callback()
def measure(
    ctx: typer.Context,
    program: str = typer.Option("python", "--program", help="python, or a program's path."),
    code: Path | None = typer.Option(None, "--code", help="A folder of plain code to digest too."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Measure launcher, runtime and plain code on this machine; or `tdx`, `snp`: an image."""
    if ctx.invoked_subcommand is not None:
        return
    from cloister.crypto.digest import digest_to_text
    from cloister.launcher.code import read_code

    with console.progress("measuring the runtime", quiet=as_json) as step:
        facts = settings.measure_local(domain, program=program, progress=step)
    record = {
        "anchor": facts.anchor,
        "launcher": digest_to_text(facts.launcher),
        "runtime": digest_to_text(facts.runtime),
        "svn": str(facts.svn),
    }
    if code is not None:
        record["code"] = digest_to_text(read_code(code).digest())
    if as_json:
        console.emit(record)
        return
    for name, value in record.items():
        console.lines(f"{name:<9} {value}")
