"""How fast the key service attests and releases: one JSON row for each setting.

    python benchmarks/key_release.py [--seconds 5] [--clients 1 4 16]

Each client asks for a challenge, collects simulated evidence, gets its bundle, checks signature,
seal and receipt. `anchor` rows move a volume's anchor instead. The service runs as a process of its
own on loopback; each grant is on disk before it is answered. Beside wall time stands the processor
time that one operation takes on each side, which depends least on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cloister.attestation.measurement import LaunchMeasurement
from cloister.keyservice.anchors import AnchoredState, KeyServiceAnchor
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.transport import HTTPTransport
from cloister.tee.sim.attester import SimAttester

DIGEST = "sha256:" + "71" * 32
MEASUREMENT = LaunchMeasurement(b"q" * 32, b"q" * 32)
VOLUME = b"v" * 16
POLICY = """
policy: cloister/v1
name: bench
namespace: lab
predecessor: none
roots_of_trust:
  sim: {{anchors: ["{anchor}"], measurement: ["sha256:{image}"], minimum_svn: 1, debug: refused}}
volumes:
  data: {{id: "{volume}", root: latest}}
workloads:
  w:
    code: {{digests: ["{digest}"]}}
    runtime: ["{digest}"]
    command: [python, /code/x.py]
    environment: {{}}
    volumes: {{/data: {{volume: data, access: read}}}}
    listen: {{}}
    output: {{logs: pass}}
"""


def processor_s(pid: int) -> float:
    """Return the processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(make: Callable[[int], Callable[[], None]], clients: int, seconds: float) -> list[float]:
    """Repeat what `make` returns in so many threads; returns every duration in seconds."""
    times: list[float] = []
    steps = [make(number) for number in range(clients)]
    end = time.perf_counter() + seconds

    def run(step: Callable[[], None]) -> None:
        while time.perf_counter() < end:
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)

    threads = [threading.Thread(target=run, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def row(
    name: str, clients: int, seconds: float, times: list[float], processor: dict[str, float]
) -> None:
    """Print one row; `processor` is seconds for all operations together, by side."""
    ordered = sorted(times)
    facts = {
        "benchmark": f"key_release.{name}",
        "clients": clients,
        "count": len(times),
        "per_second": round(len(times) / seconds, 1),
        "p50_ms": round(statistics.median(times) * 1e3, 3),
        "p99_ms": round(ordered[math.ceil(0.99 * len(ordered)) - 1] * 1e3, 3),
    } | {f"{side}_cpu_ms": round(s * 1e3 / len(times), 3) for side, s in processor.items()}
    print(json.dumps(facts), flush=True)


def main() -> None:
    """Run every setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        domain = TrustDomain.create(Path(folder) / "domain", "bench.test", moment=read_clock())
        server = subprocess.Popen(
            [sys.executable, "-m", "cloister.keyservice.server", "--domain", str(domain.directory)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ),
        )
        try:
            if server.stdout is None:
                raise SystemExit(1)
            run_all(domain, json.loads(server.stdout.readline())["url"], server.pid, options)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


def run_all(domain: TrustDomain, url: str, server: int, options: argparse.Namespace) -> None:
    """Every number of clients, releases first, then anchors."""
    pinned = PinnedService(domain.identity, domain.origin)
    attester = SimAttester(domain.platform())
    owner = OwnerClient(
        HTTPTransport(url),
        pinned,
        owner=domain.owner_key(),
        reference=domain.service,
        clock=read_clock,
    )
    text = POLICY.format(
        anchor=domain.anchors["sim"][0].text,
        image=attester.measurement.hex(),
        volume=VOLUME.hex(),
        digest=DIGEST,
    )
    for number in range(1 + max(options.clients)):
        owner.register_volume(
            VOLUME if number == 0 else number.to_bytes(16, "big"),
            key=b"k" * 32,
            version=0,
            root=bytes(32),
            kind="data",
            service_hpke=domain.hpke,
        )
    policy = owner.apply_policy(canonical_bytes(parse_policy(text.encode(), source="bench.yaml")))

    def releasing(number: int) -> Callable[[], None]:
        client = ReleaseClient(HTTPTransport(url), pinned, clock=read_clock)
        instance = f"run-{number}-{os.urandom(8).hex()}"  # of a key that no other run has

        def step() -> None:
            client.release(
                policy=policy,
                workload="w",
                instance=instance,
                measurement=MEASUREMENT,
                attester=attester,
            )

        return step

    def anchoring(number: int) -> Callable[[], None]:
        volume = (number + 1).to_bytes(16, "big")
        held = owner.take_lease(volume)
        if held.lease is None:
            raise SystemExit(1)
        anchor = KeyServiceAnchor(
            HTTPTransport(url), pinned, volume=volume, lease=held.lease, clock=read_clock
        )
        state = held.state

        def step() -> None:
            nonlocal state
            version = state.version + 1
            after = AnchoredState(version, version.to_bytes(32, "big"), state.epoch)
            anchor.advance(
                version=state.version,
                root=state.root,
                new_version=after.version,
                new_root=after.root,
            )
            state = after

        return step

    for name, make in (("release", releasing), ("anchor", anchoring)):
        make(0)()
        for clients in options.clients:
            before = {"client": time.process_time(), "service": processor_s(server)}
            times = measure(make, clients, options.seconds)
            after = {"client": time.process_time(), "service": processor_s(server)}
            used = {side: after[side] - before[side] for side in before}
            row(name, clients, options.seconds, times, used)


if __name__ == "__main__":
    main()
