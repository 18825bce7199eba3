"""Attestation with key release: `key_release.py` in a process of its own, as rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import domain as domains
from pairs import Row

AIM_MS = 10.0


def rows(*, seconds: float, clients: tuple[int, ...]) -> Iterator[Row]:
    """Measure each number of clients; the aim is for one client, where nothing queues."""
    command = [sys.executable, str(Path(__file__).with_name("key_release.py"))]
    command += ["--seconds", str(seconds), "--clients", *map(str, clients)]
    environment = os.environ | {"PYTHONPATH": str(domains.SOURCES)}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=600
    )
    names = {
        "key_release.release": "attest and release a key",
        "key_release.anchor": "move a volume's anchor",
    }
    for line in done.stdout.splitlines():
        facts = json.loads(line)
        has_aim = facts["clients"] == 1 and facts["benchmark"] == "key_release.release"
        yield Row(
            part="key service",
            name=f"{names[facts['benchmark']]}, {facts['clients']} at a time",
            right=f"{facts['per_second']} a second",
            result=f"p50 {facts['p50_ms']:.1f} ms, p99 {facts['p99_ms']:.1f} ms",
            aim=f"p50 under {AIM_MS:g} ms" if has_aim else "",
            met=facts["p50_ms"] < AIM_MS if has_aim else None,
            facts=facts,
        )
