"""The service that `key_release.py` and `hour.py` measure, and what its clients must know."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cloister.attestation.measurement import LaunchMeasurement
from cloister.keyservice.clock import Clock, read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import canonical_bytes, parse_policy, policy_hash
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.transport import HTTPTransport
from cloister.tee.sim.attester import SimAttester
from cloister.testing.genuine import SnpMachine, TdMachine, section
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.intel import SimulatedIntel

SIM = """  sim:
    anchors: ["{anchor}"]
    measurement: ["sha256:{image}"]
    minimum_svn: 1
    debug: refused"""
DIGEST = "sha256:" + "71" * 32
MEASUREMENT = LaunchMeasurement(b"q" * 32, b"q" * 32)
VOLUME = b"v" * 16
GENUINE = ("tdx", "snp")
LISTEN = ("--listen", "127.0.0.1:0")
POLICY = """
policy: cloister/v1
name: {name}
namespace: lab
predecessor: none
certificate_lifetime: {lifetime}
roots_of_trust:
{trust}
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


@dataclass(frozen=True)
class Setting:
    """A domain with a running service under one policy."""

    domain: TrustDomain
    url: str
    lifetime_s: int = 86400
    clock: Clock = read_clock

    @classmethod
    def load(cls, directory: Path, url: str) -> Setting:
        """Read a domain that another process has made."""
        return cls(TrustDomain.load(directory), url)

    @property
    def pinned(self) -> PinnedService:
        """What clients pin."""
        return PinnedService(self.domain.identity, self.domain.origin)

    @cached_property
    def attester(self) -> SimAttester:
        """The platform that all clients run on."""
        return SimAttester(self.domain.platform())

    @cached_property
    def parsed(self) -> Policy:
        """The one policy."""
        trust = SIM.format(
            anchor=self.domain.anchors["sim"][0].text, image=self.attester.measurement.hex()
        )
        return self._policy("bench", trust)

    def _policy(self, name: str, trust: str) -> Policy:
        text = POLICY.format(
            name=name,
            trust=trust,
            volume=VOLUME.hex(),
            digest=DIGEST,
            lifetime=self.lifetime_s,
        )
        return parse_policy(text.encode(), source="bench.yaml")

    def machine(self, kind: str) -> TdMachine | SnpMachine:
        """A machine of a simulated manufacturer, the same in every process."""
        at = int((self.domain.directory / "domain.json").stat().st_mtime)
        if kind == "tdx":
            return TdMachine(SimulatedIntel(b"bench", at=at))
        return SnpMachine(SimulatedAmd(b"bench", "Genoa", now=at))

    def genuine(self, kind: str) -> Policy:
        """The policy that accepts that machine alone."""
        machine = self.machine(kind)
        trust = section(kind, anchors=[machine.anchor], measurement=machine.measurement)
        return self._policy(f"bench-{kind}", trust)

    @cached_property
    def policy(self) -> bytes:
        """Its hash."""
        return policy_hash(self.parsed)

    def owner(self) -> OwnerClient:
        """Whoever founded the domain."""
        return OwnerClient(
            HTTPTransport(self.url),
            self.pinned,
            owner=self.domain.owner_key(),
            reference=self.domain.service,
            clock=self.clock,
        )

    def register(self, owner: OwnerClient, volume: bytes) -> None:
        """Register a volume's key."""
        owner.register_volume(
            volume,
            key=b"k" * 32,
            version=0,
            root=bytes(32),
            kind="data",
            service_hpke=self.domain.hpke,
        )

    def prepare(self, volumes: int) -> None:
        """Put the policy into force, with so many volumes more than it names."""
        owner = self.owner()
        for number in range(1 + volumes):
            self.register(owner, VOLUME if number == 0 else number.to_bytes(16, "big"))
        owner.apply_policy(canonical_bytes(self.parsed))

    def apply_genuine(self) -> None:
        """Put the policies about simulated manufacturers' machines into force."""
        for kind in GENUINE:
            self.owner().apply_policy(canonical_bytes(self.genuine(kind)))


@contextmanager
def child(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program of ours until the block ends."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def first_line(process: subprocess.Popen[str]) -> str:
    """Return what a program says when it is ready."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise SystemExit(f"{process.args} did not start")
    return line


def tell(process: subprocess.Popen[str], line: str) -> None:
    """Give a program a line to read."""
    if process.stdin is not None:
        process.stdin.write(line + "\n")
        process.stdin.flush()


@contextmanager
def running(
    folder: Path, command: Callable[[Path], list[str]], *, clock: Clock = read_clock
) -> Iterator[tuple[TrustDomain, str, int]]:
    """Make a domain in `folder` and run its service; give the domain, the address and the pid."""
    domain = TrustDomain.create(folder / "domain", "bench.test", moment=clock())
    with child(command(domain.directory)) as process:
        yield domain, json.loads(first_line(process))["url"], process.pid


def processor_s(pid: int) -> float:
    """Return the processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
