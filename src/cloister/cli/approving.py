"""Commands for those who approve: approve, pending, diff, history."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import console, settings
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.keyservice.approvals import Approval
    from cloister.keyservice.submissions import Submission

__all__ = ["approve", "diff", "history", "pending", "read_approvals", "tell"]

_JSON = typer.Option(False, "--json", help="One JSON object.")
_DAY_S: Final = 86400
_MAX_DAYS: Final = 90


def approve(  # noqa: PLR0917  # options: typer passes them by name
    file: Path = typer.Argument(help="The policy, charter or statement. Read it first."),
    key: Path = typer.Option(help="Your key's file."),
    out: Path | None = typer.Option(None, "--out", help="The new file; standard output if none."),
    days: int = typer.Option(7, "--days", min=1, max=_MAX_DAYS, help="How long it counts."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Sign your approval of exactly this file, offline; whoever applies it needs your approval."""
    from cloister.keyservice.approvals import Approval
    from cloister.keyservice.clock import read_clock

    found = settings.find_domain(domain)
    signer = settings.read_key(key)
    subject = settings.read_subject(file, service=found.identity.raw)
    expires_at = read_clock().at + days * _DAY_S
    approval = Approval.make(subject, key=signer, expires_at=expires_at)
    if out is not None:
        if out.exists():
            raise ConfigError(f"{out} exists", code="config.exists", hint="name another file")
        out.write_text(approval.to_text(), encoding="ascii")
    said = {
        "kind": subject.kind,
        "namespace": subject.namespace,
        "hash": "sha256:" + subject.hash.hex(),
        "approver": signer.public.text,
        "expires_at": expires_at,
    }
    if as_json:
        console.emit(
            {**said, "file": None if out is None else str(out), "text": approval.to_text()}
        )
        return
    if out is None:
        console.lines(approval.to_text())
    for name, value in said.items():
        console.note(f"{name}: {_time(value) if name == 'expires_at' else value}")


def pending(
    domain: Path | None = settings.DOMAIN, key: Path | None = settings.KEY, as_json: bool = _JSON
) -> None:
    """List what waits for approvals, and whose are missing."""
    found = settings.client(domain, key).pending()
    if as_json:
        console.emit({"proposals": [_plain(record) for record in found]})
        return
    for record in (_plain(record) for record in found):
        place = "/".join(str(record[part]) for part in ("namespace", "name") if record[part])
        console.lines(f"{record['kind']} {place} {record['hash']}")
        console.lines(f"  until     {_time(record['deadline'])}")
        _tell_keys(record)
    if not found:
        console.lines("nothing waits for approvals")


def diff(
    old: Path = typer.Argument(help="The policy that is replaced."),
    new: Path = typer.Argument(help="The policy that replaces it."),
    as_json: bool = _JSON,
) -> None:
    """Say what a policy changes, path by path, and mark what lets more happen than before."""
    from cloister.keyservice.policy import parse_policy
    from cloister.keyservice.policy.difference import compare

    before, after = (
        parse_policy(settings.read_policy_bytes(file), source=str(file)) for file in (old, new)
    )
    changes = compare(before, after)
    if as_json:
        console.emit({"changes": [change.as_record() for change in changes]})
        return
    marks = {"weaker": "WEAKER  ", "stricter": "stricter", "other": "        "}
    for change in changes:
        console.lines(f"{marks[change.effect]}  {change.path}")
        for sign, value in (("-", change.before), ("+", change.after)):
            if value is not None:
                console.lines(f"            {sign} {value}")
    weaker = sum(change.effect == "weaker" for change in changes)
    console.lines(f"{len(changes)} changes, {weaker} of them weaker")


def history(
    name: str = typer.Argument(help="The policy, as NAMESPACE/NAME."),
    domain: Path | None = settings.DOMAIN,
    key: Path | None = settings.KEY,
    as_json: bool = _JSON,
) -> None:
    """List the versions of a policy and who approved each, oldest first."""
    namespace, _, last = name.rpartition("/")
    if not namespace:
        raise ConfigError(f"{name} is not NAMESPACE/NAME", code="config.value")
    versions = [_plain(record) for record in settings.client(domain, key).history(namespace, last)]
    if as_json:
        console.emit({"versions": versions})
        return
    for record in versions:
        mark = "  in force" if record["current"] else ""
        console.lines(f"{record['hash']}{mark}")
        console.lines(f"  since     {_time(record['at'])}")
        console.lines(f"  replaces  {record['predecessor']}")
        _tell_keys(record)


def read_approvals(files: list[Path]) -> tuple[Approval, ...] | None:
    """Read approvals' files; None where there are none, so that the client adds its own."""
    from cloister.keyservice.approvals import MAX_APPROVAL_BYTES, Approval

    found = []
    for file in files:
        try:
            with file.open("rb") as opened:
                found.append(Approval.from_text(opened.read(2 * MAX_APPROVAL_BYTES + 1)))
        except OSError as e:
            raise ConfigError(f"cannot read {file}: {e.strerror}", code="config.file") from e
    return tuple(found) or None


def tell(what: str, done: Submission, *, as_json: bool, name: str) -> None:
    """Say what became of a policy or charter that was handed in."""
    digest = "sha256:" + done.hash.hex()
    record: dict[str, object] = {name: what, "hash": digest}
    if not done.in_force:
        record |= {
            "state": "approval.pending",
            "approved": [_key(raw) for raw in done.approved],
            "missing": [_key(raw) for raw in done.missing],
            "lacking": done.lacking,
            "deadline": done.deadline,
        }
    if as_json:
        console.emit(record)
        return
    console.lines(f"{what} is {digest}")
    if not done.in_force:
        console.lines(f"not in force yet; until {_time(done.deadline)}:")
        _tell_keys(record)


def _tell_keys(record: Mapping[str, object]) -> None:
    for title in ("approved", "missing"):
        keys = record.get(title)
        for key in keys if isinstance(keys, list) else []:
            console.lines(f"  {title:<9} {key}")
    if "lacking" in record:
        console.lines(f"  needed    {record['lacking']} more")


def _plain(record: Mapping[str, object]) -> dict[str, object]:
    """Return a record of the service with keys and digests as people write them."""
    plain: dict[str, object] = {}
    for name, value in record.items():
        if isinstance(value, list):
            plain[name] = [_key(item) for item in value if isinstance(item, bytes)]
        else:
            plain[name] = "sha256:" + value.hex() if isinstance(value, bytes) else value
    return plain


def _key(raw: bytes) -> str:
    return "ed25519:" + raw.hex()


def _time(at: object) -> str:
    return f"{dt.datetime.fromtimestamp(int(str(at)), tz=dt.UTC):%F %T} UTC"
