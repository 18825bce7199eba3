"""Policies of jobs with several roles, and a job of doubles to run."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cloister.errors import CloisterError
from cloister.keyservice.clock import read_clock
from cloister.keyservice.policy import parse_policy
from cloister.keyservice.policy.model import Policy
from cloister.launcher.supervision import StopRequests
from cloister.testing.instance import DOUBLE, SCRIPTS
from cloister.training.cluster import ClusterOutcome, ClusterRequest, run_cluster
from cloister.training.instances import run_arguments
from cloister.training.job_folder import JobFolder, JobState
from cloister.training.job_plan import JobPlan, plan_job
from cloister.training.outbox import Outbox
from cloister.training.screen import Screen, Terminal
from cloister.training.supervision import Patience, Task

QUICK: Final = Patience(
    first_pause_s=0.01, longest_pause_s=0.05, gather_s=0.3, linger_s=0.3, grace_s=1.0
)

_ROLE: Final = """
  {role}:
    code: {{digests: ["sha256:{code}"]}}
    runtime: {{unchecked: "only a test"}}
    command: [python, /code/{role}.py]
    environment: {{}}
    volumes: {volumes}
    listen: {{}}
    connections: {connections}
    instances: {{maximum: {count}{restarts}}}
    output: {{logs: {logs}}}"""


def job_text(
    counts: Mapping[str, int],
    *,
    framework: str = "",
    restarts: Mapping[str, int] | None = None,
    volumes: Mapping[str, str] | None = None,
    declared: str = "{}",
    logs: str = "pass",
) -> str:
    """Write a policy in which every role may connect to every other."""
    all_roles = "{" + ", ".join(f"{role}: any" for role in counts) + "}"
    roles = "".join(
        _ROLE.format(
            role=role,
            code="c" * 64,
            volumes=(volumes or {}).get(role, "{}"),
            connections=all_roles,
            count=count,
            restarts=f", restarts: {restarts[role]}" if restarts and role in restarts else "",
            logs=logs,
        )
        for role, count in counts.items()
    )
    names = ", ".join(counts)
    cluster = f"cluster: {{framework: {framework}, roles: [{names}], port: 2222}}"
    return f"""policy: cloister/v1
name: digits
namespace: lab
predecessor: none
roots_of_trust:
  sim: {{anchors: ["ed25519:{"a" * 64}"], measurement: {{unchecked: "only a test"}}, minimum_svn: 1, debug: refused}}
volumes: {declared}
{cluster if framework else ""}
workloads:{roles}
"""  # noqa: E501  # one line of YAML


def job_policy(counts: Mapping[str, int], **changes: Any) -> Policy:
    """Return that policy."""
    return parse_policy(job_text(counts, **changes).encode(), source="job.yaml")


@dataclass
class DoubleJob:
    """A job whose instances are doubles, in a folder of its own."""

    folder: Path
    plan: JobPlan
    patience: Patience = QUICK
    outcome: ClusterOutcome | None = None
    shown: str = ""
    terminal: Terminal | None = None
    stops: StopRequests = field(default_factory=StopRequests)

    def __post_init__(self) -> None:
        (self.folder / "scripts").mkdir()
        self.job = JobFolder(self.folder / "job")

    def script(self, name: str, *lives: Mapping[str, Any]) -> None:
        """Say what an instance does in each of its lives."""
        (self.folder / "scripts" / f"{name}.json").write_text(json.dumps(lives))

    def raise_flag(self, name: str) -> None:
        """Let go whoever waits for it."""
        (self.folder / "scripts" / name).touch()

    def lives(self, name: str) -> list[int]:
        """Return the processes that an instance was."""
        path = self.folder / "scripts" / f"{name}.lives"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def run(self) -> ClusterOutcome:
        """Run it here to its end."""
        self.job.make()
        with (self.folder / "shown").open("wb") as file, self.stops:
            outbox = Outbox(file.fileno())
            screen = Screen(tuple(self.plan.seats), terminal=self.terminal)
            self.outcome = run_cluster(self.request(), screen, outbox, stops=self.stops)
            outbox.finish(timeout_s=5)
        self.shown = (self.folder / "shown").read_text()
        return self.outcome

    def request(self) -> ClusterRequest:
        """Return what is run."""

        def command(task: Task, receipt: str) -> Sequence[str]:
            words = run_arguments(
                Path("job.yaml"), task, peers=self.job.peers, receipt=Path(receipt), options=()
            )
            return [*DOUBLE, *words]

        return ClusterRequest(
            plan=self.plan,
            folder=self.job,
            command=command,
            environment={SCRIPTS: str(self.folder / "scripts"), "PATH": os.defpath},
            policy_file="job.yaml",
            stores={},
            runner=os.getpid(),
            clock=read_clock,
            patience=self.patience,
        )

    def beside(self, act: Callable[[], None]) -> threading.Thread:
        """Do something while it runs."""
        thread = threading.Thread(target=act, daemon=True)
        thread.start()
        return thread

    def await_shown(self, text: str) -> None:
        """Wait until a person has seen a text."""
        path = self.folder / "shown"
        for _ in range(1000):
            if path.exists() and text in path.read_text():
                return
            threading.Event().wait(0.01)
        raise AssertionError(path.read_text())

    def await_state(self, holds: Callable[[JobState], bool]) -> JobState:
        """Wait until the job's state is so."""
        for _ in range(1000):
            try:
                state = self.job.read()
                if holds(state):
                    return state
            except CloisterError:
                pass
            threading.Event().wait(0.01)
        raise AssertionError(self.job.read())


def double_job(folder: Path, counts: Mapping[str, int], **changes: Any) -> DoubleJob:
    """Return a job of doubles."""
    return DoubleJob(folder, plan_job(job_policy(counts, **changes)))
