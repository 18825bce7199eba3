"""An hour of a key service in a few minutes: does its memory stay flat?

    python benchmarks/hour.py [--seconds 180] [--releases-an-hour 9000] [--output FOLDER]

The service's clock and its clients' go faster, so that an hour of lifetimes passes: challenges are
forgotten, certificates end, members lapse, new ones come. Of twenty operations fourteen are
releases (one of them to a new member, one sent once more afterwards, which is refused), three are
renewals, one is another program's and refused, and two are the owner's (a lease taken and broken; a
page of the log). Snapshots of the state come by themselves.

Every half second the service's memory, descriptors and the size of its state are noted. A line is
fitted to memory after two fifths of the releases, when every table and cache has had time to reach
its size. It must not rise by more than 192 KiB for 1000 releases. About 95 of them are meant: the
log's nodes, from which proofs are made, are 64 bytes for each entry, and beside 1000 releases come
half as many other entries. What is left is less than one log entry for each release. Exits with 1
where memory or descriptors grow. Writes `soak.json` and `soak.png` to the output folder, if one is
named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hour_server import hastened
from setting import MEASUREMENT, VOLUME, Setting, running

from cloister.attestation.measurement import LaunchMeasurement
from cloister.errors import RefusedError, UnavailableError
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import Clock
from cloister.keyservice.transport import HTTPTransport

HERE = Path(__file__).resolve().parent
HOUR_S = 3600
MOST_KIB = 192.0
MOST_DESCRIPTORS = 4
WARM_UP = 2 / 5
EVERY_S = 0.5
LONGEST = 3.0
LIFETIME_S = 300  # of a certificate: a member that comes once lapses many times within the hour
MEMBERS = 12
OTHER_PROGRAM = LaunchMeasurement(b"x" * 32, b"q" * 32)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the service held after so many releases."""

    at_s: float
    releases: int
    rss_kib: int
    anonymous_kib: int
    descriptors: int
    state_bytes: int


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line through samples: its value at zero, and its rise for each release."""

    start: float
    slope: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the samples after the warm-up say."""

    line: Line
    kib_per_1000: float
    descriptors_more: int
    state_bytes_each: float

    def is_flat(self, most_kib: float) -> bool:
        """Tell whether nothing grows that should not."""
        return self.kib_per_1000 <= most_kib and self.descriptors_more <= MOST_DESCRIPTORS


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """Fit a line by least squares; flat where all points lie at one place."""
    if not points:
        raise ValueError("no points")
    count = len(points)
    x_mean = sum(x for x, _ in points) / count
    y_mean = sum(y for _, y in points) / count
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / spread if spread else 0.0
    return Line(y_mean - slope * x_mean, slope)


def judge(samples: Sequence[Sample]) -> Verdict:
    """Compare what came after the warm-up with itself, and descriptors with those before."""
    warm = samples[-1].releases * WARM_UP
    before = [sample for sample in samples if sample.releases < warm]
    after = samples[len(before) :]
    line = fit([(sample.releases, sample.anonymous_kib) for sample in after])
    state = fit([(sample.releases, sample.state_bytes) for sample in after])
    most_before = max((sample.descriptors for sample in before), default=MOST_DESCRIPTORS)
    descriptors = max(sample.descriptors for sample in after) - most_before
    return Verdict(line, line.slope * 1000, descriptors, state.slope)


def observe(pid: int, state: Path, *, at_s: float, releases: int) -> Sample:
    """Look at a process and its state."""
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    )
    return Sample(
        at_s=round(at_s, 2),
        releases=releases,
        rss_kib=int(status["VmRSS"].split()[0]),
        anonymous_kib=int(status["RssAnon"].split()[0]),
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208  # names only
        state_bytes=sum(file.stat().st_size for file in state.iterdir() if file.is_file()),
    )


