"""`cloister keyservice rekey`: change the key of the state, which ends what older shares do."""

from __future__ import annotations

from pathlib import Path

import typer

from cloister.cli import recovery, settings
from cloister.cli.approving import read_approvals
from cloister.cli.restoring import APPROVAL, place_of, read_file

__all__ = ["app"]

app = typer.Typer(
    help="Change the key of the key service's state, as its approvers decide.",
    no_args_is_help=True,
)

_JSON = typer.Option(False, "--json", help="One JSON object.")


@app.command()
def propose(
    out: Path = typer.Option(help="The new file, for approvers to read and sign."),
    platform: str = typer.Option("", help="Key of the platform that has it then; default: here."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Write down that the state key is to be changed; changes nothing."""
    from cloister.crypto.signature import VerifyingKey
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.new_file import write_new_file
    from cloister.keyservice.rekey import Rekey

    found = settings.find_domain(domain)
    anchor = VerifyingKey.from_text(platform) if platform else found.platform().anchor
    statement = Rekey(found.identity, anchor, read_clock().at)
    write_new_file(out, statement.to_text())
    facts = {"file": str(out), "platform": anchor.text}
    recovery.tell(as_json, facts, f"{out} leaves the state key with {anchor.text} alone")


@app.command(name="apply")
def apply_rekey(
    statement: Path = typer.Argument(help="What was proposed and approved."),
    approval: list[Path] = APPROVAL,
    domain: Path | None = settings.DOMAIN,
    database: str = settings.DATABASE,
    as_json: bool = _JSON,
) -> None:
    """Change the state key as approved; an embedded service is stopped first."""
    from cloister.crypto.signature import VerifyingKey
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.rekey import Rekey
    from cloister.keyservice.rekeying import change_state_key

    found = settings.find_domain(domain)
    settings.hide_memory()
    done = change_state_key(
        place_of(found, database),
        Rekey.from_text(read_file(statement)),
        read_approvals(approval) or (),
        at=read_clock().at,
    )
    left_out = [VerifyingKey(raw).text for raw in done.left_out]
    facts = {
        "record": done.head.sequence,
        "key": done.name.hex(),
        "changed": done.changed,
        "left_out": left_out,
    }
    said = [f"the state is under a new key since record {done.head.sequence}"]
    if not done.changed:
        said = ["this change was made before; nothing was changed now"]
    said += [f"{text} has not got it: have it admitted again" for text in left_out]
    said += ["split it among holders: cloister keyservice recovery propose"]
    recovery.tell(as_json, facts, "\n".join(said))
