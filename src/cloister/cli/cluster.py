"""`cloister cluster`: all instances of a job on this machine, as one thing."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from cloister.cli import cluster_run, console, settings
from cloister.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from cloister.training.job_folder import JobFolder, JobState
    from cloister.training.job_logs import LogFollower
    from cloister.training.supervision import Task
    from cloister.volume.seal import Progress

__all__ = ["app"]

app = typer.Typer(help="Run all roles of a job on this machine.", no_args_is_help=True)
app.command("run")(cluster_run.command)

_FOLLOW_S: Final = 0.2
_STOP_S: Final = 180.0
_POLL_S: Final = 0.1
_COLUMNS: Final = ("instance", "now", "restarts", "status", "error")

_JOB = typer.Option(None, "--job", help="The job's folder (default: the newest one in jobs/).")
_JSON = typer.Option(False, "--json", help="One JSON object.")


@app.command()
def status(job: Path | None = _JOB, as_json: bool = _JSON) -> None:
    """Say how a job is, while it runs and afterwards."""
    folder = _folder(job)
    state = folder.read()
    if as_json:
        console.emit(_record(folder, state))
        return
    left = state.left
    rows = [
        [
            each.task.name,
            "gone" if state.lost and each not in left else each.life,
            str(each.restarts),
            "" if each.status is None else str(each.status),
            console.printable(each.error or ""),
        ]
        for each in state.instances
    ]
    console.table(state.name, _COLUMNS, rows)
    console.lines(_now(state))
    if state.why:
        console.lines(console.printable(state.why))


@app.command()
def logs(
    instance: str = typer.Argument("", help="Only this role, or only this ROLE-INDEX of it."),
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on until the job has ended."),
    times: bool = typer.Option(False, "--times", "-t", help="Each line's time as well."),
    job: Path | None = _JOB,
) -> None:
    """Show what the programs said, each line behind the name of its instance."""
    from cloister.training.job_logs import LogFollower

    folder = _folder(job)
    state = folder.read()
    chosen = [each for each in state.instances if instance in {"", each.role, each.task.name}]
    if not chosen:
        raise ConfigError(
            f"the job has no instance {instance}",
            code="config.missing",
            hint="it has " + ", ".join(each.task.name for each in state.instances[:8]),
        )
    for role in sorted({each.role for each in chosen if each.logs == "drop"}):
        console.note(f"cloister: the policy drops the output of {role}: only notes are here")
    follower = LogFollower(folder.logs, [each.task for each in chosen])
    try:
        for task, stamp, text in _lines(follower, folder, follow=follow):
            sys.stdout.write(f"{stamp} " * times + f"[{task.name}] {text}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough; nothing is left to be flushed at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        follower.close()


@app.command()
def stop(job: Path | None = _JOB, as_json: bool = _JSON) -> None:
    """Ask a job to stop and wait for its end; asked once more, it kills what still runs."""
    from cloister.training.job_folder import signal_process

    folder = _folder(job)
    state = folder.read()
    if state.over:
        raise ConfigError(f"the job is over: {state.status}", code="config.missing")
    if not signal_process(state.runner, signal.SIGTERM):
        for each in state.left:  # the kernel asked them when it died; asked twice, they hurry
            if each.process is not None:
                signal_process(each.process, signal.SIGTERM)
    end = time.monotonic() + _STOP_S
    with console.SlowProgress("stopping", clock=time.monotonic, quiet=as_json) as step:
        while _runs(state := folder.read()):  # its receipt is written at the very end
            if time.monotonic() > end:
                raise UnavailableError(
                    "the job has not ended yet",
                    code="cluster.running",
                    hint="cloister cluster stop, once more, kills what still runs",
                )
            step(0, 1)
            time.sleep(_POLL_S)
    if as_json:
        console.emit(_record(folder, state))
    else:
        console.lines(f"{state.name}: {_now(state)}")


@app.command()
def pull(
    target: Path = typer.Argument(help="A new or empty folder for the plain files."),
    volume: list[str] = typer.Option([], help="Only this volume of the policy; may be repeated."),
    job: Path | None = _JOB,
    domain: Path | None = settings.DOMAIN,
    as_json: bool = _JSON,
) -> None:
    """Decrypt what a job wrote, once it is over: each volume into a folder of its name."""
    from cloister.keyservice.policy import parse_policy
    from cloister.training.results import output_stores
    from cloister.volume.seal import extract_tree

    state = _folder(job).read()
    if not state.over and _runs(state):
        raise UnavailableError(
            "the job still runs", code="cluster.running", hint="wait, or cloister cluster stop"
        )
    file = Path(state.file)
    policy = parse_policy(settings.read_policy_bytes(file), source=str(file))
    stores = output_stores(policy, state, base=file.parent, wanted=volume)
    owner = settings.owner(domain)
    records = []
    for name, store in stores.items():
        progress = console.progress(f"opening {name}", quiet=as_json)
        # Under its lease, so that nobody writes meanwhile; refused while somebody does.
        with owner.writing(store) as (filesystem, _), progress as step:
            extract_tree(filesystem, target / name, progress=partial(_step, step))
            version = filesystem.identity.version
        records.append({"volume": name, "target": str(target / name), "version": version})
    if as_json:
        console.emit({"volumes": records})
        return
    for record in records:
        console.lines("{volume}: version {version} in {target}".format(**record))


def _step(step: Callable[[int, int], None], done: Progress) -> None:
    step(done.octets, 0)


def _runs(state: JobState) -> bool:
    return state.runner.alive or bool(state.left)


def _lines(
    follower: LogFollower, folder: JobFolder, *, follow: bool
) -> Iterator[tuple[Task, str, str]]:
    """Yield lines; the state is read before them, so that none of a job that ended is missed."""
    while True:
        state = folder.read()
        ended = state.over or not _runs(state)
        yield from follower.read()
        if ended or not follow:
            return
        sys.stdout.flush()
        time.sleep(_FOLLOW_S)


def _record(folder: JobFolder, state: JobState) -> dict[str, object]:
    left = state.left
    return {
        "job": str(folder.path),
        "name": state.name,
        "policy": state.policy,
        "status": "lost" if state.lost else state.status,
        "why": state.why,
        "began": state.began,
        "ended": state.ended,
        "receipt": str(folder.receipt) if folder.receipt.exists() else None,
        "instances": [
            asdict(each) | {"process": each.process.pid if each.process and each in left else None}
            for each in state.instances
        ],
    }


def _now(state: JobState) -> str:
    if not state.lost:
        return state.status
    left = len(state.left)
    still = f"; {left} of its instances have not ended yet" if left else ""
    return f"lost: the process that ran it was killed, and its instances with it{still}"


def _folder(job: Path | None) -> JobFolder:
    """Return the named job, or the newest."""
    from cloister.training.job_folder import JobFolder

    if job is not None:
        return JobFolder(job.absolute())
    states = sorted(cluster_run.JOBS.glob("*/state.json"), key=lambda path: path.stat().st_mtime)
    if not states:
        raise ConfigError(
            "there is no job in jobs/", code="config.missing", hint="name its folder with --job"
        )
    return JobFolder(states[-1].parent.absolute())
