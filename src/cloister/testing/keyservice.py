"""A whole trust domain in one process, with a clock that tests move: the real service, no socket.

Example::

    bench = ServiceBench.create(tmp_path)
    digest = bench.apply(policy_text)
    release = bench.release_client().release(policy=digest, ...)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey
from cloister.errors import UnavailableError
from cloister.keyservice.anchors import KeyServiceAnchor
from cloister.keyservice.approvals import Approval
from cloister.keyservice.bundle import Bundle, Lease
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import Moment
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.member_client import MemberClient
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.policy.charter import charter_bytes
from cloister.keyservice.policy.model import Charter, Quotas
from cloister.keyservice.service import KeyService
from cloister.keyservice.store import Store
from cloister.keyservice.submissions import charter_subject, policy_subject
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.image import installed_image
from cloister.tee.sim.platform import SimPlatform

__all__ = ["CODE_ID", "DATA_ID", "MEASUREMENT", "HandClock", "ServiceBench", "policy_text"]

CODE_ID: Final = b"c" * 16
DATA_ID: Final = b"d" * 16
CODE_ROOT: Final = b"r" * 32
CODE_KEY: Final = b"K" * 32
DATA_KEY: Final = b"k" * 32
MEASUREMENT: Final = LaunchMeasurement(code=CODE_ROOT, runtime=b"q" * 32)
_START: Final = 1_800_000_000


class HandClock:
    """A clock that stands still until somebody moves it."""

    def __init__(self) -> None:
        """Start at a fixed instant."""
        self.at = _START
        self.uptime = 1000.0

    def __call__(self) -> Moment:
        """Read it."""
        return Moment(self.at, self.uptime)

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.at += int(seconds)
        self.uptime += seconds


@dataclass
class ServiceBench:
    """A domain, its open service, and everything needed to talk to it or to attack it.

    It is a `Transport` itself. `tap`, where set, sees each path, request and answer and returns the
    answer that the client gets: that is where an attacker sits.
    """

    domain: TrustDomain
    platform: SimPlatform
    store: Store
    service: KeyService
    clock: HandClock
    owner_key: SigningKey
    tap: Callable[[str, bytes, bytes], bytes] | None = None
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    down: bool = False

    @classmethod
    def create(cls, parent: Path, name: str = "example.test") -> ServiceBench:
        """Make a domain in a new directory `name` of `parent` and open its service."""
        clock = HandClock()
        domain = TrustDomain.create(parent / name, name, moment=clock(), image=_image())
        platform = domain.platform()
        store = Store.open(domain.keyservice_directory, platform)
        attester = SimAttester(platform, image=_image())
        service = KeyService(store, moment=clock(), attester=attester, witnesses=None)
        return cls(domain, platform, store, service, clock, domain.owner_key())

    def restart(self) -> None:
        """Close the service and open it again, as after a crash."""
        self.store.close()
        self.store = Store.open(self.domain.keyservice_directory, self.platform)
        self.service = KeyService(
            self.store, moment=self.clock(), attester=self.attester(), witnesses=None
        )

    def close(self) -> None:
        """Close the service."""
        self.store.close()

    def post(self, path: str, body: bytes, *, timeout_s: float) -> bytes:
        """Answer a request, unless the service is `down`."""
        if self.down:
            raise UnavailableError(f"down for {timeout_s} s", code="keyservice.unreachable")
        self.requests.append((path, body))
        answer = self.service.handle(path, body, self.clock()).body
        return answer if self.tap is None else self.tap(path, body, answer)

    @property
    def pinned(self) -> PinnedService:
        """What a client pins."""
        return PinnedService(self.domain.identity, self.domain.origin)

    def attester(self) -> SimAttester:
        """An attester on the domain's platform."""
        return SimAttester(self.platform, image=_image())

    def release_client(self) -> ReleaseClient:
        """A client with fresh keys, which gives up at once."""
        return ReleaseClient(self, self.pinned, clock=self.clock, deadline_s=0.0)

    def owner(self) -> OwnerClient:
        """The owner, who gives up at once."""
        return self.client(self.owner_key)

    def client(self, key: SigningKey) -> OwnerClient:
        """Whoever signs operations with a key, and gives up at once."""
        return OwnerClient(
            self,
            self.pinned,
            owner=key,
            reference=self.domain.service,
            clock=self.clock,
            deadline_s=0.0,
        )

    def charter(self, namespace: str, approvers: Sequence[SigningKey], **changes: Any) -> bytes:
        """Return the canonical bytes of a charter.

        Args:
            namespace: Where.
            approvers: All must approve, unless `threshold` says otherwise.
            **changes: Of `predecessor`, `threshold`, `timeout`, `readers` (keys) and each quota.
        """
        facts: dict[str, Any] = {"predecessor": "none", "timeout": 3600}
        facts |= {"threshold": len(approvers)} | changes
        quotas = {name: facts.get(name, plenty) for name, plenty in _PLENTY.items()}
        return charter_bytes(
            Charter(
                charter="cloister/namespace/v1",
                namespace=namespace,
                predecessor=facts["predecessor"],
                approvers=tuple(key.public.text for key in approvers),
                threshold=facts["threshold"],
                timeout=facts["timeout"],
                readers=tuple(key.public.text for key in facts.get("readers", ())),
                quotas=Quotas(**quotas),
            )
        )

    def approve(
        self, canonical: bytes, *keys: SigningKey, expires_at: int | None = None
    ) -> tuple[Approval, ...]:
        """Approve a charter's or policy's canonical bytes offline with each key."""
        of = charter_subject if b"cloister/namespace/v1" in canonical else policy_subject
        subject = of(canonical, service=self.domain.identity.raw)
        until = self.clock.at + 86400 if expires_at is None else expires_at
        return tuple(Approval.make(subject, key=key, expires_at=until) for key in keys)

    def anchor(self, volume: bytes, lease: Lease) -> KeyServiceAnchor:
        """An anchor for one lease, which gives up at once."""
        return KeyServiceAnchor(
            self, self.pinned, volume=volume, lease=lease, clock=self.clock, deadline_s=0.0
        )

    def member(self, bundle: Bundle) -> MemberClient:
        """A member's own operations, which give up at once."""
        return MemberClient(self, self.pinned, bundle, clock=self.clock, deadline_s=0.0)

    def register_volumes(
        self, client: OwnerClient | None = None, *, namespace: str = ROOT, first: bytes = b""
    ) -> None:
        """Register the code volume (version 3) and the data volume (never committed).

        Args:
            client: Who does; the owner if nobody is named.
            namespace: Where.
            first: What their identities begin with instead, so that several tenants have some.
        """
        owner = self.owner() if client is None else client
        for volume, key, version, root, kind in (
            (CODE_ID, CODE_KEY, 3, CODE_ROOT, "code"),
            (DATA_ID, DATA_KEY, 0, bytes(32), "data"),
        ):
            owner.register_volume(
                first + volume[len(first) :],
                key=key,
                version=version,
                root=root,
                kind=kind,
                service_hpke=self.domain.hpke,
                namespace=namespace,
            )

    def apply(self, text: str) -> bytes:
        """Apply a policy; returns its hash."""
        policy = parse_policy(text.encode(), source="policy.yaml")
        return self.owner().apply_policy(canonical_bytes(policy))


