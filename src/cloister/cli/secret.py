"""`cloister secret`: give the key service a value, and list what it holds. No command shows one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import console, settings
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.keyservice.policy import Policy

__all__ = ["app"]

app = typer.Typer(help="Give and list the secrets of a policy.", no_args_is_help=True)

_JSON = typer.Option(False, "--json", help="One JSON object.")
_POLICY = typer.Argument(help="The policy, a YAML file, applied before.")


@app.command()
def put(
    policy: Path = _POLICY,
    name: str = typer.Argument(help="An opaque secret of it."),
    file: Path | None = typer.Option(
        None, "--file", "-f", help="Where the value is, byte for byte; otherwise standard input."
    ),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Give the key service the value of an opaque secret, for its current epoch."""
    from cloister.keyservice.secret_messages import MAX_SECRET_BYTES

    read = _read(policy)
    owner = settings.owner(domain)
    try:
        value = _value(file, MAX_SECRET_BYTES + 1, what=name)
    except OSError as e:
        raise ConfigError(f"cannot read {file}: {e.strerror}", code="config.file") from e
    if not 1 <= len(value) <= MAX_SECRET_BYTES:
        raise ConfigError(f"a secret has 1 to {MAX_SECRET_BYTES} bytes", code="config.value")
    epoch = owner.put_secret(read, name, value)
    if as_json:
        console.emit({"policy": f"{read.namespace}/{read.name}", "secret": name, "epoch": epoch})
    else:
        console.lines(f"the key service has {name}, epoch {epoch}")


@app.command("list")
def list_(
    policy: Path = _POLICY, domain: Path | None = settings.DOMAIN, as_json: bool = _JSON
) -> None:
    """List the secrets of a policy by name, kind and epoch, with what is public of them."""
    read = _read(policy)
    facts = settings.owner(domain).list_secrets(read)
    if as_json:
        records = [
            fact.to_value() | {"public": {name: pem.decode() for name, pem in fact.public.items()}}
            for fact in facts
        ]
        console.emit({"policy": f"{read.namespace}/{read.name}", "secrets": records})
        return
    rows = [
        (
            fact.name,
            fact.kind,
            f"{fact.epoch}{'' if fact.current else ' (readable)'}",
            "yes"
            if fact.present
            else "to be fetched"
            if fact.kind in {"external", "remote"}
            else "to be put",
            ", ".join(sorted(fact.public)),
        )
        for fact in facts
    ]
    columns = ("name", "kind", "epoch", "there", "public")
    console.table(f"Secrets of {read.namespace}/{read.name}", columns, rows)


def _read(file: Path) -> Policy:
    from cloister.keyservice.policy import parse_policy

    return parse_policy(settings.read_policy_bytes(file), source=str(file))


def _value(file: Path | None, limit: int, *, what: str) -> bytes:
    """Read at most `limit` bytes; from a person, one line that the terminal does not show."""
    if file is None and sys.stdin.isatty():
        typed: str = typer.prompt(what, hide_input=True)
        return typed.encode()
    if file is None:
        return sys.stdin.buffer.read(limit)
    with file.open("rb") as stream:
        return stream.read(limit)
