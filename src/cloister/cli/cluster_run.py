"""`cloister cluster run`: every instance of a job, started and watched from here."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import typer

from cloister.cli import console, job_receipts, settings, vouching
from cloister.cli.loading import loading
from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import CloisterError, WorkloadError

if TYPE_CHECKING:
    from cloister.keyservice.domain import TrustDomain
    from cloister.keyservice.policy.model import Policy
    from cloister.training.cluster import ClusterOutcome
    from cloister.training.job_folder import JobFolder, JobState
    from cloister.training.job_plan import JobPlan
    from cloister.training.job_receipt import VerifiedJob
    from cloister.training.screen import Terminal
    from cloister.training.supervision import Task

__all__ = ["JOBS", "command"]

JOBS: Final = Path("jobs")
_FLUSH_S: Final = 5.0


def command(  # noqa: PLR0917  # options: typer passes them by name
    file: Path = typer.Argument(help="The policy, a YAML file."),
    code: Path | None = typer.Option(None, help="Plain code, where the policy digests it."),
    volume: list[str] = typer.Option([], help="NAME=STORE, instead of the policy's hint."),
    job: Path | None = typer.Option(None, help="The job's folder (default: jobs/NAME)."),
    only: list[str] = typer.Option([], help="Start only this role here; may be repeated."),
    until: list[str] = typer.Option(
        [], help="The job is done when this role is; may be repeated. Others are stopped then."
    ),
    restarts: int | None = typer.Option(
        None, min=0, max=1000, help="How often one may start again, where the policy is silent."
    ),
    deadline: float | None = typer.Option(None, min=0, help="Seconds after which all is stopped."),
    fixed_ports: bool = typer.Option(
        False, "--fixed-ports", help="No nftables: only ports that the policy names are reached."
    ),
    root_of_trust: str = typer.Option("", help="What to attest by, where several would do."),
    endorsements: list[Path] = typer.Option(
        [], help="A file, folder or bundle that vouches for this machine's hardware; goes along."
    ),
    collector: list[str] = vouching.COLLECTOR,
    trust: Path | None = settings.TRUST,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = typer.Option(False, "--json", help="One JSON object; logs go to stderr."),
) -> None:
    """Run every instance of every role that has a network, each attested and confined by itself.

    Ends with 0 when the job is done. The first Ctrl-C asks all to stop, the second kills them.
    """
    with loading():
        from cloister.keyservice.policy import parse_policy
        from cloister.training.job_folder import JobFolder
        from cloister.training.job_plan import plan_job

    policy = parse_policy(settings.read_policy_bytes(file), source=str(file))
    settings.trusting(settings.find_domain(domain), trust)  # a bad file before the job, not after
    plan = plan_job(policy, only=only, until=until, restarts=restarts)
    stores = settings.read_stores(volume)
    found = settings.find_domain(domain).directory
    settings.connect(found)  # one service for all, and its errors once
    if policy.roots_of_trust.sim is not None and root_of_trust in {"", "sim"}:
        _measure_ahead(found, quiet=as_json)
    folder = JobFolder((job or JOBS / policy.name).absolute())
    folder.make()
    options = ["--domain", str(found.absolute())]
    options += [word for text in volume for word in ("--volume", text)]
    options += ["--fixed-ports"] if fixed_ports else []
    options += ["--root-of-trust", root_of_trust] if root_of_trust else []
    options += [word for path in endorsements for word in ("--endorsements", str(path))]
    options += [word for key in collector for word in ("--collector", key)]
    outcome = _run(
        plan, folder, file, stores, options=options, code=code, deadline=deadline, as_json=as_json
    )
    pinned = settings.trusting(settings.find_domain(found), trust)
    verified = _write_receipt(policy, folder, outcome.state, pinned, until=until)
    _report(folder, outcome, verified, as_json=as_json)


def _run(
    plan: JobPlan,
    folder: JobFolder,
    file: Path,
    stores: Mapping[str, Path],
    *,
    options: Sequence[str],
    code: Path | None,
    deadline: float | None,
    as_json: bool,
) -> ClusterOutcome:
    from cloister.keyservice.clock import read_clock
    from cloister.launcher.supervision import StopRequests
    from cloister.training.cluster import ClusterRequest, run_cluster
    from cloister.training.instances import CLOISTER, run_arguments
    from cloister.training.outbox import Outbox
    from cloister.training.screen import Screen
    from cloister.training.supervision import Patience

    def command(task: Task, receipt: str) -> Sequence[str]:
        plain = ["--code", str(code)] if code and task.role in plan.plain_code else []
        words = run_arguments(
            file, task, peers=folder.peers, receipt=Path(receipt), options=[*options, *plain]
        )
        return [*CLOISTER, *words]

    request = ClusterRequest(
        plan=plan,
        folder=folder,
        command=command,
        environment=dict(os.environ),
        policy_file=str(file.absolute()),
        stores={name: str(store.absolute()) for name, store in stores.items()},
        runner=os.getpid(),
        clock=read_clock,
        patience=Patience(deadline_s=deadline),
    )
    if not as_json:
        console.note(f"cloister: {len(plan.seats)} instances, job in {folder.path}")
        for role in sorted(role for role, rule in plan.logs.items() if rule == "drop"):
            console.note(f"cloister: the policy drops the output of {role}")
    descriptor = _stream(as_json=as_json).fileno()
    outbox = Outbox(descriptor)
    screen = Screen(tuple(plan.seats), terminal=_terminal(descriptor))
    with StopRequests() as stops:
        outcome = run_cluster(request, screen, outbox, stops=stops)
        outbox.finish(timeout_s=_FLUSH_S)
    return outcome


def _stream(*, as_json: bool) -> IO[str]:
    """Return where the programs' output goes; what was written there before is out."""
    stream = sys.stderr if as_json else sys.stdout
    stream.flush()
    return stream