class Replaying:
    """A transport that can send what it sent last once more."""

    def __init__(self, url: str) -> None:
        """Send to `url`."""
        self._http = HTTPTransport(url)
        self._last: tuple[str, bytes] = ("", b"")

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Send and remember."""
        self._last = (path, body)
        return self._http.post(path, body, timeout_s=timeout_s)

    def again(self) -> None:
        """Send the last once more, and look at nothing of the answer: it is a refusal."""
        self._http.post(*self._last, timeout_s=10)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class Hour:
    """The operations of the hour, one after another on one thread."""

    def __init__(self, setting: Setting, clock: Clock) -> None:
        """Use a service that has its policy."""
        self._setting = setting
        self._clock = clock
        self._owner = setting.owner()
        self._members: deque[tuple[ReleaseClient, Replaying, str]] = deque()
        self._count = 0
        self.releases = 0
        self.done: dict[str, int] = {}

    def next(self) -> None:
        """Do the next operation."""
        turn = self._count % 20
        kind = {
            0: "new-member",
            3: "renewal",
            5: "other-program",
            8: "renewal",
            10: "lease",
            13: "renewal",
            15: "replay",
            18: "log-page",
        }.get(turn, "release")
        self._count += 1
        with contextlib.suppress(UnavailableError):  # slow or full for a moment: it goes on
            getattr(self, "_" + kind.replace("-", "_"))()
            self.done[kind] = self.done.get(kind, 0) + 1

    def _new_member(self) -> None:
        transport = Replaying(self._setting.url)
        client = ReleaseClient(transport, self._setting.pinned, clock=self._clock)
        self._members.append((client, transport, f"member-{self._count}"))
        if len(self._members) > MEMBERS:
            self._members.popleft()[1].close()  # it lapses when its certificate ends
        self._ask(self._members[-1])

    def _release(self) -> None:
        self._ask(self._turn())

    def _turn(self) -> tuple[ReleaseClient, Replaying, str]:
        self._members.rotate()
        return self._members[0]

    def _ask(
        self,
        member: tuple[ReleaseClient, Replaying, str],
        measurement: LaunchMeasurement = MEASUREMENT,
    ) -> None:
        member[0].release(
            policy=self._setting.policy,
            workload="w",
            instance=member[2],
            measurement=measurement,
            attester=self._setting.attester,
        )
        self.releases += 1

    def _renewal(self) -> None:
        client, _, instance = self._turn()
        with contextlib.suppress(RefusedError):  # it lapsed meanwhile
            client.renew(
                policy=self._setting.policy,
                workload="w",
                instance=instance,
                measurement=MEASUREMENT,
                attester=self._setting.attester,
            )

    def _other_program(self) -> None:
        try:
            self._ask(self._turn(), OTHER_PROGRAM)
        except RefusedError:
            return
        raise SystemExit("another program got a bundle")

    def _replay(self) -> None:
        member = self._turn()
        self._ask(member)
        member[1].again()

    def _lease(self) -> None:
        self._owner.take_lease(VOLUME)
        self._owner.break_lease(VOLUME)

    def _log_page(self) -> None:
        size = self._owner.status().checkpoint.size
        self._owner.read_log_page(first=max(0, size - 10), count=10, old_size=1)


def soak(*, seconds: float, releases_an_hour: int) -> tuple[list[Sample], dict[str, int]]:
    """Let an hour pass in so many seconds; return the samples, and how often what was done.

    Where the machine is too slow for that many releases, it goes on, three times as long at most.
    """
    start = {"start_at": time.time(), "start_uptime": time.monotonic(), "times": HOUR_S / seconds}  # noqa: TID251  # an edge
    clock = hastened(**start)
    options = [
        word
        for name, value in start.items()
        for word in (f"--{name.replace('_', '-')}", repr(value))
    ]
    program = [str(HERE / "hour_server.py"), *options, "--domain"]
    pause_s = seconds / releases_an_hour * 14 / 20
    samples: list[Sample] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), lambda directory: [*program, str(directory)], clock=clock) as (
            domain,
            url,
            pid,
        ),
    ):
        setting = Setting(domain, url, lifetime_s=LIFETIME_S, clock=clock)
        setting.prepare(volumes=0)
        hour = Hour(setting, clock)
        over = threading.Event()

        def look() -> None:
            began = time.monotonic()
            while not over.wait(EVERY_S):
                at_s = time.monotonic() - began
                samples.append(
                    observe(pid, domain.keyservice_directory, at_s=at_s, releases=hour.releases)
                )

        watching = threading.Thread(target=look)
        watching.start()
        try:
            due = time.monotonic()
            end = due + seconds
            while time.monotonic() < end or hour.releases < releases_an_hour:
                if time.monotonic() > end + (LONGEST - 1) * seconds:
                    break
                hour.next()
                due += pause_s
                time.sleep(max(0.0, due - time.monotonic()))
        finally:
            over.set()
            watching.join()
    return samples, hour.done


def plot(path: Path, samples: Sequence[Sample], verdict: Verdict) -> None:
    """Draw memory over releases, with the line that was fitted."""
    import matplotlib as mpl  # noqa: PLC0415  # slow to load

    mpl.use("agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415  # after the choice

    figure, axes = plt.subplots(figsize=(9, 5))
    places = [sample.releases for sample in samples]
    axes.plot(places, [s.anonymous_kib / 1024 for s in samples], label="memory of its own, MiB")
    axes.plot(places, [s.state_bytes / 2**20 for s in samples], label="state on disk, MiB")
    ends = (places[-1] * WARM_UP, places[-1])
    line = [(verdict.line.start + verdict.line.slope * place) / 1024 for place in ends]
    axes.plot(ends, line, "--", label=f"{verdict.kib_per_1000:+.0f} KiB for 1000 releases")
    axes.set_xlabel("releases")
    axes.set_ylim(bottom=0)
    axes.set_title("an hour of a key service")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Soak, judge, and write down what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="in which the hour passes")
    parser.add_argument("--releases-an-hour", type=int, default=9000)
    parser.add_argument("--most-kib", type=float, default=MOST_KIB, help="for 1000 releases")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    samples, done = soak(seconds=options.seconds, releases_an_hour=options.releases_an_hour)
    verdict = judge(samples)
    facts = {
        "benchmark": "key_release.soak",
        "seconds": options.seconds,
        "releases": samples[-1].releases,
        "operations": done,
        "rss_kib": samples[-1].rss_kib,
        "kib_per_1000": round(verdict.kib_per_1000, 1),
        "most_kib_per_1000": options.most_kib,
        "descriptors_more": verdict.descriptors_more,
        "state_bytes_each": round(verdict.state_bytes_each),
        "flat": verdict.is_flat(options.most_kib),
    }
    if options.output is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        record = facts | {"samples": [asdict(sample) for sample in samples]}
        (options.output / "soak.json").write_text(json.dumps(record) + "\n")
        plot(options.output / "soak.png", samples, verdict)
    print(json.dumps(facts), flush=True)
    sys.exit(0 if facts["flat"] else 1)


if __name__ == "__main__":
    main()
