"""`cloister audit`: keep a copy of the key service's log, and check it without asking anybody."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import console, job_receipts, settings
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cloister.keyservice.auditing import Audit, Evidence
    from cloister.keyservice.cosigning import Quorum
    from cloister.keyservice.domain import TrustDomain
    from cloister.keyservice.log import LogEntry, Receipt, StateCommitment
    from cloister.keyservice.owner import OwnerClient
    from cloister.keyservice.pinned import PinnedService

__all__ = ["app"]

app = typer.Typer(help="Check the key service's log of decisions, offline.", no_args_is_help=True)

_JSON = typer.Option(False, "--json", help="One JSON object.")
_MIRROR = typer.Argument(help="The folder that holds the copy of the log.")
_SHORT = 8
_WITNESS_DEADLINE_S = 10.0
_COLUMNS = ("number", "time", "operation", "decision", "subject", "instance", "policy")


@app.command()
def fetch(
    mirror: Path = _MIRROR, domain: Path | None = settings.DOMAIN, as_json: bool = _JSON
) -> None:
    """Bring the copy up to date, if the log only grew; makes it where there is none."""
    from cloister.keyservice.auditing import fetch as fetch_into
    from cloister.keyservice.mirror import MirrorWriter

    client = settings.owner(domain).client
    service = _pinned(settings.find_domain(domain))
    with MirrorWriter(mirror) as writer, _progress("fetching the log", quiet=as_json) as step:
        fetched = fetch_into(writer, client, service=service, progress=step)
    if as_json:
        console.emit({"mirror": str(mirror), "before": fetched.before, "after": fetched.after})
    else:
        new = fetched.after - fetched.before
        console.lines(f"{mirror}: {new} new entries, {fetched.after} in all")


@app.command()
def verify(  # noqa: PLR0917  # options: typer passes them by name
    mirror: Path = _MIRROR,
    checkpoint: list[Path] = typer.Option([], help="A checkpoint that was kept earlier."),
    receipt: list[Path] = typer.Option([], help="A receipt of a run or of a release."),
    witness: list[str] = typer.Option([], help="A witness's key, as the witness prints it."),
    quorum: int | None = typer.Option(
        None, help="How many of the witnesses are required (default: all)."
    ),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Check the whole copy offline: every entry, the signature, and what was kept earlier.

    The exit status says what is wrong: 76 changed, 77 another service, 79 truncated, 80 forked,
    81 rolled back, 82 too few witnesses.
    """
    from cloister.keyservice.auditing import Evidence
    from cloister.keyservice.mirror import read_note_file

    found = settings.find_domain(domain)
    evidence = Evidence(
        notes=[read_note_file(path) for path in checkpoint],
        receipts=[_read_receipt(path, found) for path in receipt],
        quorum=_quorum(witness, quorum),
    )
    audit = _audited(mirror, found, evidence, quiet=as_json)
    record = {
        "mirror": str(mirror),
        "size": audit.checkpoint.size,
        "root": "sha256:" + audit.checkpoint.root.hex(),
        "granted": audit.granted,
        "refused": audit.refused,
        "states": audit.states,
        "checkpoints": len(checkpoint),
        "receipts": len(receipt),
        "cosignatures": [{"witness": c.witness, "at": c.at} for c in audit.cosignatures],
    }
    if as_json:
        console.emit(record)
        return
    console.lines(
        f"{mirror} holds: {audit.checkpoint.size} entries, {audit.granted} granted, "
        f"{audit.refused} refused"
    )
    if checkpoint or receipt:
        console.lines(f"{len(checkpoint)} checkpoints and {len(receipt)} receipts are of this log")
    for each in audit.cosignatures:
        console.lines(f"cosigned by {each.witness} at {_time(each.at)}")


