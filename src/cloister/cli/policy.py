"""`cloister policy`: write, read, judge and apply policies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cloister.cli import approving, attesting, console, settings, vouching
from cloister.errors import ConfigError, MalformedError

if TYPE_CHECKING:
    from cloister.keyservice.policy.explain import Explanation

__all__ = ["app"]

app = typer.Typer(help="Write, read, judge and apply policies.", no_args_is_help=True)

app.command("approve")(approving.approve)
app.command("pending")(approving.pending)
app.command("diff")(approving.diff)
app.command("history")(approving.history)

_JSON = typer.Option(False, "--json", help="One JSON object.")
_FILE = typer.Argument(help="The policy, a YAML file.")


@app.command()
def lint(
    file: Path = _FILE,
    corim: Path | None = typer.Option(
        None, help="For evidence policies: a file with reference values, to compare with."
    ),
    corim_key: Path | None = typer.Option(
        None, help="The public key that signed that file; without it nobody signed it."
    ),
    as_json: bool = _JSON,
) -> None:
    """Say everything that is wrong or remarkable, with line numbers; exit 1 where it is wrong."""
    from cloister.cli.evidence_policy import comparison
    from cloister.keyservice.policy.lint import lint_text

    references = comparison(corim, corim_key)
    data = settings.read_policy_bytes(file)
    findings = lint_text(data, source=str(file), references=references)
    wrong = any(finding.severity == "error" for finding in findings)
    if as_json:
        records = [finding.as_record() for finding in findings]
        console.emit({"file": str(file), "valid": not wrong, "findings": records})
    else:
        for finding in findings:
            place = f"{file}:{finding.line}:{finding.column}"
            console.lines(f"{place}: {finding.severity}: {finding.message} [{finding.code}]")
            if finding.hint:
                console.lines(f"    {finding.hint}")
        console.lines(f"{file}: {'not usable' if wrong else 'good'}, {len(findings)} findings")
    if wrong:
        raise typer.Exit(1)


@app.command()
def show(file: Path = _FILE, as_json: bool = _JSON) -> None:
    """Say in words what the policy allows."""
    from cloister.keyservice.policy import parse_policy
    from cloister.keyservice.policy.description import describe

    sections = describe(parse_policy(settings.read_policy_bytes(file), source=str(file)))
    if as_json:
        console.emit({"sections": [section.as_record() for section in sections]})
        return
    for section in sections:
        console.lines(section.title)
        for row in section.rows:
            mark = "  (open)" if row.open_end else ""
            console.lines(f"  {row.label}: {row.value}{mark}")


@app.command("hash")
def hash_(file: Path = _FILE, as_json: bool = _JSON) -> None:
    """Print the policy's hash, which a successor names as its predecessor."""
    from cloister.crypto.digest import digest_to_text
    from cloister.keyservice.policy import parse_policy, policy_hash

    policy = parse_policy(settings.read_policy_bytes(file), source=str(file))
    digest = digest_to_text(policy_hash(policy))
    if as_json:
        console.emit({"policy": f"{policy.namespace}/{policy.name}", "hash": digest})
    else:
        console.lines(digest)


def require_lint(file: Path) -> None:
    """Raise unless the policy has no lint error."""
    from cloister.keyservice.policy.lint import lint_text

    for finding in lint_text(settings.read_policy_bytes(file), source=str(file)):
        if finding.severity == "error":
            raise MalformedError(
                f"{file}:{finding.line}: {finding.message}",
                code=finding.code,
                hint=finding.hint or f"cloister policy lint {file}",
            )


