"""The HTTP interface of the real service: against its document, its logs, and its end."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloister.crypto.digest import sha256
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.messages import CHALLENGE_PATH, ChallengeRequest
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.transport import HTTPTransport
from cloister.keyservice.view.token import ViewToken
from cloister.tee.sim.attester import SimAttester
from cloister.testing.keyservice import policy_text

SERVER = (sys.executable, "-m", "cloister.keyservice.server", "--listen", "127.0.0.1:0")
VOLUME = b"v" * 16


class Running:
    """A served trust domain with a volume and a policy, and its log."""

    def __init__(self, folder: Path) -> None:
        """Make it, start it, and tell it something."""
        self.domain = TrustDomain.create(folder / "domain", "example.test", moment=read_clock())
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*SERVER, "--domain", str(self.domain.directory), "--log-format", "json"],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        self.url: str = json.loads(self.process.stdout.readline())["url"]
        self.port = int(self.url.rpartition(":")[2])
        self.register(VOLUME)
        with HTTPTransport(self.url) as transport:
            policy = canonical_bytes(self._policy())
            self.policy = self._owner(transport).apply_policy(policy)

    def register(self, volume: bytes) -> None:
        """Register a volume."""
        with HTTPTransport(self.url) as transport:
            self._owner(transport).register_volume(
                volume,
                key=sha256(volume),
                version=1,
                root=bytes(32),
                kind="data",
                service_hpke=self.domain.hpke,
            )

    def _owner(self, transport: HTTPTransport) -> OwnerClient:
        return OwnerClient(
            transport,
            PinnedService(self.domain.identity, self.domain.origin),
            owner=self.domain.owner_key(),
            reference=self.domain.service,
            clock=read_clock,
        )

    def _policy(self) -> Policy:
        bench = SimpleNamespace(
            platform=self.domain.platform(), attester=lambda: SimAttester(self.domain.platform())
        )
        text = policy_text(bench)
        return parse_policy(text.encode(), source="p.yaml")

    def token(self, scope: str = "view") -> str:
        """A token of the owner's."""
        token = ViewToken.make(self.domain.identity, scope=scope, hours=1, at=read_clock().at)
        return token.signed(self.domain.owner_key())

    def get(self, path: str, token: str = "") -> tuple[int, bytes]:
        """Look at something."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            client.request("GET", path, headers=headers)
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end and wait."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """One for each test."""
    running = Running(tmp_path)
    yield running
    running.close()


@pytest.mark.slow
@pytest.mark.spec("KH-1", "KH-3", "KH-4")
def test_schemathesis_finds_nothing(running: Running) -> None:
    """All of its checks, over every operation of the document that the service itself serves."""
    pytest.importorskip("schemathesis", reason="schemathesis is not installed; make setup")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{running.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {running.token()}"),
            *("--checks", "all", "--max-examples", "25", "--seed", "1", "--workers", "1"),
            *("--request-timeout", "10", "--generation-deterministic", "--no-color"),
            *("--phases", "examples,coverage,fuzzing"),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=running.log.parent,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout
    assert running.get("/healthz")[0] == 200
    assert '"level": "error"' not in running.log.read_text()


def test_no_secret_and_no_token_reaches_the_log(running: Running) -> None:
    """Marked secrets are asked for and sent in every way; the log is lines of JSON without them."""
    token, wrong = running.token(), "bWFya2VkLWFzLXNlY3JldA"
    for path in ("/v1/volumes", "/v1/policies", "/metrics", "/v1/log/entries?first=0&count=9"):
        assert running.get(path, token)[0] == 200
        assert running.get(path, wrong)[0] == 401
    running.get(f"/{wrong}?{wrong}={wrong}")
    running.end()
    text = running.log.read_text()
    events = [json.loads(line)["event"] for line in text.splitlines()]
    assert {"owner.done", "view.answered", "view.refused", "server.stopped"} <= set(events)
    secrets = (sha256(VOLUME), running.domain.owner_key().to_secret())
    for secret in (token, wrong, *(each.hex() for each in secrets)):
        assert secret not in text


def test_metrics_count_what_happened(running: Running) -> None:
    """Challenges, owner requests, commits, and who looks."""
    text = running.get("/metrics", running.token("metrics"))[1].decode()
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    prefix = "cloister_keyservice_"
    assert found[prefix + 'requests_total{path="/v1/owner",code="ok"}'] == "2"
    assert found[prefix + "commit_seconds_count"] == "2"
    assert found[prefix + "log_size"] == "2"
    assert found[prefix + "connections"] == "1"
    assert float(found[prefix + "commit_seconds_sum"]) > 0


def test_it_ends_when_what_it_accepted_is_answered(running: Running) -> None:
    """SIGTERM in the middle of a request: no new connection, an answer, and the end, in time."""
    body = ChallengeRequest(b"n" * 32).to_bytes()
    head = f"POST {CHALLENGE_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(head.encode() + body[:5])
        time.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", running.port), timeout=1).close()
            except OSError:
                break
            time.sleep(0.02)
        else:
            pytest.fail("it still listens")
        connection.sendall(body[5:])
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
    assert running.process.wait(timeout=10) == 0


def test_a_request_that_never_ends_does_not_keep_it(running: Running) -> None:
    """After five seconds it goes."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
        connection.sendall(b"POST /v1/challenge HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.3)
        began = time.monotonic()
        assert running.end() == 0
        assert time.monotonic() - began < 9
