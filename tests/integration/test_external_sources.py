"""A key service as `cloister keyservice serve` starts it, and a store over real TLS."""

from __future__ import annotations

import itertools
import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import digest_to_text
from cloister.errors import UnavailableError
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.transport import HTTPTransport
from cloister.tee.sim.attester import SimAttester
from cloister.testing.vault import FakeVault, VaultAuthority, http_answer

CODE, RUNTIME = b"c" * 32, b"q" * 32
PATH = "secret/data/training/db"
_INSTANCES = itertools.count(1)
PROGRAM = "import sys; from cloister.cli.main import main; sys.exit(main())"
SERVE = (sys.executable, "-c", PROGRAM, "keyservice", "serve")


@dataclass
class Scene:
    """A domain, its running service, and a store that it may reach."""

    domain: TrustDomain
    transport: HTTPTransport
    vault: FakeVault
    authority: VaultAuthority
    log: Path

    @property
    def pinned(self) -> PinnedService:
        """What clients pin."""
        return PinnedService(self.domain.identity, self.domain.origin)

    def owner(self) -> OwnerClient:
        """The owner."""
        return OwnerClient(
            self.transport,
            self.pinned,
            owner=self.domain.owner_key(),
            reference=self.domain.service,
            clock=read_clock,
        )

    def put_source(self, *, address: str | None = None, ca: bytes | None = None) -> None:
        """Register the store."""
        self.owner().sources.put(
            self.vault.token.encode(),
            namespace="lab",
            name="vault",
            address=address or self.vault.address,
            ca=ca or self.authority.pem,
            service_hpke=self.domain.hpke,
        )

    def apply(self, name: str, *, external: bool) -> bytes:
        """Apply a policy with one secret."""
        kind = f"external: {{source: vault, path: {PATH}, field: password, max_bytes: 64}}"
        if not external:
            kind = "password: {length: 32, alphabet: abcdefghijklmnopqrstuvwxyz}"
        attester = SimAttester(self.domain.platform())
        text = f"""
policy: cloister/v1
name: {name}
namespace: lab
predecessor: none
roots_of_trust:
  sim:
    anchors: ["{self.domain.platform().anchor.text}"]
    measurement: ["{digest_to_text(attester.measurement)}"]
    minimum_svn: 1
    debug: refused
volumes: {{}}
secrets: {{db: {{{kind}}}}}
workloads:
  main:
    code: {{digests: ["{digest_to_text(CODE)}"]}}
    runtime: ["{digest_to_text(RUNTIME)}"]
    command: [python, /code/main.py]
    environment: {{A: "${{secret:db}}"}}
    volumes: {{}}
    listen: {{}}
    output: {{logs: drop}}
"""
        return self.owner().apply_policy(canonical_bytes(parse_policy(text.encode(), source="p")))

    def ask(self, policy: bytes, *, deadline_s: float) -> str:
        """Return the secret that a release brings."""
        client = ReleaseClient(self.transport, self.pinned, clock=read_clock, deadline_s=deadline_s)
        release = client.release(
            policy=policy,
            workload="main",
            instance=f"run-{next(_INSTANCES)}",
            measurement=LaunchMeasurement(code=CODE, runtime=RUNTIME),
            attester=SimAttester(self.domain.platform()),
        )
        return release.bundle.environment["A"]

    def trouble(self, code: str) -> None:
        """Wait until the owner is told that fetching fails with a code."""
        end = time.monotonic() + 20
        found = None
        while time.monotonic() < end:
            ((found,),) = (fact.waiting for fact in self.owner().sources.vaults("lab"))
            if found.code == code:
                return
            time.sleep(0.1)
        pytest.fail(f"{found} and not {code}")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Everything, running."""
    domain = TrustDomain.create(tmp_path / "domain", "example.test", moment=read_clock())
    authority = VaultAuthority(at=read_clock().at - 60)
    log = tmp_path / "log"
    with FakeVault(authority) as vault, log.open("wb") as stderr:
        vault.secrets[PATH] = {"password": "planted-value"}
        process = subprocess.Popen(
            [*SERVE, "--domain", str(domain.directory), "--listen", "127.0.0.1:0",
             "--external-source", vault.address],
            stdout=subprocess.PIPE,
            stderr=stderr,
        )  # fmt: skip
        assert process.stdout is not None
        with process, HTTPTransport(json.loads(process.stdout.readline())["url"]) as transport:
            yield Scene(domain, transport, vault, authority, log)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            process.wait(30)
            assert time.monotonic() - began < 8  # whatever a thread is waiting for
    for text in (log.read_bytes(), *(p.read_bytes() for p in domain.directory.rglob("*.log"))):
        assert b"planted" not in text


@pytest.mark.spec("EXT-31", "EXT-42", "EXT-45")
def test_a_value_comes_from_the_store_to_a_workload(scene: Scene) -> None:
    """A release that is early waits for it, in the client; the store is asked once."""
    scene.put_source()
    policy = scene.apply("mine", external=True)
    assert scene.ask(policy, deadline_s=20) == "planted-value"
    scene.vault.secrets[PATH] = {"password": "another"}
    assert scene.ask(policy, deadline_s=20) == "planted-value"
    assert len(scene.vault.heads) == 1


@pytest.mark.spec("EXT-36")
def test_a_store_that_says_nothing_delays_nobody_else(scene: Scene) -> None:
    """Releases, owners and the end of the process go on while a fetch hangs."""

    def hangs(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        time.sleep(15)

    scene.vault.respond = hangs
    scene.put_source()
    waiting = scene.apply("mine", external=True)
    other = scene.apply("other", external=False)
    while not scene.vault.heads:
        time.sleep(0.05)
    times = []
    for _ in range(5):
        began = time.monotonic()
        assert len(scene.ask(other, deadline_s=20)) == 32
        times.append(time.monotonic() - began)
    assert min(times) < 3
    with pytest.raises(UnavailableError) as e:
        scene.ask(waiting, deadline_s=2.0)
    assert e.value.code == "keyservice.source"


@pytest.mark.spec("EXT-31", "EXT-35", "EXT-37")
def test_what_goes_wrong_is_told_and_tried_again(scene: Scene) -> None:
    """An address that the operator did not name, another authority, a lie; then it is put right."""
    elsewhere = VaultAuthority(at=read_clock().at - 60)
    with FakeVault(elsewhere) as unnamed:
        unnamed.secrets[PATH] = {"password": "x"}
        scene.put_source(address=unnamed.address, ca=elsewhere.pem)
        policy = scene.apply("mine", external=True)
        scene.trouble("source.address")
        assert unnamed.heads == []
    scene.owner().sources.remove("lab", "vault")
    scene.put_source(ca=elsewhere.pem)
    scene.trouble("identity.tls")
    assert scene.vault.heads == []
    scene.owner().sources.remove("lab", "vault")
    scene.vault.respond = lambda c: c.sendall(http_answer(200, b'{"data": {"planted'))
    scene.put_source()
    scene.trouble("source.malformed")
    scene.vault.respond = None
    assert scene.ask(policy, deadline_s=20) == "planted-value"
