"""Attestation with key release: `key_release.py` in a process of its own, as rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import domain as domains
from pairs import Row

PART = "key service"
AIM_MS = 5.0  # one client, where nothing queues
AIM_PER_SECOND = 250
ROUND_TRIP_MS = 93.0  # three of them are what waiting for a vendor took in the papers
PAPERS = "papers: 17 ms beside, 325 ms with a vendor, 19 times"
MOST_DESCRIPTORS = 4
QUICK_KIB = 2048
NAMES = {
    "key_release.release": "attest and release a key",
    "key_release.release-tdx": "the same by TDX evidence (simulated manufacturer)",
    "key_release.release-snp": "the same by SEV-SNP evidence (simulated manufacturer)",
    "key_release.anchor": "move a volume's anchor",
}
PATHS = {
    "beside": "path: beside the workload",
    "near": "path: the service in the same building ({:g} ms round trip)",
    "far-service": "path: the service across a wide-area network ({:g} ms; two round trips)",
    "far-vendor": "path: a vendor judges first, across it ({:g} ms; three round trips more)",
}


def rows(*, seconds: float, clients: tuple[int, ...]) -> Iterator[Row]:
    """Measure each number of clients, then each path."""
    command = [sys.executable, str(Path(__file__).with_name("key_release.py"))]
    command += ["--seconds", str(seconds), "--clients", *map(str, clients)]
    command += ["--round-trip-ms", str(ROUND_TRIP_MS)]
    environment = os.environ | {"PYTHONPATH": str(domains.SOURCES)}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=900
    )
    for line in done.stdout.splitlines():
        facts = json.loads(line)
        is_path = facts["benchmark"] == "key_release.path"
        yield path_row(facts) if is_path else throughput_row(facts)


def soak_rows(*, output: Path, quick: bool) -> Iterator[Row]:
    """Let an hour pass in minutes, and look whether the service's memory stays flat.

    A quick one ends before every cache has its size, and is judged by a looser bound.
    """
    seconds, releases_an_hour = (20, 1500) if quick else (180, 9000)
    command = [sys.executable, str(Path(__file__).with_name("hour.py"))]
    command += ["--seconds", str(seconds), "--releases-an-hour", str(releases_an_hour)]
    command += ["--most-kib", str(QUICK_KIB)] if quick else []
    environment = os.environ | {"PYTHONPATH": str(domains.SOURCES)}
    done = subprocess.run(
        [*command, "--output", str(output)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,  # 1 says that something grew, which is a result
        timeout=900,
    )
    yield soak_row(json.loads(done.stdout))


def soak_row(facts: Mapping[str, Any]) -> Row:
    """Return the row of one soak."""
    most = facts["most_kib_per_1000"]
    return Row(
        part="memory",
        name=f"an hour of a key service in {facts['seconds']:g} s: {facts['releases']} releases, "
        f"{sum(facts['operations'].values())} operations",
        right=f"{facts['rss_kib'] / 1024:.0f} MiB resident",
        result=f"{facts['kib_per_1000']:+.0f} KiB for 1000 releases, "
        f"{facts['descriptors_more']:+d} descriptors; "
        f"state on disk {facts['state_bytes_each']:+d} bytes a release",
        aim=f"at most {most:g} KiB and {MOST_DESCRIPTORS} descriptors",
        met=facts["flat"],
        facts=facts,
    )


def throughput_row(facts: Mapping[str, Any]) -> Row:
    """Return the row of one number of clients, with its aim where it has one."""
    aim, met = "", None
    if facts["benchmark"] == "key_release.release" and facts["clients"] == 1:
        aim, met = f"p50 under {AIM_MS:g} ms", facts["p50_ms"] < AIM_MS
    elif facts["benchmark"] == "key_release.release" and facts["clients"] == 16:
        aim, met = f"{AIM_PER_SECOND} a second", facts["per_second"] >= AIM_PER_SECOND
    return Row(
        part=PART,
        name=f"{NAMES[facts['benchmark']]}, {facts['clients']} at a time",
        right=f"{facts['per_second']} a second",
        result=f"{_times(facts)}; {_processor(facts)}",
        aim=aim,
        met=met,
        facts=facts,
    )


def path_row(facts: Mapping[str, Any]) -> Row:
    """Return the row of one path, as a multiple of the way to a service beside the workload."""
    return Row(
        part=PART,
        name=PATHS[facts["path"]].format(facts["round_trip_ms"]),
        left=PAPERS if facts["path"] == "far-vendor" else "",
        right=_times(facts),
        result=f"{facts['times_beside']:.2f} times beside",
        facts=facts,
    )


def _times(facts: Mapping[str, Any]) -> str:
    return f"p50 {facts['p50_ms']:.1f} ms, p99 {facts['p99_ms']:.1f} ms"


def _processor(facts: Mapping[str, Any]) -> str:
    return f"processor {facts['client_cpu_ms']:.2f} + {facts['service_cpu_ms']:.2f} ms"
