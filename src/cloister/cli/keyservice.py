"""`cloister keyservice`: run the key service, and see what it holds."""

from __future__ import annotations

import datetime as dt
import re
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import approving, console, platforms, recovery, rekeying, restoring, settings
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloister.keyservice.budget_records import BudgetStatus
    from cloister.keyservice.owner_replies import JobStatus
    from cloister.keyservice.roster import Roster

__all__ = ["app"]

_ROOT = "/"
_MAX_TOKEN = 1024

app = typer.Typer(help="Run the key service and see what it holds.", no_args_is_help=True)
app.command()(restoring.backup)
app.command()(restoring.restore)
app.command()(approving.approve)
app.command()(recovery.pin_platform)
app.add_typer(restoring.reset_app, name="reset")
app.add_typer(recovery.app, name="recovery")
app.add_typer(platforms.app, name="platform")
app.add_typer(rekeying.app, name="rekey")


@app.command()
def serve(
    *,
    domain: Path | None = settings.DOMAIN,
    listen: str = typer.Option("", "--listen", help="HOST:PORT; empty for a unix socket."),
    witness_at: list[str] = typer.Option(
        [], "--witness", help="URL=KEY of a witness that sees each change before it is answered."
    ),
    witness_quorum: int = typer.Option(0, help="How many of the witnesses must have seen it."),
    log_format: str = typer.Option("", "--log-format", help="text (the default) or json."),
    database: str = settings.DATABASE,
    external_source: list[str] = typer.Option(
        [],
        "--external-source",
        help="HOST:PORT of a store or another key service that owners may have values from.",
    ),
    endorsements: list[Path] = typer.Option(
        [],
        help="A file, folder or bundle of collateral, certificates and revocation lists that count "
        "beside what workloads send, where they are newer; read again on SIGHUP.",
    ),
    collector: list[str] = typer.Option(
        [], help="Whose bundles are taken, ed25519:…; nobody's where none is named."
    ),
) -> None:
    """Run the trust domain's key service in the foreground until interrupted."""
    from cloister.keyservice.server import main
    from cloister.network.https import get

    found = settings.find_domain(domain)
    arguments = ["--domain", str(found.directory)]
    arguments += ["--listen", listen] if listen else []
    arguments += [part for each in witness_at for part in ("--witness", each)]
    arguments += ["--witness-quorum", str(witness_quorum)] if witness_quorum else []
    if log_format not in {"", "text", "json"}:
        raise ConfigError("a log's format is text or json", code="config.value")
    arguments += ["--log-format", log_format] if log_format else []
    arguments += ["--database", database] if database else []
    arguments += [part for each in external_source for part in ("--external-source", each)]
    arguments += [part for each in endorsements for part in ("--endorsements", str(each))]
    arguments += [part for each in collector for part in ("--collector", each)]
    raise typer.Exit(main(arguments, get=get))


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
    from cloister.crypto.signature import VerifyingKey
    from cloister.keyservice.witness_server import WitnessSettings, main

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
def pin(
    domain: Path | None = settings.DOMAIN,
    measurement: list[str] = typer.Option(
        [], "--measurement", help="sha256:… of an image; default: this installation."
    ),
    keep: bool = typer.Option(False, "--keep", help="Go on accepting the images pinned so far."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Say which images of Cloister the key service may run, after an update; for the owner."""
    from cloister.crypto.digest import digest_from_text, digest_to_text
    from cloister.tee.sim.image import installed_image

    found = settings.find_domain(domain)
    found.owner_key()  # whoever has not got it has nothing to pin here
    fresh = [digest_from_text(text) for text in measurement] or [installed_image()]
    before = list(found.service.measurements)
    after = list(dict.fromkeys([*before, *fresh] if keep else fresh))
    found.pin_service(after)
    facts = {
        "before": [digest_to_text(each) for each in before],
        "pinned": [digest_to_text(each) for each in after],
    }
    if as_json:
        console.emit(facts)
        return
    for name, values in facts.items():
        for value in values:
            console.lines(f"{name:<8} {value}")


@app.command(name="view-token")
def view_token(  # noqa: PLR0917  # options: typer passes them by name
    domain: Path | None = settings.DOMAIN,
    namespace: str = typer.Option(_ROOT, "--namespace", help="What may be looked at; / for all."),
    hours: int = typer.Option(8, "--hours", help="For how long."),
    scope: str = typer.Option("view", "--scope", help="view, or metrics for the metrics alone."),
    offline: bool = typer.Option(
        False, "--offline", help="Make it without the service, with the owner's key; not listed."
    ),
    key: Path | None = settings.KEY,
) -> None:
    """Print a token with which somebody may look at the key service, as far as its maker may."""
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.view.token import ViewToken

    if not offline:
        client = settings.client(domain, key)
        console.lines(client.views.issue(namespace, scope=scope, hours=hours))
        return
    if namespace != _ROOT:
        raise ConfigError("a token made offline is for all", code="config.value")
    found = settings.find_domain(domain)
    settings.hide_memory()
    token = ViewToken.make(found.identity, scope=scope, hours=hours, at=read_clock().at)
    console.lines(token.signed(found.owner_key()))


@app.command(name="view-tokens")
def view_tokens(
    namespace: str = typer.Argument(_ROOT, help="What they are for."),
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """List the view tokens that are good, by identity; those made offline are not known."""
    found = settings.client(domain, key).views.list(namespace)
    if as_json:
        console.emit({"namespace": namespace, "tokens": [dict(record) for record in found]})
        return
    for record in found:  # no table: an identity has to stay on its line to be copied
        until, issuer = _time(int(str(record["expires"]))), _text(record["issuer"])
        name, scope = _text(record["id"]), _text(record["scope"])
        console.lines(f"{name}  {scope}  until {until}  by ed25519:{issuer[:16]}…")
    if not found:
        console.lines(f"no view token for {namespace} is good")


@app.command(name="revoke-view-token")
def revoke_view_token(  # noqa: PLR0917  # options: typer passes them by name
    identity: str = typer.Argument("", help="Its identity, of view-tokens; empty: see --offline."),
    offline: bool = typer.Option(
        False, "--offline", help="Read a token that was made offline from standard input instead."
    ),
    namespace: str = typer.Option(_ROOT, "--namespace", help="What it is for."),
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """End a view token at once."""
    from cloister.keyservice.view.access import offline_id

    if offline == bool(identity):
        raise ConfigError("name an identity, or give --offline a token", code="config.value")
    found = offline_id(sys.stdin.read(_MAX_TOKEN).strip()) if offline else _identity(identity)
    settings.client(domain, key).views.revoke(namespace, found)
    if as_json:
        console.emit({"namespace": namespace, "token": found})
    else:
        console.lines(f"view token {found.hex()} is no good any more")


@app.command()
def doctor(
    domain: Path | None = settings.DOMAIN,
    listen: str = typer.Option("", "--listen", help="HOST:PORT that it listens on, if any."),
    peer: str = typer.Option("", "--peer", help="URL of a replica whose clock is compared."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Say what is wrong or risky in how the key service is run here; changes nothing."""
    from cloister.keyservice.checkup import judge
    from cloister.keyservice.clock import read_clock
    from cloister.keyservice.examination import examine

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
    key: Path | None = settings.KEY,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """List policies and volumes, for the owner."""
    found = settings.client(domain, key).status()
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


@app.command()
def members(
    job: str = typer.Argument("", metavar="[POLICY NAME]", help="NAME or NAMESPACE/NAME."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """List who is in a job now; without a name, every job with its numbers."""
    owner = settings.owner(domain)
    if job:
        _show_members(owner.roster(owner.find_job(job)), as_json=as_json)
    else:
        _show_jobs(owner.jobs(), as_json=as_json)


@app.command()
def budgets(
    job: str = typer.Argument(metavar="POLICY", help="NAME or NAMESPACE/NAME."),
    of: str = typer.Argument("", metavar="[BUDGET]", help="The budget whose names are wanted."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """List what was spent of a job's budgets; of one, what was spent in each name."""
    owner = settings.owner(domain)
    found = owner.find_job(job)
    budgets = owner.client.budgets(found.namespace, found.name, of=of)
    if of and of not in {budget.name for budget in budgets}:
        raise ConfigError(f"{job} has no budget {of}", code="config.missing")
    _show_budgets(budgets, of=of, as_json=as_json)


@app.command()
def expel(
    job: str = typer.Argument(metavar="POLICY", help="NAME or NAMESPACE/NAME."),
    workload: str = typer.Argument(help="The member's workload."),
    instance: str = typer.Argument(help="The member's instance name."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object."),
) -> None:
    """Take a member's key out of a job for good; its leases end."""
    owner = settings.owner(domain)
    found = owner.find_job(job)
    epoch = owner.client.expel(found.namespace, found.name, role=workload, instance=instance)
    if as_json:
        console.emit({"workload": workload, "instance": instance, "epoch": epoch})
        return
    console.lines(f"expelled {workload}/{instance}; the job is at epoch {epoch}")


def _show_jobs(jobs: list[JobStatus], *, as_json: bool) -> None:
    if as_json:
        record = [
            {
                "namespace": job.namespace,
                "name": job.name,
                "policy": job.policy,
                "epoch": job.epoch,
                "workloads": {
                    role: {"live": live, "maximum": most}
                    for role, (live, most) in job.roles.items()
                },
            }
            for job in jobs
        ]
        console.emit({"jobs": record})
        return
    rows = [
        [f"{job.namespace}/{job.name}", role, str(live), "-" if most is None else str(most),
         str(job.epoch)]
        for job in jobs
        for role, (live, most) in sorted(job.roles.items())
    ]  # fmt: skip
    console.table("Jobs", ["job", "workload", "live", "maximum", "epoch"], rows)


def _show_budgets(budgets: Sequence[BudgetStatus], *, of: str, as_json: bool) -> None:
    if as_json:
        record = [
            {
                "name": budget.name,
                "limit": budget.limit,
                "floor": budget.floor,
                "names": budget.names,
                "total": budget.total,
                "spent": {found.principal: found.amount for found in budget.spent},
            }
            for budget in budgets
        ]
        console.emit({"budgets": record})
        return
    if not of:
        rows = [
            [budget.name, _limit(budget), str(budget.floor), str(budget.names), str(budget.total)]
            for budget in budgets
        ]
        console.table(
            "Budgets", ["budget", "limit for each", "in every name", "names", "spent"], rows
        )
        return
    for budget in budgets:
        if budget.name == of:
            names = [[found.principal, str(found.amount)] for found in budget.spent]
            console.table(f"Budget {of}, {_limit(budget)} for each", ["name", "spent"], names)


def _limit(budget: BudgetStatus) -> str:
    return "-" if budget.limit is None else str(budget.limit)


def _show_members(roster: Roster, *, as_json: bool) -> None:
    if as_json:
        found = [
            {
                "workload": member.role,
                "instance": member.instance,
                "identity": member.identity,
                "evidence": member.evidence,
                "key": member.key_digest,
                "since": member.since,
                "renewed": member.renewed,
                "expires": member.expires,
            }
            for member in roster.members
        ]
        console.emit(
            {
                "namespace": roster.namespace,
                "name": roster.name,
                "policy": roster.policy,
                "epoch": roster.epoch,
                "at": roster.at,
                "members": found,
            }
        )
        return
    rows = [
        [member.role, member.instance, _time(member.since), _time(member.expires),
         member.evidence.hex()[:16]]
        for member in roster.members
    ]  # fmt: skip
    columns = ["workload", "instance", "since", "expires", "evidence"]
    console.table(f"{roster.namespace}/{roster.name} at epoch {roster.epoch}", columns, rows)


def _identity(text: str) -> bytes:
    if re.fullmatch("[0-9a-f]{32}", text) is None:
        raise ConfigError("a view token's identity has 32 hex digits", code="config.value")
    return bytes.fromhex(text)


def _time(at: int) -> str:
    return f"{dt.datetime.fromtimestamp(at, tz=dt.UTC):%F %T} UTC"


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
