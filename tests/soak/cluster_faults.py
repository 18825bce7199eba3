"""Break a distributed training in scripted ways; judge that it ends right, or with a clear error.

    cd tests && python -m soak.cluster_faults --faults 200 --seed 1                 plain processes
    cd tests && python -m soak.cluster_faults --faults 200 --seed 1 --shielded     under Cloister

A case is one job, `ring.py` in two or three ranks, and one or two faults, all drawn from a seed
that is printed. The right weights are computed beside it by one process. A case is good if the job
ends well and its weights are those, bit by bit, or if it ends with a status and a code that say
why. It is bad if weights are wrong, if it ends without a word, or if it has not ended in time.

Plain processes show that the judge, the faults and the job do what they say. They are started again
together by whoever plays the operator here, as `cloister cluster run` does.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, Protocol

import numpy as np

from soak import ring
from soak.bad_link import BadLink

STEPS: Final = 60
PAUSE_S: Final = 0.08
RESTARTS: Final = 2
LOOK_S: Final = 0.05
# The ring waits 30 s for its neighbours and 10 s for a message, so three tries end before this.
DEADLINE_S: Final = 120.0
MOST_S: Final = 4.0
NEVER_MENDED: Final = 0.15
NEVER_S: Final = 1000.0
TWO: Final = 0.33
A_MINUTE: Final = 0.25
CERTIFICATE_S: Final = 60
SLOW_PAUSE_S: Final = 1.2
LAST_LINES: Final = 6
TMPFS_BYTES: Final = 4 << 20

Kind = Literal[
    "kill", "pause", "cut", "down", "hold", "delay", "shuffle", "throttle", "corrupt", "full",
    "kill-relay", "pause-relay", "kill-launcher", "kill-volume", "service-away", "service-killed",
    "expelled", "certificate",
]  # fmt: skip
PLAIN: Final[tuple[Kind, ...]] = (
    "kill", "pause", "cut", "down", "hold", "delay", "shuffle", "throttle", "full",
)  # fmt: skip
SHIELDED: Final[tuple[Kind, ...]] = (
    *PLAIN,
    "corrupt", "kill-relay", "pause-relay", "kill-launcher", "kill-volume", "service-away",
    "service-killed", "expelled", "certificate",
)  # fmt: skip

# A certificate has to end while its job goes on, so steps take longer.
SLOW: Final = frozenset({"certificate"})

Ending = Literal["right", "error", "wrong", "silent", "late"]
GOOD: Final[frozenset[Ending]] = frozenset({"right", "error"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: What.
        rank: Whose; of a link, the one that is behind it.
        at: Seconds after training began.
        lasts: Seconds until it is mended, where it can be.
    """

    kind: Kind
    rank: int
    at: float
    lasts: float

    def __str__(self) -> str:
        """Say it in a column of a table."""
        lasts = "ever" if self.lasts >= NEVER_S else f"{self.lasts:.1f}"
        return f"{self.kind}({self.rank}) at {self.at:.1f} for {lasts}"


