"""`cloister keyservice`: run the key service, and see what it holds."""

from __future__ import annotations

from pathlib import Path

import typer

from cloister.cli import console, settings
from cloister.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(help="Run the key service and see what it holds.", no_args_is_help=True)


@app.command()
def serve(
    domain: Path | None = settings.DOMAIN,
    listen: str = typer.Option("", "--listen", help="HOST:PORT; empty for a unix socket."),
) -> None:
    """Run the trust domain's key service in the foreground until interrupted."""
    from cloister.keyservice.server import main  # noqa: PLC0415

    found = settings.find_domain(domain)
    arguments = ["--domain", str(found.directory)]
    raise typer.Exit(main([*arguments, "--listen", listen] if listen else arguments))


@app.command()
def witness(
    state: Path = typer.Option(help="The witness's folder; made with a new key if missing."),
    name: str = typer.Option(help="Under which it cosigns, such as witness.example.org/one."),
    listen: str = typer.Option("127.0.0.1:0", "--listen", help="HOST:PORT."),
    origin: list[str] = typer.Option(help="A log's name, such as example.org/cloister-log."),
    service_key: list[str] = typer.Option(
        help="The log's key, `identity` in domain.json; one for each --origin, in order."
    ),
) -> None:
    """Run a witness in the foreground: it cosigns logs that only grow."""
    from cloister.crypto.signature import VerifyingKey  # noqa: PLC0415
    from cloister.keyservice.witness_server import WitnessSettings, main  # noqa: PLC0415

    if len(set(origin)) != len(origin) or len(origin) != len(service_key):
        raise ConfigError(
            f"{len(origin)} origins and {len(service_key)} keys do not make logs",
            code="config.value",
            hint="give one --service-key for each --origin, and no origin twice",
        )
    keys = [VerifyingKey.from_text(text) for text in service_key]
    logs = dict(zip(origin, keys, strict=True))
    raise typer.Exit(main(WitnessSettings(state, name, listen, logs)))


@app.command()
def status(
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """List policies and volumes, for the owner."""
    found = settings.owner(domain).client.status()
    if as_json:
        console.emit(
            {
                "policies": [dict(record) for record in found.policies],
                "volumes": [dict(record) for record in found.volumes],
                "log_size": found.checkpoint.size,
            }
        )
        return
    for title, records in (("Policies", found.policies), ("Volumes", found.volumes)):
        columns = sorted({key for record in records for key in record})
        rows = [[_text(record.get(column)) for column in columns] for record in records]
        console.table(title, columns, rows)
    console.lines(f"log: {found.checkpoint.size} entries")


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