@app.command()
def cosign(
    mirror: Path = _MIRROR,
    witness: list[str] = typer.Option(help="A witness, as http://HOST:PORT=KEY."),
    quorum: int | None = typer.Option(None, help="How many are required (default: all)."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Have the copy's newest checkpoint cosigned, and keep the witnesses' lines with it."""
    from cloister.keyservice.auditing import cosign as cosign_mirror
    from cloister.keyservice.mirror import Mirror, MirrorWriter
    from cloister.keyservice.witnessing import WitnessCircle, WitnessEndpoint

    service = _pinned(settings.find_domain(domain))
    endpoints = [WitnessEndpoint.from_text(text) for text in witness]
    required = len(endpoints) if quorum is None else quorum
    circle = WitnessCircle(endpoints, required=required, deadline_s=_WITNESS_DEADLINE_S)
    Mirror(mirror).note()
    with MirrorWriter(mirror) as writer:
        checkpoint = cosign_mirror(writer, circle, service=service)
    if as_json:
        console.emit({"mirror": str(mirror), "size": checkpoint.size, "required": required})
    else:
        console.lines(f"{mirror}: {checkpoint.size} entries, cosigned by {required} or more")


@app.command()
def show(  # noqa: PLR0917  # options: typer passes them by name
    mirror: Path | None = typer.Argument(None, help="The folder that holds the copy of the log."),
    namespace: str = typer.Option(
        "", help="Ask the key service for what concerns this namespace, instead of a copy."
    ),
    policy: str = typer.Option("", help="Only decisions under the policy of this hash."),
    operation: str = typer.Option("", help="Only this operation, such as release or state."),
    refused: bool = typer.Option(False, "--refused", help="Only refusals."),
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """List decisions: those of a copy, after checking all of it, or those of one namespace.

    For a namespace each decision is proved to be in the log that the key service signed; that none
    is missing shows a copy of the whole log only.
    """
    from cloister.crypto.digest import digest_from_text

    wanted = digest_from_text(policy) if policy else b""
    if (mirror is None) == (not namespace):
        raise ConfigError("name a copy of the log, or a --namespace", code="config.value")
    if mirror is not None:
        numbered, size = _of_copy(mirror, settings.find_domain(domain), quiet=as_json)
    else:
        numbered, size = _of_namespace(namespace, domain, key)
    records = [
        {"number": number, **_record(leaf)}
        for number, leaf in numbered
        if _matches(leaf, policy=wanted, operation=operation, refused=refused)
    ]
    if as_json:
        place = {"namespace": namespace} if mirror is None else {"mirror": str(mirror)}
        console.emit({**place, "size": size, "entries": records})
    else:
        rows = [[_cell(record, column) for column in _COLUMNS] for record in records]
        console.table(f"{len(rows)} of {size} entries", _COLUMNS, rows)


@app.command("receipt")
def receipt_(  # noqa: PLR0917  # options: typer passes them by name
    file: Path = typer.Argument(help="The receipt of a run, of a job, or of a release."),
    namespace: str = typer.Option(
        "", help="First have the receipt of an entry of this namespace, as a new file."
    ),
    number: int | None = typer.Option(None, help="The entry's number; with --namespace."),
    trust: Path | None = settings.TRUST,
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Check one receipt offline and say what it proves; that of a job with all that it names."""
    from cloister.keyservice.log import Checkpoint, verify_receipt

    found = settings.trusting(settings.find_domain(domain), trust)
    if bool(namespace) != (number is not None):
        raise ConfigError("--namespace and --number belong together", code="config.value")
    if number is not None:
        _fetch_receipt(file, namespace, number, settings.client(domain, key))
    if job_receipts.is_one(file):
        job_receipts.check(file, found, as_json=as_json)
        return
    receipt, spent = _read_spending_receipt(file, found)
    entry = verify_receipt(receipt, service=found.identity, origin=found.origin)
    checkpoint = Checkpoint.from_note(
        receipt.checkpoint, service=found.identity, origin=found.origin
    )
    record = {"number": receipt.index, "size": checkpoint.size, **_record(entry)}
    if as_json:
        console.emit({"file": str(file), **record, "spent": dict(spent)})
        return
    console.lines(
        f"entry {receipt.index} of {checkpoint.size} in the log {found.origin}, signed by the "
        f"key service:"
    )
    for name, value in record.items():
        if name not in {"number", "size"} and value != "":
            console.lines(f"  {name:<10} {console.printable(value)}")
    for name, amount in spent.items():
        console.lines(f"  spent      {console.printable(name)}: {amount}")


def _of_copy(
    mirror: Path, domain: TrustDomain, *, quiet: bool
) -> tuple[Iterable[tuple[int, LogEntry | StateCommitment]], int]:
    from cloister.keyservice.auditing import Evidence, read_leaves
    from cloister.keyservice.mirror import Mirror

    size = _audited(mirror, domain, Evidence(), quiet=quiet).checkpoint.size
    return enumerate(read_leaves(Mirror(mirror), size)), size


def _of_namespace(
    namespace: str, domain: Path | None, key: Path | None
) -> tuple[Iterable[tuple[int, LogEntry | StateCommitment]], int]:
    from cloister.keyservice.log import read_leaf
    from cloister.keyservice.namespace_log import read_own_log

    client = settings.client(domain, key)
    pinned = _pinned(settings.find_domain(domain))
    found = list(read_own_log(client, namespace, service=pinned))
    size = max((checkpoint.size for _, checkpoint in found), default=0)
    return [(receipt.index, read_leaf(receipt.entry)) for receipt, _ in found], size


def _fetch_receipt(file: Path, namespace: str, number: int, client: OwnerClient) -> None:
    """Write the receipt of an entry of one's own into a new file; it is not checked yet."""
    page = client.read_own_log_page(namespace, first=number, count=1, old_size=0)
    if not page.receipts:
        raise ConfigError(
            f"entry {number} does not concern namespace {namespace}", code="config.missing"
        )
    try:
        with file.open("xb") as opened:
            opened.write(page.receipts[0].to_bytes())
    except FileExistsError as e:
        raise ConfigError(f"{file} is there already", code="config.exists") from e
    except OSError as e:
        raise ConfigError(f"cannot write {file}: {e.strerror}", code="config.file") from e


def _audited(mirror: Path, domain: TrustDomain, evidence: Evidence, *, quiet: bool) -> Audit:
    from cloister.keyservice.auditing import verify as verify_mirror
    from cloister.keyservice.mirror import Mirror

    with _progress("checking the log", quiet=quiet) as step:
        return verify_mirror(
            Mirror(mirror), service=_pinned(domain), evidence=evidence, progress=step
        )


def _progress(description: str, *, quiet: bool) -> console.SlowProgress:
    return console.SlowProgress(
        description, clock=time.monotonic, size=lambda total: f"{total} entries", quiet=quiet
    )


def _pinned(domain: TrustDomain) -> PinnedService:
    from cloister.keyservice.pinned import PinnedService

    return PinnedService(domain.identity, domain.origin)


def _quorum(witnesses: Sequence[str], required: int | None) -> Quorum:
    from cloister.keyservice.cosigning import Quorum, WitnessKey

    keys = tuple(WitnessKey.from_text(text) for text in witnesses)
    return Quorum(keys, len(keys) if required is None else required)


def _read_receipt(path: Path, domain: TrustDomain) -> Receipt:
    """Read a release's receipt, or take it out of a run's receipt after checking that."""
    return _read_spending_receipt(path, domain)[0]


def _read_spending_receipt(path: Path, domain: TrustDomain) -> tuple[Receipt, Mapping[str, int]]:
    """Read as `_read_receipt`, and return as well what the run spent of which budget."""
    from cloister.keyservice.log import MAX_RECEIPT_BYTES, Receipt
    from cloister.launcher.receipt import (
        MAX_RECEIPT_BYTES as MAX_RUN_RECEIPT_BYTES,
    )
    from cloister.launcher.receipt import log_receipt, verify_run_receipt

    try:
        with path.open("rb") as file:
            data = file.read(max(MAX_RECEIPT_BYTES, MAX_RUN_RECEIPT_BYTES) + 1)
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
    if data.lstrip()[:1] != b"{":
        return Receipt.from_bytes(data), {}
    run = verify_run_receipt(data, ca=domain.ca, service=domain.identity, origin=domain.origin)
    return log_receipt(run.body), run.spent


def _matches(
    leaf: LogEntry | StateCommitment, *, policy: bytes, operation: str, refused: bool
) -> bool:
    from cloister.keyservice.log import LogEntry

    if not isinstance(leaf, LogEntry):
        return operation == "state" or not (policy or operation or refused)
    return (
        (not policy or leaf.policy == policy)
        and (not operation or leaf.operation == operation)
        and not (refused and leaf.granted)
    )


def _record(leaf: LogEntry | StateCommitment) -> dict[str, object]:
    from cloister.keyservice.log import LogEntry

    if not isinstance(leaf, LogEntry):
        return {"operation": "state", "sequence": leaf.sequence, "digest": _digest(leaf.digest)}
    return {
        "at": leaf.at,
        "time": _time(leaf.at),
        "operation": leaf.operation,
        "decision": leaf.code or "granted",
        "subject": leaf.subject,
        "instance": leaf.instance,
        "policy": _digest(leaf.policy),
        "evidence": _digest(leaf.evidence),
        "requester": _digest(leaf.requester),
    }


def _digest(digest: bytes) -> str:
    """Zeros stand for none."""
    return "sha256:" + digest.hex() if any(digest) else ""


def _cell(record: dict[str, object], column: str) -> str:
    """A hash is told from others by its beginning; `--json` has all of it."""
    text = console.printable(record.get(column, ""))
    return text.removeprefix("sha256:")[:_SHORT] if column == "policy" else text


def _time(at: int) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(at, tz=dt.UTC):%F %T}Z"
    except (ValueError, OverflowError, OSError):
        return f"{at} s after 1970"