@dataclass(frozen=True, slots=True)
class Case:
    """A job and what happens to it."""

    seed: int
    world: int
    faults: tuple[Fault, ...]

    @property
    def pause_s(self) -> float:
        """How long a step takes: long enough that a certificate ends while its job goes on."""
        slow = any(fault.kind in SLOW for fault in self.faults)
        return SLOW_PAUSE_S if slow else PAUSE_S

    @property
    def deadline_s(self) -> float:
        """When its job must have ended."""
        return DEADLINE_S + 2 * STEPS * self.pause_s


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended, as the operator sees it.

    Attributes:
        status: Exit status; None where it was still there at its deadline.
        code: What it said is wrong: one of our codes, or the program's own sentence.
        weights: The result; None for none.
        said: Its last words, for people.
        struck: How many faults found something to break: others came too late.
    """

    status: int | None
    code: str
    weights: ring.Vector | None
    said: str = ""
    struck: int = 0


@dataclass
class Report:
    """All cases so far."""

    endings: collections.Counter[Ending] = field(default_factory=collections.Counter)
    by_kind: dict[Kind, collections.Counter[Ending]] = field(default_factory=dict)
    codes: collections.Counter[str] = field(default_factory=collections.Counter)
    bad: list[str] = field(default_factory=list)
    faults: int = 0

    def add(self, case: Case, ending: Ending, end: End) -> None:
        """Count a case."""
        self.endings[ending] += 1
        self.faults += end.struck
        if ending == "error":
            self.codes[end.code] += 1
        for fault in case.faults:
            self.by_kind.setdefault(fault.kind, collections.Counter())[ending] += 1
        if ending not in GOOD:
            self.bad.append(f"seed {case.seed}: {ending}, {', '.join(map(str, case.faults))}")

    def table(self) -> str:
        """Return what happened, a line for each kind of fault."""
        endings: Sequence[Ending] = ("right", "error", "wrong", "silent", "late")
        rows = [f"{'fault':<16}" + "".join(f"{each:>8}" for each in endings)]
        for kind, counts in sorted(self.by_kind.items()):
            rows.append(f"{kind:<16}" + "".join(f"{counts[each]:>8}" for each in endings))
        rows.append(f"{'cases':<16}" + "".join(f"{self.endings[each]:>8}" for each in endings))
        rows += [f"  error {code}: {count}" for code, count in self.codes.most_common()]
        return "\n".join([*rows, *self.bad])


class System(Protocol):
    """A job that runs, in whatever surroundings."""

    ending_s: float
    """How long its end may take once the job's deadline has passed."""

    @property
    def training(self) -> bool:
        """Whether it has begun to train; faults count from there."""

    def strike(self, fault: Fault) -> bool:
        """Do a fault; tell whether there was anything to do it to."""

    def mend(self, fault: Fault) -> None:
        """Undo it, where it can be undone."""

    def look(self) -> bool:
        """Do what an operator does now and then; tell whether the job has ended."""

    def finish(self) -> End:
        """End what still runs, and say how it ended."""


def judge(case: Case, end: End) -> Ending:
    """Say what a job's end is worth."""
    if end.status is None:
        return "late"
    if end.status == 0:
        right = ring.reference(case.world, STEPS)
        same = end.weights is not None and np.array_equal(end.weights, right)
        return "right" if same else "wrong"
    return "error" if end.code else "silent"


def draw(seed: int, kinds: Sequence[Kind]) -> Case:
    """Return a case; the same one for the same seed."""
    rng = np.random.default_rng(seed)
    world = int(rng.integers(2, 4))
    faults = [
        Fault(
            kind=kinds[int(rng.integers(len(kinds)))],
            rank=int(rng.integers(world)),
            at=round(float(rng.uniform(0, STEPS * PAUSE_S)), 2),
            lasts=0.0,
        )
        for _ in range(1 + int(rng.random() < TWO))
    ]
    faults = [replace(fault, lasts=_lasts(fault.kind, rng)) for fault in faults]
    return Case(seed, world, tuple(sorted(faults, key=lambda fault: fault.at)))


def _lasts(kind: Kind, rng: np.random.Generator) -> float:
    if kind == "certificate":
        return 1.25 * CERTIFICATE_S
    if kind in {"service-away", "service-killed"} and rng.random() < A_MINUTE:
        return 60.0
    if rng.random() < NEVER_MENDED:
        return NEVER_S
    return round(float(rng.uniform(0.1, MOST_S)), 2)


def run_case(case: Case, system: System, *, deadline_s: float | None = None) -> End:
    """Run a job to its end, with its faults at their moments."""
    began = time.monotonic()
    deadline_s = case.deadline_s + system.ending_s if deadline_s is None else deadline_s
    trained: float | None = None
    struck: set[int] = set()
    events: list[tuple[float, int, bool]] = []
    for number, fault in enumerate(case.faults):
        events += [(fault.at, number, True), (fault.at + fault.lasts, number, False)]
    events.sort()
    while time.monotonic() - began < deadline_s:
        if system.look():
            break
        if trained is None and system.training:
            trained = time.monotonic()
        while trained is not None and events and time.monotonic() - trained >= events[0][0]:
            _, number, strikes = events.pop(0)
            if not strikes:
                system.mend(case.faults[number])
            elif system.strike(case.faults[number]):
                struck.add(number)
        time.sleep(LOOK_S)
    return replace(system.finish(), struck=len(struck))


