"""How fast the key service attests and releases: one JSON row for each setting.

    python benchmarks/key_release.py [--seconds 5] [--clients 1 16 128] [--round-trip-ms 93]

Each client asks for a challenge, collects simulated evidence, gets its bundle, checks signature,
seal and receipt. `release-tdx` and `release-snp` rows do it with evidence of machines of simulated
manufacturers, whose signing is in the client's processor time; the service judges it like genuine
evidence, endorsements of each request included. `anchor` rows move a volume's anchor instead. The
service runs as a process of its own on loopback, clients in up to four others; each grant is on
disk before it is answered. Beside wall time stands the processor time that one operation takes on
each side, which depends least on what else the machine does.

`path` rows compare where things are, through a relay that delays each direction: one client beside
the service (no delay, and 0.1 ms one way), one with a wide-area network between it and the service,
and one beside the service whose evidence a vendor's service judges first, across that network.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from setting import GENUINE, LISTEN, Setting, child, first_line, processor_s, running, tell

HERE = Path(__file__).resolve().parent
PROCESSES = 4
NEAR_MS = 0.1
FEW = 16  # clients with hardware's evidence, at most


def row(name: str, clients: int, times: list[float], **facts: object) -> None:
    """Print one row."""
    ordered = sorted(times)
    found = {
        "benchmark": f"key_release.{name}",
        "clients": clients,
        "count": len(times),
        "p50_ms": round(statistics.median(times) * 1e3, 3),
        "p99_ms": round(ordered[math.ceil(0.99 * len(ordered)) - 1] * 1e3, 3),
    }
    print(json.dumps(found | facts), flush=True)


class Measured:
    """One running service, and what is done to it."""

    def __init__(self, setting: Setting, service: int, seconds: float) -> None:
        """Measure each setting for so long."""
        self._setting = setting
        self._service = service
        self._seconds = seconds

    def throughput(self, kind: str, clients: int) -> None:
        """Print the row of one number of clients, in several processes."""
        count = min(clients, PROCESSES)
        shares = [[(kind, n) for n in range(first, clients, count)] for first in range(count)]
        orders = [{"clients": share, "in_turns": False} for share in shares]
        found, wall_s, service_s = self._run(orders, self._seconds)
        times = [duration for one in found for duration in one["times"]]
        client_s = sum(one["processor_s"] for one in found)
        row(
            kind,
            clients,
            times,
            per_second=round(len(times) / wall_s, 1),
            client_cpu_ms=round(client_s * 1e3 / len(times), 3),
            service_cpu_ms=round(service_s * 1e3 / len(times), 3),
        )

    def paths(self, round_trip_ms: float) -> None:
        """Print one row for each path; one client goes them in turns."""
        service = urlsplit(self._setting.url).netloc
        directory = str(self._setting.domain.directory)
        with ExitStack() as stack:

            def relayed(target: str, one_way_ms: float) -> int:
                options = ["--target", target, "--one-way-ms", str(one_way_ms)]
                relay = stack.enter_context(child([str(HERE / "relay.py"), *options]))
                return int(first_line(relay))

            vendor = stack.enter_context(child([str(HERE / "vendor.py"), "--domain", directory]))
            port, key = first_line(vendor).split()
            beside, near, far = (
                f"http://127.0.0.1:{relayed(service, one_way_ms)}"
                for one_way_ms in (0.0, NEAR_MS, round_trip_ms / 2)
            )
            far_vendor = relayed(f"127.0.0.1:{port}", round_trip_ms / 2)
            paths = {
                "beside": (0.0, ("release", 0, beside)),
                "near": (2 * NEAR_MS, ("release", 1, near)),
                "far-service": (round_trip_ms, ("release", 2, far)),
                "far-vendor": (round_trip_ms, ("vendor", 3, beside, far_vendor, key)),
            }
            clients = [client for _, client in paths.values()]
            order = {"clients": clients, "in_turns": True}
            (found,), _, _ = self._run([order], 4 * self._seconds)
        beside_s = statistics.median(found["times"][0])
        for (path, (delay_ms, _)), times in zip(paths.items(), found["times"], strict=True):
            ratio = round(statistics.median(times) / beside_s, 4)
            row("path", 1, times, path=path, round_trip_ms=delay_ms, times_beside=ratio)

    def _run(
        self, orders: list[dict[str, Any]], seconds: float
    ) -> tuple[list[dict[str, Any]], float, float]:
        """Have client processes do their orders at once.

        Returns what they say, the seconds that passed, and the service's processor time in them.
        """
        more = {
            "domain": str(self._setting.domain.directory),
            "url": self._setting.url,
            "seconds": seconds,
        }
        with ExitStack() as stack:
            program = [str(HERE / "client_process.py")]
            processes = [stack.enter_context(child(program)) for _ in orders]
            for process, order in zip(processes, orders, strict=True):
                tell(process, json.dumps(order | more))
            for process in processes:
                first_line(process)
            began, before = time.perf_counter(), processor_s(self._service)
            for process in processes:
                tell(process, "")
            found = [json.loads(first_line(process)) for process in processes]
            wall_s, used_s = time.perf_counter() - began, processor_s(self._service) - before
            return found, wall_s, used_s


def main() -> None:
    """Run every setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 128])
    parser.add_argument(
        "--round-trip-ms", type=float, default=93.0, help="of the wide-area network; 0 for no paths"
    )
    options = parser.parse_args()
    server = ["-m", "cloister.keyservice.server", *LISTEN, "--domain"]
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), lambda directory: [*server, str(directory)]) as (domain, url, pid),
    ):
        setting = Setting(domain, url)
        setting.prepare(volumes=max(options.clients))
        measured = Measured(setting, pid, options.seconds)
        setting.apply_genuine()
        kinds = {
            "release": options.clients,
            **{f"release-{kind}": [n for n in options.clients if n <= FEW] for kind in GENUINE},
            "anchor": options.clients,
        }
        for kind, numbers in kinds.items():
            for clients in numbers:
                measured.throughput(kind, clients)
        if options.round_trip_ms:
            measured.paths(options.round_trip_ms)


if __name__ == "__main__":
    main()
