"""Commands of `cloister keyservice` that keep its state elsewhere and bring it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import console, settings
from cloister.cli.approving import read_approvals

if TYPE_CHECKING:
    from cloister.keyservice.domain import TrustDomain
    from cloister.keyservice.restoring import Place
    from cloister.keyservice.state.record import Head

__all__ = ["backup", "place_of", "read_file", "reset_app", "restore", "tell_head"]

_JSON = typer.Option(False, "--json", help="One JSON object.")
APPROVAL = typer.Option([], "--approval", help="An approver's file; once for each.")

reset_app = typer.Typer(
    help="Go back to an older state of the key service, as its approvers decide.",
    no_args_is_help=True,
)


def backup(
    file: Path = typer.Argument(help="The new file."),
    domain: Path | None = settings.DOMAIN,
    database: str = settings.DATABASE,
    as_json: bool = _JSON,
) -> None:
    """Write the key service's state to a file, also while it runs: ciphertext, checked."""
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.restoring import back_up

    found = settings.find_domain(domain)
    settings.hide_memory()
    with console.SlowProgress(
        "backing up",
        clock=lambda: read_clock().uptime,
        size=lambda total: f"{total} entries of the log",
        quiet=as_json,
    ) as progress:
        head = back_up(place_of(found, database), file, progress=progress)
    tell_head(as_json, head, f"{file} holds the state up to record {head.sequence}", file=file)


def restore(
    file: Path = typer.Argument(help="The backup."),
    domain: Path | None = settings.DOMAIN,
    database: str = settings.DATABASE,
    as_json: bool = _JSON,
) -> None:
    """Bring a backup back where there is no state, if nothing newer was ever seen here."""
    from cloister.keyservice.restoring import restore as bring_back

    found = settings.find_domain(domain)
    settings.hide_memory()
    head = bring_back(file, place_of(found, database))
    tell_head(as_json, head, f"the state is back, up to record {head.sequence}")


@reset_app.command()
def propose(  # noqa: PLR0917  # options: typer passes them by name
    file: Path = typer.Argument(help="The backup to go back to."),
    out: Path = typer.Option(help="The new file, for approvers to read and sign."),
    given_up: int | None = typer.Option(
        None,
        min=0,
        help="The newest record that may be lost; default: what this platform has seen.",
    ),
    platform: str = typer.Option("", help="Key of the platform that goes back; default: this one."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Write down what a reset would be, exactly; needs no key, and changes nothing."""
    from cloister.crypto.signature import VerifyingKey
    from cloister.errors import ConfigError
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.new_file import write_new_file
    from cloister.keyservice.restoring import newest_number, propose_reset

    found = settings.find_domain(domain)
    if platform and given_up is None:
        raise ConfigError(
            "what another platform has seen is not known here",
            code="config.value",
            hint="--given-up NUMBER: the newest record that may be lost",
        )
    statement = propose_reset(
        file,
        service=found.identity,
        platform=VerifyingKey.from_text(platform) if platform else found.platform().anchor,
        given_up=newest_number(found.platform()) if given_up is None else given_up,
        at=read_clock().at,
    )
    write_new_file(out, statement.to_text())
    lost = statement.given_up - statement.head.sequence
    sentence = f"{out} goes back to record {statement.head.sequence}: up to {lost} are lost"
    tell_head(as_json, statement.head, sentence, file=out, given_up=statement.given_up)


@reset_app.command(name="apply")
def apply_reset(  # noqa: PLR0917  # likewise
    file: Path = typer.Argument(help="The backup to go back to."),
    statement: Path = typer.Argument(help="What was proposed and approved."),
    approval: list[Path] = APPROVAL,
    domain: Path | None = settings.DOMAIN,
    database: str = settings.DATABASE,
    as_json: bool = _JSON,
) -> None:
    """Go back, where there is no state now; whoever ran on what is given up stops."""
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.reset import Reset
    from cloister.keyservice.restoring import reset

    found = settings.find_domain(domain)
    settings.hide_memory()
    place = place_of(found, database)
    head = reset(
        file,
        place,
        Reset.from_text(read_file(statement)),
        read_approvals(approval) or (),
        unlock=place.unlock_older,
        at=read_clock().at,
    )
    tell_head(as_json, head, f"the state is back, and goes on after record {head.sequence}")


def place_of(found: TrustDomain, database: str) -> Place:
    """Return where a domain's service has its state."""
    from cloister.keyservice.restoring import Place

    return Place(found.keyservice_directory, database, found.platform())


def read_file(file: Path) -> bytes:
    """Read a small file that somebody named."""
    from cloister.errors import ConfigError
    from cloister.keyservice.statements import MAX_STATEMENT_BYTES

    try:
        with file.open("rb") as opened:
            return opened.read(MAX_STATEMENT_BYTES + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {file}: {e.strerror}", code="config.file") from e


def tell_head(as_json: bool, head: Head, sentence: str, **more: object) -> None:
    """Say up to which record something goes."""
    if as_json:
        facts = {"record": head.sequence, "digest": head.digest.hex()}
        console.emit({**more, **facts})
        return
    console.lines(sentence)
