"""`cloister key`: keys of approvers, readers and owners of namespaces."""

from __future__ import annotations

from pathlib import Path

import typer

from cloister.cli import console

__all__ = ["app"]

app = typer.Typer(help="Keys of people who approve or read.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keys of people who approve or read."""


@app.command()
def new(
    file: Path = typer.Argument(help="The new file; only you may read it."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Make a key; prints its public half, which charters and policies name."""
    from cloister.crypto.signature import SigningKey  # noqa: PLC0415
    from cloister.errors import ConfigError  # noqa: PLC0415
    from cloister.tee.sim.platform import write_secret_file  # noqa: PLC0415

    if file.exists():
        raise ConfigError(f"{file} exists", code="config.exists", hint="name another file")
    key = SigningKey.generate()
    write_secret_file(file, key.to_secret())
    if as_json:
        console.emit({"file": str(file), "public": key.public.text})
    else:
        console.lines(key.public.text)
        console.note(f"{file} is secret: whoever has it approves in your name")
