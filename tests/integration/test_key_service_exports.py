"""Two key services as `cloister keyservice serve` starts them, of two owners, over HTTP."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import digest_to_text
from cloister.errors import UnavailableError
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.log import LogEntry
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.transport import HTTPTransport
from cloister.tee.sim.attester import SimAttester

CODE, RUNTIME = b"c" * 32, b"q" * 32
_INSTANCES = itertools.count(1)
PROGRAM = "import sys; from cloister.cli.main import main; sys.exit(main())"
CLOISTER = (sys.executable, "-c", PROGRAM)
REMOTE = (
    "remote: {source: partner, namespace: feeds, policy: source, secret: key, epoch: EPOCH,"
    " max_bytes: 64}"
)


@dataclass
class Side:
    """One domain and its running service."""

    domain: TrustDomain
    address: str
    transport: HTTPTransport

    def owner(self) -> OwnerClient:
        """Its owner."""
        return OwnerClient(
            self.transport,
            PinnedService(self.domain.identity, self.domain.origin),
            owner=self.domain.owner_key(),
            reference=self.domain.service,
            clock=read_clock,
        )

    def apply(self, namespace: str, name: str, secret: str, before: bytes | None = None) -> bytes:
        """Apply a policy with one secret, `key`, which its workload reads."""
        predecessor = "none" if before is None else digest_to_text(before)
        text = f"""
policy: cloister/v1
name: {name}
namespace: {namespace}
predecessor: "{predecessor}"
roots_of_trust:
  sim:
    anchors: ["{self.domain.platform().anchor.text}"]
    measurement: ["{digest_to_text(self.domain.service.measurements[0])}"]
    minimum_svn: 1
    debug: refused
volumes: {{}}
secrets: {{key: {{{secret}}}}}
workloads:
  main:
    code: {{digests: ["{digest_to_text(CODE)}"]}}
    runtime: ["{digest_to_text(RUNTIME)}"]
    command: [python, /code/main.py]
    environment: {{A: "${{secret:key}}"}}
    volumes: {{}}
    listen: {{}}
    output: {{logs: drop}}
