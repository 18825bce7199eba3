"""A job's folder: its state, and beside it addresses, receipts and logs; private to its owner.

`state.json` is written whole or not at all, by the process that runs the job and nobody else. It
is the operator's, about the operator's processes: it decides nothing for anybody but him. A process
is named by its number and the time at which it began, so that another one that has the number
later is not taken for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cloister.errors import ConfigError, MalformedError, UnavailableError
from cloister.launcher.receipt import MAX_RECEIPT_BYTES
from cloister.training.supervision import Task
from cloister.wire.strict_json import read_json

__all__ = [
    "InstanceState",
    "JobFolder",
    "JobState",
    "Process",
    "process_of",
    "signal_process",
]

FORMAT: Final = "cloister/job-state/v1"
MAX_STATE_BYTES: Final = 4 << 20
_STATE: Final = "state.json"
_STARTED_FIELD: Final = 19  # of /proc/PID/stat, counted behind the name in brackets
_LIVES: Final = frozenset({"starting", "running", "waiting", "ended"})
_ROLE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_STATUSES: Final = frozenset({"running", "stopping", "done", "failed", "stopped"})


@dataclass(frozen=True, slots=True)
class Process:
    """A process that may be gone, and its number another's.

    Attributes:
        pid: Its number.
        started: When it began, in ticks since this machine did.
        boot: Which start of the machine.
    """

    pid: int
    started: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return process_of(self.pid) == self


def process_of(pid: int) -> Process | None:
    """Return the process that has a number now; None where it has ended or there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    return Process(pid, int(fields[_STARTED_FIELD]), boot)


