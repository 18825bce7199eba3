"""The receipt of a job, checked with those of its instances beside it, for `cloister audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cloister.cli import console
from cloister.errors import ConfigError

if TYPE_CHECKING:
    from cloister.keyservice.domain import TrustDomain
    from cloister.training.job_receipt import VerifiedJob

__all__ = ["check", "is_one", "verify"]

_BEGINNING_BYTES = 200


def is_one(file: Path) -> bool:
    """Tell whether a file means to be the receipt of a job."""
    from cloister.training.job_claims import FORMAT

    return f'"{FORMAT}"'.encode() in _read(file, _BEGINNING_BYTES)


def verify(file: Path, domain: TrustDomain) -> VerifiedJob:
    """Check a job's receipt; those that it names lie in the folder `receipts` beside it."""
    from cloister.launcher.receipt import MAX_RECEIPT_BYTES
    from cloister.training.job_claims import MAX_JOB_RECEIPT_BYTES
    from cloister.training.job_receipt import verify_job_receipt

    def read(name: str) -> bytes:
        return _read(file.parent / name, MAX_RECEIPT_BYTES + 1)

    return verify_job_receipt(
        _read(file, MAX_JOB_RECEIPT_BYTES + 1),
        read,
        ca=domain.ca,
        service=domain.identity,
        origin=domain.origin,
    )


def check(file: Path, domain: TrustDomain, *, as_json: bool) -> None:
    """Check it and say what it proves."""
    job = verify(file, domain)
    policy = f"{job.policy.namespace}/{job.policy.name}"
    if as_json:
        console.emit(
            {
                "file": str(file),
                "policy": policy,
                "status": job.status,
                "until": list(job.until),
                "complete": job.complete,
                "hardware_rooted": job.hardware_rooted,
                "instances": [
                    {
                        "role": part.task.role,
                        "index": part.task.index,
                        "restarts": part.restarts,
                        "runs": [run.identity for run in part.runs],
                        "shards": dict(part.shards),
                        "spent": [dict(run.spent) for run in part.runs],
                    }
                    for part in job.parts
                ],
                "shards": [
                    {"role": role, "mount": point, "opened": opened, "of": of}
                    for (role, point), (opened, of) in job.shards.items()
                ],
            }
        )
        return
    console.lines(f"the job {policy} is {job.status}; {len(job.parts)} instances")
    if not job.complete:
        console.lines("  of some of its roles: the others ran elsewhere")
    if job.until:
        console.lines(f"  it waited for {', '.join(job.until)} only")
    for part in job.parts:
        what = f"{len(part.runs)} receipts" if len(part.runs) != 1 else "1 receipt"
        shards = "".join(f", {name} at {point}" for point, name in part.shards.items())
        again = {0: "", 1: ", started again once"}
        often = again.get(part.restarts, f", started again {part.restarts} times")
        console.lines(f"  {part.task.name:<12} {what}{often}{shards}")
        for run in part.runs:
            for name, amount in run.spent.items():
                console.lines(f"    spent {console.printable(name)}: {amount}")
    for (role, point), (opened, of) in job.shards.items():
        console.lines(f"  {role} opened {opened} of {of} shards at {point}")
    if not job.hardware_rooted:
        console.lines("  not all of the evidence was hardware's")


def _read(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(most)
    except OSError as e:
        raise ConfigError(f"cannot read {file}: {e.strerror}", code="config.file") from e