@cache
def _image() -> bytes:
    """Measure this installation once for all benches of a process."""
    return installed_image()


_PLENTY: Final = {
    "policies": 100,
    "volumes": 100,
    "secrets": 100,
    "members": 100,
    "requests_per_minute": 100_000,
}


def policy_text(bench: ServiceBench, *, predecessor: str = "none", **changes: str) -> str:
    """Write a policy for `bench` with one writer of the data volume and one reader.

    Args:
        bench: Whose platform and image it names.
        predecessor: `none` or a digest.
        **changes: Replacements for `anchor`, `measurement`, `svn`, `debug`, `runtime`, `root`,
            `roots`, `name`, `namespace`, `more` (lines at the end), `lifetime` (a line),
            `instances` (a line of both workloads), `trust` (all lines below `roots_of_trust`).
    """
    facts = {
        "name": "digits",
        "namespace": "lab",
        "more": "",
        "anchor": bench.platform.anchor.text,
        "measurement": f"[{digest_to_text(bench.attester().measurement)!r}]",
        "svn": "1",
        "debug": "refused",
        "runtime": f"[{digest_to_text(MEASUREMENT.runtime)!r}]",
        "root": digest_to_text(CODE_ROOT),
        "lifetime": "",
        "instances": "",
    } | changes
    simulated = f"""  sim:
    anchors: ["{facts["anchor"]}"]
    measurement: {facts["measurement"]}
    minimum_svn: {facts["svn"]}
    debug: {facts["debug"]}"""
    return f"""
policy: cloister/v1
name: {facts["name"]}
namespace: {facts["namespace"]}
predecessor: {predecessor}
{facts["lifetime"]}
roots_of_trust:
{facts.get("trust", simulated)}
volumes:
  data: {{id: "{DATA_ID.hex()}", root: latest}}
  code: {{id: "{CODE_ID.hex()}", root: "{facts["root"]}"}}
workloads:
  train:
    code: {{volume: code}}
    runtime: {facts["runtime"]}
    command: [python, /code/train.py, --epochs, "3"]
    environment: {{SEED: "7"}}
    volumes:
      /data: {{volume: data, access: write}}
    listen: {{}}
    {facts["instances"]}
    output: {{logs: pass}}
  serve:
    code: {{volume: code}}
    runtime: {facts["runtime"]}
    command: [python, /code/serve.py]
    environment: {{}}
    volumes:
      /data: {{volume: data, access: read}}
    listen:
      api: {{port: 0, clients: ["spiffe://example.test/lab/clients/ann/*"]}}
    {facts["instances"]}
    output: {{logs: drop}}
{facts["more"]}"""