def signal_process(process: Process, number: int) -> bool:
    """Send a signal to this process and no other; tell whether it was there."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        if not process.alive:  # the number is held by the descriptor now
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    """One instance, as it is now.

    Attributes:
        role: Its role.
        index: Its number in the role.
        life: `starting` until its address is known to its peers, `waiting` for its next start.
        restarts: How often it was started again.
        status: Its last exit status, or None.
        process: What runs it, or None.
        error: The code and message that it last failed with, or None.
        logs: What the policy does with its output, `pass` or `drop`.
    """

    role: str
    index: int
    life: str
    restarts: int
    status: int | None
    process: Process | None
    error: str | None
    logs: str

    @property
    def task(self) -> Task:
        """Which instance."""
        return Task(self.role, self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """A job, as it is now.

    Attributes:
        name: The policy's name.
        policy: Its hash, as text.
        file: Where the policy was read, for `pull` and for people.
        runner: The process that runs the job.
        status: `running`, `stopping`, `done`, `failed` or `stopped`.
        why: What it failed of; empty otherwise.
        began: When, in seconds since the epoch.
        ended: When, or None.
        stores: Volume to the folder that was named for it.
        instances: All.
    """

    name: str
    policy: str
    file: str
    runner: Process
    status: str
    why: str
    began: int
    ended: int | None
    stores: Mapping[str, str]
    instances: tuple[InstanceState, ...]

    @property
    def over(self) -> bool:
        """Whether it ended, as far as it could still say so."""
        return self.status not in {"running", "stopping"}

    @property
    def lost(self) -> bool:
        """Whether the process that ran it was killed before it could say how it ended."""
        return not self.over and not self.runner.alive

    @property
    def left(self) -> tuple[InstanceState, ...]:
        """Instances whose processes still run."""
        return tuple(
            each for each in self.instances if each.process is not None and each.process.alive
        )


class JobFolder:
    """Where one job's files are."""

    def __init__(self, path: Path) -> None:
        """Take the folder; it need not be there."""
        self.path = path
        self.peers = path / "peers"
        self.receipts = path / "receipts"
        self.logs = path / "logs"
        self.receipt = path / "receipt.json"

    def make(self) -> None:
        """Make the folder for a new job; one of an earlier job is moved aside, to `NAME.1`.

        Raises:
            UnavailableError: A job runs in it (`cluster.running`).
            ConfigError: It is something else, or cannot be made.
        """
        try:
            if self.path.exists() and any(self.path.iterdir()):
                self._move_aside()
            for folder in (self.path, self.peers, self.receipts, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
        except OSError as e:
            raise ConfigError(f"cannot make {self.path}: {e.strerror}", code="config.file") from e

    def _move_aside(self) -> None:
        if not (self.path / _STATE).exists():
            raise ConfigError(
                f"{self.path} is no job's folder, and not empty",
                code="config.exists",
                hint="name another one with --job",
            )
        state = self.read()
        if not state.over and (state.runner.alive or state.left):
            raise UnavailableError(
                f"a job runs in {self.path}",
                code="cluster.running",
                hint=f"cloister cluster stop {self.path}; or name another folder with --job",
            )
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.{number}")).exists():
            number += 1
        self.path.rename(aside)

    def write(self, state: JobState) -> None:
        """Put the state in place, whole or not at all.

        Raises:
            ConfigError: It cannot be written.
        """
        data = json.dumps({"format": FORMAT, **asdict(state)}, indent=1).encode() + b"\n"
        unfinished = self.path / f".{_STATE}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
                file.write(data)
            unfinished.replace(self.path / _STATE)
        except OSError as e:
            raise ConfigError(
                f"the job's state cannot be written in {self.path}: {e.strerror}",
                code="config.file",
            ) from e

    def read(self) -> JobState:
        """Read the state.

        Raises:
            ConfigError: There is none (`config.missing`), or it cannot be read.
            MalformedError: It is not one (`message.malformed`).
        """
        path = self.path / _STATE
        try:
            with path.open("rb") as file:
                data = file.read(MAX_STATE_BYTES + 1)
        except FileNotFoundError as e:
            raise ConfigError(
                f"no job in {self.path}",
                code="config.missing",
                hint="name the folder that `cloister cluster run` named: jobs/POLICY, or its --job",
            ) from e
        except OSError as e:
            raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e
        code = "message.malformed"
        value = read_json(data, what=str(path), max_bytes=MAX_STATE_BYTES, max_depth=6, code=code)
        try:
            return _read_state(value)
        except (ValueError, KeyError, TypeError) as e:
            raise MalformedError(f"{path} is no job's state", code="message.malformed") from e

    def announced(self) -> frozenset[str]:
        """Return the names of the instances whose relays said where they answer."""
        try:
            return frozenset(path.name for path in self.peers.iterdir())
        except OSError:
            return frozenset()

    def forget_address(self, task: Task) -> None:
        """Remove what an instance that was killed could not: its peers would ask in vain."""
        with contextlib.suppress(OSError):
            (self.peers / task.name).unlink(missing_ok=True)

    def receipt_path(self, task: Task, restarts: int) -> Path:
        """Return where the receipt of one life of an instance goes."""
        return self.receipts / f"{task.name}.{restarts}.json"

    def receipts_of(self, task: Task, restarts: int) -> dict[int, bytes]:
        """Return the receipts that the lives of an instance left; a killed one left none."""
        found = {}
        for number in range(restarts + 1):
            path = self.receipt_path(task, number)
            if path.exists():
                found[number] = _read_file(path)
        return found


def _read_file(path: Path) -> bytes:
    """Read a receipt; one that is longer than any is cut, and refused by whoever parses it."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_RECEIPT_BYTES + 1)
    except FileNotFoundError as e:
        raise ConfigError(f"{path} is not there", code="config.missing") from e
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}", code="config.file") from e


def _read_state(value: Any) -> JobState:
    facts = dict(value)
    if facts.pop("format") != FORMAT or facts["status"] not in _STATUSES:
        raise ValueError("another format")
    instances = tuple(_read_instance(dict(each)) for each in facts.pop("instances"))
    runner = _read_process(facts.pop("runner"))
    stores = dict(facts.pop("stores"))
    state = JobState(runner=runner, instances=instances, stores=stores, **facts)
    texts = (state.name, state.policy, state.file, state.why, *stores, *stores.values())
    _require(texts, str)
    _require((state.began, 0 if state.ended is None else state.ended), int)
    return state


def _read_instance(facts: dict[str, Any]) -> InstanceState:
    process = facts.pop("process")
    process = None if process is None else _read_process(process)
    state = InstanceState(process=process, **facts)
    _require((state.role, state.life, state.logs, state.error or ""), str)
    _require((state.index, state.restarts, state.status or 0), int)
    if state.life not in _LIVES or not _ROLE.fullmatch(state.role):
        raise ValueError("not an instance")
    return state


def _read_process(facts: Any) -> Process:
    process = Process(**facts)
    _require((process.pid, process.started), int)
    _require((process.boot,), str)
    return process


def _require(values: Iterable[object], kind: type) -> None:
    if not all(type(value) is kind for value in values):
        raise TypeError(kind.__name__)