@app.command()
def draft(  # noqa: PLR0917  # options: typer passes them by name
    name: str = typer.Option(help="The policy's name."),
    workload: list[str] = typer.Option(
        help="The role's name; repeat it for several, in the order of ranks. ROLE: before another "
        "option's value is for that one alone."
    ),
    code: Path = typer.Option(help="A sealed volume's store, or a folder of plain code."),
    command: list[str] = typer.Option(help='argv, such as "python /code/train.py".'),
    volume: list[str] = typer.Option(
        [], help="MOUNT=STORE:read (as it is now), :latest or :write."
    ),
    region: list[str] = typer.Option(
        [],
        metavar="VOLUME:PATH=CLASS",
        help="authenticated, plain or ephemeral, or encrypted; the volume by its store's name.",
    ),
    shards: list[str] = typer.Option(
        [],
        metavar="MOUNT=STORE,STORE:ACCESS",
        help="A store for each instance, which opens no other; accesses as for volumes.",
    ),
    instances: list[str] = typer.Option([], help="How many of a role there may be at a time."),
    restarts: list[str] = typer.Option([], help="How often a failed one may be started again."),
    connect: list[str] = typer.Option(
        [],
        metavar="FROM=TO[:PORT,PORT]",
        help="Which role may open connections to which; all for everybody to everybody.",
    ),
    egress: list[str] = typer.Option(
        [],
        metavar="NAME:PORT=BYTES/RATE",
        help="Where outside it may send to: how many bytes in a run, and in a second.",
    ),
    cells: list[str] = typer.Option(
        [], metavar="ROLE", help="Which role may make cells for code that it does not trust."
    ),
    cluster: str = typer.Option(
        "",
        metavar="FRAMEWORK[:PORT]",
        help="tensorflow, pytorch or jax: what the launcher tells the roles of each other.",
    ),
    budget: list[str] = typer.Option(
        [],
        metavar="[ROLE:]NAME=LIMIT/PRINCIPAL,PRINCIPAL",
        help="What may be spent in the name of each principal, or of any; the key service counts.",
    ),
    env: list[str] = typer.Option([], help="NAME=VALUE."),
    listen: list[str] = typer.Option([], help="NAME=PORT."),
    client: list[str] = typer.Option(
        [], help="spiffe://… of who may use the listeners; repeat it. NAME=spiffe://… for one."
    ),
    any_client: str = typer.Option(
        "",
        metavar="REASON",
        help="Why anybody may use the listeners that have no client, in 8 characters or more.",
    ),
    namespace: str = typer.Option("default", help="The tenant."),
    lifetime: int | None = typer.Option(
        None, help="Seconds that a certificate lasts unless renewed; without it a day."
    ),
    logs: str = typer.Option("pass", help="pass shows logs to the operator; drop discards them."),
    predecessor: str = typer.Option("none", help="Hash of the policy that this one replaces."),
    output: Path = typer.Option(Path("policy.yaml"), "--output", "-o", help="The new file."),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Write a first policy for this machine, from what it would prove; read it before you apply."""
    from cloister.cli.draft import DraftWords, draft_from_words, program_of_all
    from cloister.cli.draft_roles import RoleOptions, share_out

    if output.exists():
        raise ConfigError(f"{output} exists", code="config.exists", hint="name another file")
    words = DraftWords(
        name=name,
        namespace=namespace,
        code=code,
        workloads=share_out(
            RoleOptions(
                roles=workload,
                command=command,
                volume=volume,
                shards=shards,
                env=env,
                listen=listen,
                client=client,
                any_client=any_client,
                instances=instances,
                restarts=restarts,
                connect=connect,
                egress=egress,
                cells=cells,
            )
        ),
        logs=logs,
        predecessor=predecessor,
        base=output.parent,
        regions=region,
        cluster=cluster,
        lifetime=lifetime,
        budgets=budget,
    )
    program = program_of_all(words.workloads.values())
    with console.progress("measuring the runtime", quiet=as_json) as step:
        facts = settings.measure_local(domain, program=program, progress=step)
    output.write_text(draft_from_words(words, facts), encoding="utf-8")
    if as_json:
        console.emit({"file": str(output)})
    else:
        console.lines(f"{output} is written. Read it, then: cloister policy apply {output}")


@app.command()
def refusals(
    policy: str = typer.Argument(metavar="POLICY", help="NAMESPACE/NAME."),
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Say why releases by a policy were refused: rule, expected, found. Requesters are not told."""
    namespace, _, name = policy.rpartition("/")
    if not namespace or not name:
        raise ConfigError("write NAMESPACE/NAME", code="config.value")
    found = settings.client(domain, key).refusals(namespace, name)
    if as_json:
        console.emit({"policy": policy, "refusals": [each.to_value() for each in found]})
        return
    if not found:
        console.lines(f"no appraisal refused a release by {policy} since the key service started")
    for each in found:
        console.lines(
            console.printable(f"entry {each.entry}: {each.workload}/{each.instance} {each.code}")
        )
        for label in ("rule", "expected", "found"):
            console.lines(f"  {label:<9} {console.printable(getattr(each, label))}")


@app.command()
def apply(
    file: Path = _FILE,
    approval: list[Path] = typer.Option(
        [], help="An approval's file; repeat it for each. Without one, your key approves."
    ),
    key: Path | None = settings.KEY,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Make a policy the current one of its name; refused unless it names its predecessor.

    Where others must approve, it waits for them: they run the same, or hand you their approvals.
    """
    from cloister.keyservice.policy import canonical_bytes, parse_policy

    require_lint(file)
    policy = parse_policy(settings.read_policy_bytes(file), source=str(file))
    approvals = approving.read_approvals(approval)
    done = settings.client(domain, key).propose_policy(canonical_bytes(policy), approvals)
    approving.tell(f"{policy.namespace}/{policy.name}", done, as_json=as_json, name="policy")


@app.command()
def explain(  # noqa: PLR0917  # options: typer passes them by name
    file: Path = _FILE,
    workload: str = typer.Option(help="The role to explain."),
    code: Path | None = typer.Option(None, help="Plain code, where the policy digests it."),
    root_of_trust: str = typer.Option(
        "",
        help="What to attest by, where several would do: sim, sgx, tdx, snp, azure-snp, azure-tdx.",
    ),
    endorsements: list[Path] = typer.Option(
        [], help="A file, folder or bundle that vouches for this machine's hardware."
    ),
    collector: list[str] = vouching.COLLECTOR,
    tsm: Path | None = attesting.TSM,
    gramine: Path | None = attesting.GRAMINE,
    tpm: Path | None = attesting.TPM,
    metadata: str | None = attesting.METADATA,
    nvml: Path | None = attesting.NVML,
    against: Path | None = typer.Option(
        None, help="Another policy, for a dry run: what would it say otherwise of this machine?"
    ),
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Judge this machine by every rule: what it expects, what is found here. Releases nothing.

    A dry run ends with 20 where each rule of the other policy would hold, with 21 where one would
    not.
    """
    from cloister.cli.explaining import dry_run, explain_here
    from cloister.launcher.attesting import knows_nothing

    machine = attesting.machine_at(tsm=tsm, gramine=gramine, tpm=tpm, metadata=metadata, nvml=nvml)
    given = vouching.given_endorsements(endorsements, collector) or knows_nothing

    def explained(policy: Path) -> Explanation:
        return explain_here(
            policy,
            workload=workload,
            code=code,
            domain=domain,
            quiet=as_json,
            root_of_trust=root_of_trust,
            vouching=given,
            machine=machine,
        )

    found = explained(file)
    if against is not None:
        raise typer.Exit(dry_run(found, explained(against), as_json=as_json))
    if as_json:
        console.emit(found.as_record())
    else:
        rows = [
            (str(r.number), r.path, r.expected, r.found, r.verdict, r.sentence or r.reason)
            for r in found.rules
        ]
        columns = ("step", "rule", "expected", "found", "verdict", "why")
        console.table(f"{workload} on this machine", columns, rows)
        for name, kind in found.secrets.items():
            console.lines(f"secret {name}: {kind}")
        refused = found.refused_by
        console.lines("would be released" if refused is None else f"refused: {refused.code}")
    if found.refused_by is not None:
        raise typer.Exit(1)
