"""`cloister cleanroom`: two owners agree on terms, train under them, and end it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import (
    approving,
    cleanroom_draft,
    cleanroom_query,
    cluster_run,
    console,
    settings,
    vouching,
)
from cloister.cli.cleanroom_demo import command as demonstration
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloister.cleanroom.agreement import Offer, SignedTerms
    from cloister.cleanroom.room_folder import RoomFolder
    from cloister.cleanroom.terms import Terms
    from cloister.crypto.signature import SigningKey
    from cloister.launcher.owner import Owner

__all__ = ["app"]

app = typer.Typer(
    help="Two owners who distrust each other train and ask one model.", no_args_is_help=True
)
app.command("draft")(cleanroom_draft.draft)
app.command("digest")(cleanroom_draft.digest)
app.command("demo")(demonstration.command)
app.command("serve")(cleanroom_query.serve)
app.command("query")(cleanroom_query.query)
app.command("budget")(cleanroom_query.budget)

_GRACE_S: Final = 600
_JSON = typer.Option(False, "--json", help="One JSON object.")
_ROOM = typer.Option(Path("room"), "--room", help="The room's folder.")
_OWN_KEY = typer.Option(help="Your key's file.")


@app.command()
def offer(
    file: Path = typer.Argument(help="The terms, a YAML file. Read them first."),
    key: Path = _OWN_KEY,
    output: Path = typer.Option(Path("room.offer"), "--output", "-o", help="The new file."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Sign terms, offline, and write the offer that the other owner accepts."""
    from cloister.cleanroom.agreement import sign_terms
    from cloister.cleanroom.governing import require_service
    from cloister.cleanroom.terms_text import parse_terms

    terms = parse_terms(settings.read_policy_bytes(file), source=str(file))
    require_service(terms, settings.find_domain(domain).identity.raw)
    signed = sign_terms(terms, settings.read_key(key))
    if output.exists():
        raise ConfigError(f"{output} exists", code="config.exists", hint="name another file")
    output.write_bytes(signed.to_bytes())
    _tell(signed, as_json=as_json, file=str(output))


@app.command()
def show(
    file: Path = typer.Argument(help="An offer, or signed terms (code/terms.cbor of a room)."),
    as_json: bool = _JSON,
) -> None:
    """Say what terms say, who has signed them, and what they leave open."""
    from cloister.cleanroom.terms_text import terms_to_text

    found = _read_offer(file)
    if not as_json:
        console.lines(terms_to_text(found.terms).rstrip())
    _tell(found, as_json=as_json, file=str(file))


