"""`cloister keyservice`: run the key service, and see what it holds."""

from __future__ import annotations

import resource
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
    log_format: str = typer.Option("", "--log-format", help="text (the default) or json."),
) -> None:
    """Run the trust domain's key service in the foreground until interrupted."""
    from cloister.keyservice.server import main  # noqa: PLC0415

    found = settings.find_domain(domain)
    arguments = ["--domain", str(found.directory)]
    if listen:
        arguments += ["--listen", listen]
    if log_format not in {"", "text", "json"}:
        raise ConfigError("a log's format is text or json", code="config.value")
    if log_format:
        arguments += ["--log-format", log_format]
    raise typer.Exit(main(arguments))


@app.command(name="view-token")
def view_token(
    domain: Path | None = settings.DOMAIN,
    hours: int = typer.Option(8, "--hours", help="For how long."),
    scope: str = typer.Option("view", "--scope", help="view, or metrics for the metrics alone."),
) -> None:
    """Print a token with which somebody may look at the key service; made offline by the owner."""
    from cloister.keyservice.clock import read_clock  # noqa: PLC0415
    from cloister.keyservice.view.token import ViewToken  # noqa: PLC0415

    found = settings.find_domain(domain)
    settings.hide_memory()
    token = ViewToken.make(found.identity, scope=scope, hours=hours, at=read_clock().at)
    console.lines(token.signed(found.owner_key()))


@app.command()
def doctor(
    domain: Path | None = settings.DOMAIN,
    listen: str = typer.Option("", "--listen", help="HOST:PORT that it listens on, if any."),
    peer: str = typer.Option("", "--peer", help="URL of a replica whose clock is compared."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Say what is wrong or risky in how the key service is run here; changes nothing."""
    from cloister.keyservice.checkup import judge  # noqa: PLC0415
    from cloister.keyservice.clock import read_clock  # noqa: PLC0415
    from cloister.keyservice.examination import examine  # noqa: PLC0415

    found = settings.find_domain(domain)
    core_limit = resource.getrlimit(resource.RLIMIT_CORE)[0]
    settings.hide_memory()
    findings = judge(
        examine(found, listen=listen, peer=peer, clock=read_clock, core_limit=core_limit)
    )
    if as_json:
        console.emit({"findings": [finding.as_record() for finding in findings]})
    else:
        rows = [(finding.name, finding.state, finding.detail) for finding in findings]
        console.table("This key service", ("what", "state", "found"), rows)
        for finding in findings:
            if finding.remedy:
                console.lines(f"{finding.name}: {finding.remedy}")
    if any(finding.state == "problem" for finding in findings):
        raise typer.Exit(ConfigError.exit_status)


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
