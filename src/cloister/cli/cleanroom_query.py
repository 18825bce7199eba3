"""`cloister cleanroom serve`, `query` and `budget`: a room's model, asked and counted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import console, run, settings, vouching
from cloister.cli.query import read_array
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cloister.cleanroom.client import Labels, Tally

__all__ = ["budget", "query", "serve"]

_JSON = typer.Option(False, "--json", help="One JSON object.")
_ROOM = typer.Option(Path("room"), "--room", help="The room's folder, from an owner.")
_MILLION: Final = 1_000_000


def serve(  # noqa: PLR0917  # options: typer passes them by name
    room: Path = typer.Argument(help="The room's folder, with code/terms.cbor and policy.yaml."),
    volume: list[str] = typer.Option([], help="NAME=STORE, for each: model, recipe."),
    host: str = typer.Option("127.0.0.1", help="Address that principals reach."),
    receipt: Path | None = typer.Option(
        None, help="Where the receipt goes (default: a new file in receipts/)."
    ),
    root_of_trust: str = typer.Option("", help="What to attest by, where several would do."),
    endorsements: list[Path] = typer.Option(
        [], help="A file, folder or bundle that vouches for this machine's hardware; goes along."
    ),
    collector: list[str] = vouching.COLLECTOR,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object; logs go to stderr."),
) -> None:
    """Run the room's query enclave on this machine, until it is told to stop.

    Whoever has the machine may run this: it needs no owner's key.
    """
    from cloister.cleanroom.room_folder import RoomFolder
    from cloister.cleanroom.room_policy import QUERY

    folder = RoomFolder(room)
    folder.read()
    run.command(
        folder.policy,
        arguments=None,
        workload=QUERY,
        index=None,
        peers=None,
        relay="127.0.0.1:0",
        fixed_ports=False,
        volume=volume,
        code=folder.code,
        host=host,
        receipt=receipt,
        root_of_trust=root_of_trust,
        endorsements=endorsements,
        collector=collector,
        tsm=None,
        gramine=None,
        tpm=None,
        metadata=None,
        nvml=None,
        domain=domain,
        as_json=as_json,
    )


def query(  # noqa: PLR0917  # options: typer passes them by name
    url: str = typer.Argument(help="https://HOST:PORT."),
    file: Path = typer.Argument(help="One record: .npy, or .json with nested lists."),
    principal: str = typer.Option(help="The name that the terms give to your key."),
    key: Path = typer.Option(help="Your key's file."),
    room: Path = _ROOM,
    as_json: bool = _JSON,
) -> None:
    """Ask a room's model about one record, after it has proved that it keeps the terms."""
    from cloister.cleanroom import client
    from cloister.cleanroom.room_folder import RoomFolder

    folder = RoomFolder(room)
    record = read_array(file)
    signer = settings.read_key(key)
    with client.connect(
        url, terms=folder.read(), trust=folder.trust, principal=principal, key=signer
    ) as asking:
        found = asking.ask(record)
        peer = asking.peer
    if as_json:
        console.emit(
            {
                "labels": list(found.labels),
                "scores": None if found.scores is None else list(found.scores),
                "left": found.left,
                "peer": peer.identity.uri,
                "policy": "sha256:" + peer.policy_hash.hex(),
                "hardware_rooted": peer.hardware_rooted,
            }
        )
        return
    for line in _labels(found):
        console.lines(line)
    rooted = "rooted in hardware" if peer.hardware_rooted else "SIMULATED: no hardware"
    console.note(f"answered by {peer.identity.uri} ({rooted}); {found.left} queries are left")


def budget(  # noqa: PLR0917  # options: typer passes them by name
    room: Path = typer.Argument(Path("room"), help="The room's folder."),
    key: Path = typer.Option(help="Your key's file: an owner's, or with --principal yours."),
    principal: str = typer.Option("", help="Your own name in the terms, where you own nothing."),
    url: str = typer.Option("", help="https://HOST:PORT of the query enclave, to ask it as well."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Say what principals have spent; from the enclave, how their queries look too."""
    from cloister.cleanroom import client
    from cloister.cleanroom.room_folder import RoomFolder
    from cloister.cleanroom.room_policy import BUDGET

    if principal and not url:
        raise ConfigError(
            "the key service tells counters to owners only",
            code="config.missing",
            hint="--url https://HOST:PORT of the query enclave, which tells you yours",
        )
    folder = RoomFolder(room)
    agreed = folder.read()
    terms = agreed.terms
    names = [principal] if principal else sorted(terms.queries.principals)
    spent: dict[str, int] = {}
    if not principal:
        owner = settings.client(domain, key)
        for found in owner.budgets(terms.namespace, terms.name, of=BUDGET):
            spent |= {one.principal: one.amount for one in found.spent}
    tallies: dict[str, Tally] = {}
    if url:
        signer = settings.read_key(key)
        with client.connect(
            url, terms=agreed, trust=folder.trust, principal=names[0], key=signer
        ) as asking:
            tallies = {name: asking.standing(name) for name in names}
    rows = [_row(name, terms.queries.limit, spent, tallies) for name in names]
    if as_json:
        console.emit({"limit": terms.queries.limit, "principals": dict(rows)})
        return
    heads = ["principal", "spent", "left", "answered", "noticed", "signal"]
    cells = [[name, *(str(row.get(head, "-")) for head in heads[1:])] for name, row in rows]
    console.table(f"Queries, {terms.queries.limit} for each", heads, cells)


def _row(
    name: str, limit: int, spent: Mapping[str, int], tallies: Mapping[str, Tally]
) -> tuple[str, dict[str, float]]:
    """Return what is known of a principal: from the key service, and from the enclave."""
    tally = tallies.get(name)
    if tally is None:
        used = spent.get(name, 0)
        return name, {"spent": used, "left": max(0, limit - used)}
    standing = tally.standing
    seen: dict[str, float] = {"spent": limit - tally.left, "left": tally.left}
    if standing.signal or standing.answered:
        seen |= {
            "answered": standing.answered,
            "noticed": standing.noticed,
            "signal": standing.signal / _MILLION,
        }
    return name, seen


def _labels(found: Labels) -> list[str]:
    if found.scores is None:
        return [str(label) for label in found.labels]
    pairs = zip(found.labels, found.scores, strict=True)
    return [f"{label:>6}  {score:g}" for label, score in pairs]