@app.command()
def accept(
    file: Path = typer.Argument(help="The offer, or the terms that both signed. Show it first."),
    key: Path = _OWN_KEY,
    room: Path = _ROOM,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Sign an offer, and approve the policy that follows; in force once both owners did this.

    The other owner runs the same with code/terms.cbor of the room's folder.
    """
    from cloister.cleanroom.agreement import sign_terms
    from cloister.cleanroom.governing import (
        party_of,
        require_charter,
        require_own_volumes,
        require_service,
    )
    from cloister.cleanroom.room_folder import RoomFolder
    from cloister.keyservice.policy import canonical_bytes, parse_policy

    found = _read_offer(file)
    owner = settings.owner(domain, key)
    signer = settings.read_key(key)
    require_service(found.terms, settings.find_domain(domain).identity.raw)
    agreement = sign_terms(found.terms, signer, before=found).agreed()
    facts = owner.client.read_namespace(found.terms.namespace)
    require_charter(facts, found.terms)
    require_own_volumes(found.terms, party_of(found.terms, signer.public), owner.client)
    folder = RoomFolder(room)
    folder.write(agreement)
    found_in = settings.find_domain(domain)
    folder.write_trust(found_in.name, found_in.identity.text, facts)
    closing = _approve_closing(folder, agreement, signer)
    policy = parse_policy(folder.policy.read_bytes(), source=str(folder.policy))
    done = owner.client.propose_policy(canonical_bytes(policy))
    if not as_json:
        for line in _remarks(found.terms):
            console.note(line)
        console.lines(f"the room is in {room}; give {folder.terms} to the other owner")
        if closing is not None:
            console.lines(f"and {closing}, with which the other may end the room alone")
    approving.tell(_name(found.terms), done, as_json=as_json, name="policy")


@app.command()
def train(  # noqa: PLR0917  # options: typer passes them by name
    room: Path = typer.Argument(help="The room's folder, with code/terms.cbor and policy.yaml."),
    volume: list[str] = typer.Option(
        [], help="NAME=STORE, for each: shard-0, …, recipe, model, report-model-owner, …"
    ),
    job: Path | None = typer.Option(None, help="The job's folder (default: jobs/NAME)."),
    fixed_ports: bool = typer.Option(
        False, "--fixed-ports", help="No nftables: only the port that the terms name is reached."
    ),
    root_of_trust: str = typer.Option("", help="What to attest by, where several would do."),
    endorsements: list[Path] = typer.Option(
        [], help="A file, folder or bundle that vouches for this machine's hardware; goes along."
    ),
    collector: list[str] = vouching.COLLECTOR,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object; logs go to stderr."),
) -> None:
    """Run the room's server and trainers on this machine, until their schedule has ended.

    Whoever has the machine may run this: it needs no owner's key.
    """
    from cloister.cleanroom.room_folder import RoomFolder
    from cloister.cleanroom.room_policy import SERVER, TRAINER

    folder = RoomFolder(room)
    terms = folder.read().terms
    cluster_run.command(
        folder.policy,
        code=folder.code,
        volume=volume,
        job=job,
        only=[SERVER, TRAINER],
        until=[],
        restarts=terms.training.restarts,
        deadline=float(terms.training.seconds + _GRACE_S),
        fixed_ports=fixed_ports,
        root_of_trust=root_of_trust,
        endorsements=endorsements,
        collector=collector,
        trust=folder.trust if folder.trust.exists() else None,
        domain=domain,
        as_json=as_json,
    )


@app.command()
def status(
    room: Path = typer.Argument(Path("room"), help="The room's folder."),
    report: Path | None = typer.Option(
        None, help="The store of your report's volume: what it says of each round, as well."
    ),
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Say how a room stands: who must still approve, whether it runs, what it reported."""
    from cloister.cleanroom.room_folder import RoomFolder
    from cloister.cleanroom.standing import standing_of

    agreement = RoomFolder(room).read().agreement
    owner = settings.owner(domain, key)
    found = standing_of(agreement, owner.client)
    training = agreement.terms.training
    record = {
        "room": _name(agreement.terms),
        "terms": _digest(agreement),
        **found.as_record(),
        "rounds": training.rounds,
        "exchange_s": training.ticks * training.tick_ms / 1000,
    }
    told = None if report is None else _read_report(owner, report, agreement)
    if as_json:
        console.emit(record if report is None else record | {"report": told})
        return
    console.lines(f"{record['room']}, terms {record['terms']}")
    console.lines(f"  {found.sentence}")
    for text in found.missing:
        console.lines(f"  missing   {text}")
    for role, (live, maximum) in found.roles.items():
        console.lines(f"  {role:<9} {live} of {maximum} at work")
    console.lines(f"  rounds    {training.rounds}, an exchange of {record['exchange_s']:g} s")
    if report is not None:
        _tell_report(told)


@app.command()
def close(
    room: Path = typer.Argument(Path("room"), help="The room's folder."),
    key: Path = _OWN_KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """End a room: its policy is replaced by one that grants nothing, and who is in it lapses.

    Alone where the terms say so, with the other's approval in the folder; else once both did this.
    """
    from cloister.cleanroom.governing import closing_approvals, closing_bytes
    from cloister.cleanroom.room_folder import RoomFolder
    from cloister.keyservice.clock import read_clock

    folder = RoomFolder(room)
    agreement = folder.read().agreement
    owner = settings.owner(domain, key)
    approvals = closing_approvals(
        agreement, settings.read_key(key), tuple(folder.closing_approvals()), at=read_clock().at
    )
    done = owner.client.propose_policy(closing_bytes(agreement), approvals)
    approving.tell(_name(agreement.terms), done, as_json=as_json, name="policy")


def _read_report(owner: Owner, store: Path, agreement: SignedTerms) -> dict[str, object] | None:
    """Return what the volume says of this room; None where nothing is there yet."""
    from cloister.cleanroom.report import FILE, read_report, report_bytes
    from cloister.volume.reader import read_file

    release = agreement.terms.release
    most = report_bytes(agreement.terms.training.rounds, release.every_rounds)
    with owner.reading(store) as filesystem:
        data = read_file(filesystem, FILE, most=most)
    if data is None:
        return None
    return read_report(data, room=agreement.digest, metrics=release.metrics)


def _tell_report(told: Mapping[str, object] | None) -> None:
    if told is None:
        console.lines("  report    nothing yet")
        return
    entries = told["entries"]
    for entry in entries if isinstance(entries, list) else []:
        numbers = ", ".join(
            f"{name} {value or 'not in time'}" for name, value in entry["metrics"].items()
        )
        console.lines(f"  round {entry['round']:<3} {numbers}")


def _read_offer(file: Path) -> Offer:
    from cloister.cleanroom.agreement import MAX_SIGNED_BYTES, Offer, read_bounded

    return Offer.from_bytes(read_bounded(file, MAX_SIGNED_BYTES))


def _approve_closing(folder: RoomFolder, agreement: SignedTerms, key: SigningKey) -> Path | None:
    from cloister.cleanroom.governing import approve_closing, party_of
    from cloister.keyservice.clock import read_clock

    approval = approve_closing(agreement, key, at=read_clock().at)
    if approval is None:
        return None
    file = folder.closing_file(party_of(agreement.terms, key.public))
    file.write_text(approval.to_text(), encoding="ascii")
    return file


def _tell(found: Offer, *, as_json: bool, file: str) -> None:
    from cloister.cleanroom.terms_text import terms_digest, terms_tree
    from cloister.crypto.digest import digest_to_text

    digest = digest_to_text(terms_digest(found.terms))
    notes = list(_remarks(found.terms))
    if as_json:
        console.emit(
            {
                "file": file,
                "digest": digest,
                "signed": sorted(found.signatures),
                "missing": list(found.missing),
                "remarks": notes,
                "terms": terms_tree(found.terms),
            }
        )
        return
    console.lines(f"{file}: terms {digest}")
    for party in sorted(found.signatures):
        console.lines(f"  signed by the {party.replace('_', ' ')}")
    for line in notes:
        console.lines(f"  note: {line}")


def _remarks(terms: Terms) -> list[str]:
    from cloister.cleanroom.remarks import remarks

    return list(remarks(terms))


def _name(terms: Terms) -> str:
    return f"{terms.namespace}/{terms.name}"


def _digest(agreement: SignedTerms) -> str:
    from cloister.crypto.digest import digest_to_text

    return digest_to_text(agreement.digest)
