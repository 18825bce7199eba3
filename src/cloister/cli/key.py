"""`cloister key`: keys of approvers, readers, owners of namespaces, and holders of shares."""

from __future__ import annotations

from pathlib import Path

import typer

from cloister.cli import console, settings

__all__ = ["app"]

app = typer.Typer(
    help="Keys of people who approve, read, or hold recovery shares.", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """Keys of people who approve or read."""


@app.command()
def new(
    file: Path = typer.Argument(help="The new file; only you may read it."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Make a key; prints its public half, which charters and policies name."""
    from cloister.crypto.signature import SigningKey
    from cloister.keyservice.new_file import write_new_file

    settings.hide_memory()
    key = SigningKey.generate()
    write_new_file(file, key.to_secret())
    if as_json:
        console.emit({"file": str(file), "public": key.public.text})
    else:
        console.lines(key.public.text)
        console.note(f"{file} is secret: whoever has it approves, reads and asks in your name")


@app.command()
def holder(
    file: Path = typer.Argument(help="The new file; only you may read it. FILE.pub is public."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Make the key of somebody who will hold a recovery share; FILE.pub is what others name."""
    from cloister.crypto.digest import digest_to_text
    from cloister.crypto.hpke import HPKEPrivateKey
    from cloister.errors import ConfigError
    from cloister.keyservice.new_file import write_new_file

    public = file.with_name(file.name + ".pub")
    if public.exists():
        raise ConfigError(f"{public} exists", code="config.exists", hint="name another file")
    settings.hide_memory()
    key = HPKEPrivateKey.generate()
    write_new_file(file, key.to_secret())
    write_new_file(public, f"hpke:{key.public.raw.hex()}\n".encode())
    digest = digest_to_text(key.public.identity)
    if as_json:
        console.emit({"file": str(file), "public": str(public), "digest": digest})
    else:
        console.lines(digest)
        console.note(f"{file} is secret: with enough others, whoever has it has every key")
