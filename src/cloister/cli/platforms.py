"""`cloister keyservice platform`: let another platform open the state that replicas share."""

from __future__ import annotations

from pathlib import Path

import typer

from cloister.cli import recovery, settings
from cloister.cli.approving import read_approvals
from cloister.cli.restoring import APPROVAL, place_of, read_file

__all__ = ["app"]

app = typer.Typer(help="Run replicas on several platforms.", no_args_is_help=True)
app.command()(recovery.prepare)
app.command()(recovery.request)

_JSON = typer.Option(False, "--json", help="One JSON object.")
_REQUEST = typer.Argument(metavar="REQUEST", help="Of the new platform.")


@app.command()
def propose(  # noqa: PLR0917  # options: typer passes them by name
    request_file: Path = _REQUEST,
    out: Path = typer.Option(help="The new file, for approvers to read and sign."),
    witness: list[str] = typer.Option([], "--witness", help="A witness's key; once for each."),
    quorum: int = typer.Option(help="How many of them see each change first; more than half."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Write down which platform would be admitted, with the images that domain.json pins."""
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.cosigning import Quorum, WitnessKey
    from cloister.keyservice.new_file import write_new_file
    from cloister.keyservice.platforms import Admission

    found = settings.find_domain(domain)
    asked = recovery.read_request(request_file)
    admission = Admission(
        service=found.identity,
        platform=asked.platform,
        root_of_trust=found.service.root_of_trust,
        measurements=found.service.measurements,
        minimum_svn=found.service.minimum_svn,
        quorum=Quorum(tuple(WitnessKey.from_text(text) for text in witness), quorum),
        at=read_clock().at,
    )
    write_new_file(out, admission.to_text())
    facts = {"file": str(out), "platform": asked.platform.text}
    recovery.tell(as_json, facts, f"{out} admits {asked.platform.text}")


@app.command()
def admit(  # noqa: PLR0917  # likewise
    request_file: Path = _REQUEST,
    statement: Path = typer.Argument(help="What was proposed and approved."),
    out: Path = typer.Option(help="The new file, for the new platform alone."),
    approval: list[Path] = APPROVAL,
    domain: Path | None = settings.DOMAIN,
    database: str = settings.DATABASE,
    as_json: bool = _JSON,
) -> None:
    """On a platform of the service: check what the new one proves, and seal the state key to it."""
    from cloister.keyservice import admitting
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.new_file import write_new_file
    from cloister.keyservice.platforms import Admission

    found = settings.find_domain(domain)
    settings.hide_memory()
    asked = recovery.read_request(request_file)
    grant = admitting.admit(
        place_of(found, database),
        asked,
        Admission.from_text(read_file(statement)),
        read_approvals(approval) or (),
        at=read_clock().at,
    )
    write_new_file(out, grant.to_bytes())
    facts = {"file": str(out), "platform": asked.platform.text}
    recovery.tell(as_json, facts, f"{out} is for {asked.platform.text} alone")


@app.command()
def join(
    request_file: Path = _REQUEST,
    grant: Path = typer.Argument(help="What admit wrote."),
    domain: Path | None = settings.DOMAIN,
    database: str = settings.DATABASE,
    as_json: bool = _JSON,
) -> None:
    """On the new platform: keep the state key, sealed for it, beside the others' in the state."""
    from cloister.keyservice import admitting

    found = settings.find_domain(domain)
    settings.hide_memory()
    place = place_of(found, database)
    data = recovery.read_bytes(grant, admitting.MAX_GRANT_BYTES)
    asked = recovery.read_request(request_file)
    admitting.join(place, asked, admitting.StateKeyGrant.from_bytes(data))
    facts = {"platform": place.platform.anchor.text}
    recovery.tell(as_json, facts, f"{place.platform.anchor.text} opens the state now")
