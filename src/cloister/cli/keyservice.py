"""`cloister keyservice`: run the key service, and see what it holds."""

from __future__ import annotations

from pathlib import Path

import typer

from cloister.cli import console, settings

__all__ = ["app"]

app = typer.Typer(help="Run the key service and see what it holds.", no_args_is_help=True)


@app.command()
def serve(
    domain: Path | None = settings.DOMAIN,
    listen: str = typer.Option("", "--listen", help="HOST:PORT; empty for a unix socket."),
    database: str = settings.DATABASE,
) -> None:
    """Run the trust domain's key service in the foreground until interrupted."""
    from cloister.keyservice.server import main  # noqa: PLC0415

    found = settings.find_domain(domain)
    arguments = ["--domain", str(found.directory)]
    arguments += ["--listen", listen] if listen else []
    arguments += ["--database", database] if database else []
    raise typer.Exit(main(arguments))


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