def _terminal(descriptor: int) -> Terminal | None:
    from cloister.training.screen import Terminal

    if not os.isatty(descriptor) or os.environ.get("TERM") == "dumb":
        return None
    size = shutil.get_terminal_size()
    return Terminal(size.columns, size.lines, coloured="NO_COLOR" not in os.environ)


def _measure_ahead(domain: Path, *, quiet: bool) -> None:
    """Hash the runtime once, where it is not known yet: all instances would do the same work.

    In a process of its own, which has the simulated platform's secrets and this one never.
    """
    from cloister.launcher.errand import Errand

    with Errand(lambda: _measure(domain, quiet=quiet), size=DIGEST_BYTES) as measuring:
        measuring.value()


def _measure(domain: Path, *, quiet: bool) -> bytes:
    from cloister.keyservice.clock import read_clock
    from cloister.launcher.fingerprint import Fingerprint
    from cloister.launcher.local import layout_of, runtime_digest

    layout = layout_of("python")
    with (
        Fingerprint(layout.roots) as fingerprint,
        console.SlowProgress("hashing the runtime", clock=time.monotonic, quiet=quiet) as step,
    ):
        found = settings.find_domain(domain)
        return runtime_digest(
            layout,
            found.platform(),
            cache_directory=found.directory / "platform",
            at=read_clock().at,
            progress=step,
            fingerprint=fingerprint,
        )


def _write_receipt(
    policy: Policy, folder: JobFolder, state: JobState, domain: TrustDomain, *, until: Sequence[str]
) -> VerifiedJob | None:
    """Write the job's receipt, and check it as anybody would; say what does not hold."""
    from cloister.launcher.receipt import write_receipt
    from cloister.training.job_receipt import Part, make_job_receipt

    parts = [
        Part(
            task=each.task,
            restarts=each.restarts,
            status=each.status,
            receipts=folder.receipts_of(each.task, each.restarts),
        )
        for each in state.instances
    ]
    try:
        data = make_job_receipt(
            policy,
            parts,
            began=state.began,
            ended=state.began if state.ended is None else state.ended,
            status=state.status,
            until=until,
        )
        write_receipt(folder.receipt, data)
        return job_receipts.verify(folder.receipt, domain)
    except CloisterError as error:
        console.warn(f"the job's receipt: {error.public} [{error.code}]")
        if error.code == "identity.tls":
            # Which authority a namespace has of its own, only those who govern it are told.
            console.note(
                f"cloister: who governs {policy.namespace} can check it: cloister audit receipt "
                f"{folder.receipt} --trust FILE"
            )
        return None


def _report(
    folder: JobFolder, outcome: ClusterOutcome, verified: VerifiedJob | None, *, as_json: bool
) -> None:
    verdict, state = outcome.verdict, outcome.state
    hint = f"cloister cluster logs --job {folder.path}"
    if verdict.status == "failed":
        if outcome.last_lines and verdict.task is not None and not as_json:
            console.note(f"cloister: the last lines of {verdict.task.name}:")
            for line in outcome.last_lines:
                console.note(f"  {line}")
        who = "the job" if verdict.task is None else verdict.task.name
        named = hint if verdict.task is None else f"{hint} {verdict.task.name}"
        raise WorkloadError(
            f"{who} failed: {verdict.why}", code="cluster.failed", hint=outcome.hint or named
        )
    if verdict.status == "stopped":
        raise WorkloadError("the job was stopped", code="cluster.stopped", hint=hint)
    if as_json:
        console.emit(
            {
                "status": verdict.status,
                "job": str(folder.path),
                "receipt": str(folder.receipt),
                "verified": verified is not None,
                "hardware_rooted": verified is not None and verified.hardware_rooted,
                "instances": {each.task.name: each.restarts for each in state.instances},
            }
        )
    else:
        console.note(f"cloister: done, receipt {folder.receipt}")