"""
        return self.owner().apply_policy(canonical_bytes(parse_policy(text.encode(), source="p")))

    def ask(self, policy: bytes, *, deadline_s: float) -> str:
        """Return the secret that a release brings."""
        client = ReleaseClient(
            self.transport,
            PinnedService(self.domain.identity, self.domain.origin),
            clock=read_clock,
            deadline_s=deadline_s,
        )
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
        end = time.monotonic() + 30
        found: object = None
        while time.monotonic() < end:
            ((found,),) = (fact.waiting for fact in self.owner().sources.services("lab"))
            if found.code == code:
                return
            time.sleep(0.1)
        pytest.fail(f"{found} and not {code}")

    def logged(self) -> list[tuple[str, str]]:
        """Operation and code of each decision of its log."""
        leaves, _ = self.owner().read_log(first=0, count=100, old=None)
        return [(leaf.operation, leaf.code) for leaf in leaves if isinstance(leaf, LogEntry)]


@contextmanager
def served(folder: Path, name: str, *sources: str) -> Iterator[Side]:
    """Make a domain and run its service, which may reach `sources`; it ends in time."""
    domain = TrustDomain.create(folder / name, name, moment=read_clock())
    words = [part for source in sources for part in ("--external-source", source)]
    log = folder / f"{name}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*CLOISTER, "keyservice", "serve", "--domain", str(domain.directory),
             "--listen", "127.0.0.1:0", *words],
            stdout=subprocess.PIPE,
            stderr=stderr,
        )  # fmt: skip
        assert process.stdout is not None
        with process:
            try:
                url = json.loads(process.stdout.readline())["url"]
                with HTTPTransport(url) as transport:
                    yield Side(domain, url.removeprefix("http://"), transport)
            finally:
                process.send_signal(signal.SIGTERM)
                began = time.monotonic()
                process.wait(30)
            assert time.monotonic() - began < 8  # whatever a thread is waiting for
    assert b"Traceback" not in log.read_bytes()


def cloister(side: Side, *words: str) -> str:
    """Run a command as a side's owner, against its running service."""
    facts = side.domain.directory / "domain.json"
    record = json.loads(facts.read_text("utf-8")) | {"url": f"http://{side.address}"}
    facts.write_text(json.dumps(record), encoding="utf-8")
    done = subprocess.run(
        [*CLOISTER, *words, "--domain", str(side.domain.directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.spec("EXP-23", "EXP-31", "EXP-40", "EXP-41", "EXP-60")
def test_a_secret_crosses_from_one_owners_service_to_anothers(tmp_path: Path) -> None:
    """By commands alone; what the exporter withdraws does not come again."""
    with ExitStack() as stack:
        far = stack.enter_context(served(tmp_path, "far.test"))
        near = stack.enter_context(served(tmp_path, "near.test", far.address))
        entry = cloister(near, "source", "entry", "lab", "keeper", "--lifetime", "600")
        cloister(near, "source", "pin", "lab", "partner", "--address", far.address,
                 "--of", str(far.domain.directory))  # fmt: skip
        policy = near.apply("lab", "keeper", REMOTE.replace("EPOCH", "1"))
        near.trouble("release.secret-not-exported")
        kind = "password: {length: 32, alphabet: abcdefghijklmnop}"
        exported = far.apply("feeds", "source", f"{kind}, export: [{entry.strip()}]")
        value = near.ask(policy, deadline_s=70)
        assert len(value) == 32
        assert value == far.ask(exported, deadline_s=10)
        assert near.owner().sources.services("lab")[0].waiting == ()
        assert ("secret.export", "release.secret-not-exported") in far.logged()
        assert ("secret.export", "") in far.logged()
        assert ("secret.fetch", "") in near.logged()
        far.apply("feeds", "source", f"{kind}, epoch: 2", exported)
        policy = near.apply("lab", "keeper", REMOTE.replace("EPOCH", "2") + ", epoch: 2", policy)
        near.trouble("release.secret-not-exported")
        with pytest.raises(UnavailableError) as e:
            near.ask(policy, deadline_s=0.5)
        assert e.value.code == "keyservice.source"
    for log in (tmp_path / "far.test.log", tmp_path / "near.test.log"):
        assert value.encode() not in log.read_bytes()


@pytest.mark.spec("EXP-40")
def test_an_exporter_that_says_nothing_delays_nobody_else(tmp_path: Path) -> None:
    """It accepts connections, sends a byte now and then, and is reached only if it is named."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        ended, asked = threading.Event(), threading.Event()

        def drip() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    asked.set()
                    with connection, suppress(OSError):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nA: ")
                        while not ended.wait(0.2):
                            connection.sendall(b"a")

        threading.Thread(target=drip, daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        near = stack.enter_context(served(tmp_path, "near.test", address))
        far = TrustDomain.create(tmp_path / "far.test", "far.test", moment=read_clock())
        pin = ("source", "pin", "lab", "partner", "--of", str(far.directory), "--address")
        cloister(near, *pin, "127.0.0.1:1")
        waiting = near.apply("lab", "keeper", REMOTE.replace("EPOCH", "1"))
        near.trouble("source.address")
        near.owner().sources.remove("lab", "partner")
        cloister(near, *pin, address)
        assert asked.wait(30)
        other = near.apply("lab", "other", "password: {length: 32, alphabet: abcdefghijklmnop}")
        times = []
        for _ in range(5):
            began = time.monotonic()
            assert len(near.ask(other, deadline_s=20)) == 32
            times.append(time.monotonic() - began)
        assert min(times) < 3
        near.trouble("keyservice.slow")
        with pytest.raises(UnavailableError) as e:
            near.ask(waiting, deadline_s=4.0)
        assert e.value.code == "keyservice.source"
        ended.set()