class TinyDisk:
    """A folder on a file system of a few MiB, in a mount namespace that nobody else is in."""

    def __init__(self, folder: Path) -> None:
        """Mount it; the folder is empty for everybody else."""
        script = (
            f"mount -t tmpfs -o size={TMPFS_BYTES},mode=0700 tmpfs '{folder}' && echo ready && "
            "exec sleep 86400"
        )
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            raise RuntimeError("this machine mounts nothing for us")
        self.outside = Path(f"/proc/{self._holder.pid}/root{folder}")
        self.inside: Sequence[str] = ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--")
        self._filler = self.outside / "filler"

    def fill(self) -> None:
        """Leave no room."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(4096))

    def free(self) -> None:
        """Leave room again."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Let it go, with what is on it."""
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


def can_mount() -> bool:
    """Tell whether `TinyDisk` works for this user."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            TinyDisk(Path(folder)).close()
        except (OSError, RuntimeError):
            return False
    return True


def bend(link: BadLink, fault: Fault) -> None:
    """Do a fault of a link."""
    match fault.kind:
        case "cut":
            link.cut()
        case "down":
            link.down = True
            link.cut()
        case "hold":
            link.held = True
        case "delay":
            link.delay_s = 0.02
        case "shuffle":
            link.spread_s = 0.1
            link.cut()
        case "throttle":
            link.rate = 200_000
        case "corrupt":
            link.corrupt = True
        case _:
            raise AssertionError(fault.kind)


class PlainSystem:
    """Ranks as plain processes, with a bad link before each; all are started again together."""

    ending_s = 0.0

    def __init__(self, folder: Path, case: Case) -> None:
        """Start all."""
        self._case = case
        self._state = folder / "state"
        self._state.mkdir()
        self._log = (folder / "log").open("w+b")
        fills = any(fault.kind == "full" for fault in case.faults)
        self._disk = TinyDisk(self._state) if fills else None
        self._ports = [_free_port() for _ in range(case.world)]
        self._stack = contextlib.ExitStack()
        self._links = [
            self._stack.enter_context(BadLink(lambda port=port: ("127.0.0.1", port), seed=rank))
            for rank, port in enumerate(self._ports)
        ]
        self._starts = 0
        self._ranks: list[subprocess.Popen[bytes]] = []
        self._start()

    @property
    def training(self) -> bool:
        """Whether rank 0 said so."""
        return b"rank 0 begins" in self._said()

    def strike(self, fault: Fault) -> bool:
        """Do a fault."""
        match fault.kind:
            case "kill":
                self._ranks[fault.rank].send_signal(signal.SIGKILL)
            case "pause":
                self._ranks[fault.rank].send_signal(signal.SIGSTOP)
            case "full":
                assert self._disk is not None
                self._disk.fill()
            case _:
                bend(self._links[fault.rank], fault)
        return True

    def mend(self, fault: Fault) -> None:
        """Undo it."""
        match fault.kind:
            case "kill":
                pass
            case "pause":
                for each in self._ranks:
                    each.send_signal(signal.SIGCONT)
            case "full":
                assert self._disk is not None
                self._disk.free()
            case _:
                self._links[fault.rank].mend()

    def look(self) -> bool:
        """Start all again where one has failed, a few times."""
        ended = [each.poll() for each in self._ranks]
        if all(status == 0 for status in ended):
            return True
        if not any(ended):
            return False
        if self._starts > RESTARTS:
            return True
        self._end()
        self._start()
        return False

    def finish(self) -> End:
        """Say how it ended."""
        statuses = [each.poll() for each in self._ranks]
        self._end()
        try:
            worst = next((each for each in statuses if each), None)
            late = worst is None and None in statuses
            return End(
                status=None if late else worst or 0,
                code=_last_sentence(self._said()) if worst else "",
                weights=read_weights(self._disk.outside if self._disk else self._state),
                said=last_lines(self._said()),
            )
        finally:
            self._stack.close()
            self._log.close()
            if self._disk is not None:
                self._disk.close()

    def _start(self) -> None:
        self._starts += 1
        places = [f"127.0.0.1:{link.address[1]}" for link in self._links]
        for rank, port in enumerate(self._ports):
            variables = {
                "RANK": str(rank),
                "WORLD_SIZE": str(self._case.world),
                "RING": ",".join(places),
                "RING_BIND": f"127.0.0.1:{port}",
                "RING_STATE": str(self._state),
                "RING_STEPS": str(STEPS),
                "RING_PAUSE_S": str(self._case.pause_s),
                "OPENBLAS_NUM_THREADS": "1",
            }
            command = [*(self._disk.inside if self._disk else ()), sys.executable, ring.__file__]
            self._ranks.append(
                subprocess.Popen(
                    command, env=os.environ | variables, stdout=self._log, stderr=self._log
                )
            )

    def _end(self) -> None:
        for each in self._ranks:
            each.kill()
            each.wait()
        self._ranks = []

    def _said(self) -> bytes:
        self._log.flush()
        return Path(self._log.name).read_bytes()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def read_weights(state: Path) -> ring.Vector | None:
    try:
        return np.frombuffer((state / "final").read_bytes(), np.float64)
    except (OSError, ValueError):
        return None


def last_lines(said: bytes) -> str:
    """Return the end of what was said."""
    return "\n".join(said.decode("utf-8", "replace").splitlines()[-LAST_LINES:])


def _last_sentence(said: bytes) -> str:
    lines = [
        line
        for line in said.decode("utf-8", "replace").splitlines()
        if "broken" in line or "Error" in line
    ]
    return lines[-1].partition(":")[0] if lines else ""


def soak(
    faults: int,
    *,
    seed: int,
    system: Callable[[Path, Case], System],
    kinds: Sequence[Kind],
) -> Report:
    """Run cases until so many faults have struck."""
    report = Report()
    with contextlib.suppress(KeyboardInterrupt):  # what there is by then is worth a table
        _cases(report, faults, seed=seed, system=system, kinds=kinds)
    return report


def _cases(
    report: Report,
    faults: int,
    *,
    seed: int,
    system: Callable[[Path, Case], System],
    kinds: Sequence[Kind],
) -> None:
    number = seed
    while report.faults < faults:
        case = draw(number, kinds)
        number += 1
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="cluster-faults-") as folder:
            end = run_case(case, system(Path(folder), case))
        ending = judge(case, end)
        report.add(case, ending, end)
        sys.stderr.write(
            f"{report.faults:>4} (+{end.struck}) seed {case.seed} ranks {case.world} "
            f"{ending:<6} {end.code:<28.28} "
            f"{time.monotonic() - began:5.1f} s  {'; '.join(map(str, case.faults))}\n"
        )
        if ending != "right":
            sys.stderr.write("".join(f"          | {line}\n" for line in end.said.splitlines()))


def main() -> int:
    """Run the soak; its status is 1 where a case is bad."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], help="these kinds of faults only")
    parser.add_argument("--shielded", action="store_true", help="under Cloister")
    options = parser.parse_args()
    possible = SHIELDED if options.shielded else PLAIN
    kinds = [each for each in possible if each in (options.only or possible)]
    if "full" in kinds and not can_mount():
        sys.stderr.write("no full disks: this user mounts nothing\n")
        kinds.remove("full")
    with contextlib.ExitStack() as stack:
        system: Callable[[Path, Case], System] = PlainSystem
        if options.shielded:
            system = stack.enter_context(shielded())
        report = soak(options.faults, seed=options.seed, system=system, kinds=kinds)
    sys.stdout.write(f"{report.table()}\n")
    return 1 if report.bad else 0


@contextlib.contextmanager
def shielded() -> Iterator[Callable[[Path, Case], System]]:
    """Yield what makes a job under Cloister, in a trust domain of its own."""
    from soak.shielded_ring import Place, ShieldedSystem  # noqa: PLC0415  # it needs this module

    with tempfile.TemporaryDirectory(prefix="cluster-domain-") as folder:
        place = Place(Path(folder))
        try:
            yield lambda folder, case: ShieldedSystem(place, folder, case)
        finally:
            place.close()


if __name__ == "__main__":
    raise SystemExit(main())
