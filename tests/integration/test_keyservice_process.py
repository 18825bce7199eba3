"""The key service as a process: killed, started twice, slow, down, and under many clients at once.

`CLOISTER_KILLS` sets how often it is killed (20 unless told).
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import digest_to_text, sha256
from cloister.errors import CloisterError, TamperedError, UnavailableError
from cloister.keyservice.anchors import KeyServiceAnchor
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.clock import read_clock
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.embedded import EmbeddedTransport, ensure_service, running_service
from cloister.keyservice.log import verify_receipt
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.transport import HTTPTransport
from cloister.tee.sim.attester import SimAttester

KILLS = int(os.environ.get("CLOISTER_KILLS", "20"))
VOLUME = b"v" * 16
RUNTIME = b"q" * 32
SERVER = (sys.executable, "-m", "cloister.keyservice.server", "--domain")


_OPEN: list[HTTPTransport] = []


def transport(url: str) -> HTTPTransport:
    """A transport that the test's end closes."""
    _OPEN.append(HTTPTransport(url))
    return _OPEN[-1]


@pytest.fixture(autouse=True)
def _close_transports() -> Iterator[None]:
    """Leave no connection behind."""
    yield
    while _OPEN:
        _OPEN.pop().close()


class Server:
    """One server process of a domain on a loopback port, that can be killed and started again."""

    def __init__(self, domain: TrustDomain, *arguments: str) -> None:
        """Start it and wait until it is ready."""
        self.domain = domain
        self.arguments = arguments
        self.url = ""
        self.start()

    def start(self) -> None:
        """Start, on the same port as before."""
        port = self.url.rpartition(":")[2] or "0"
        self.process = subprocess.Popen(
            [
                *SERVER,
                str(self.domain.directory),
                "--listen",
                f"127.0.0.1:{port}",
                *self.arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        facts = json.loads(self.process.stdout.readline())
        self.url = facts["url"]
        assert facts["identity"] == self.domain.identity.text

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.stopped()

    def stopped(self) -> int:
        """Wait for the end; returns the exit status."""
        status = self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def owner(self, deadline_s: float = 30.0) -> OwnerClient:
        """The owner's client."""
        return OwnerClient(
            transport(self.url),
            PinnedService(self.domain.identity, self.domain.origin),
            owner=self.domain.owner_key(),
            reference=self.domain.service,
            clock=read_clock,
            deadline_s=deadline_s,
        )

    def anchor(self, lease: object, deadline_s: float = 30.0) -> KeyServiceAnchor:
        """A writer's anchor."""
        return KeyServiceAnchor(
            transport(self.url),
            PinnedService(self.domain.identity, self.domain.origin),
            volume=VOLUME,
            lease=lease,
            clock=read_clock,
            deadline_s=deadline_s,
        )


@pytest.fixture
def domain(tmp_path: Path) -> TrustDomain:
    """A new trust domain."""
    return TrustDomain.create(tmp_path / "domain", "example.test", moment=read_clock())


@pytest.fixture
def server(domain: TrustDomain) -> Iterator[Server]:
    """A running server with one registered volume."""
    server = Server(domain)
    register(server, VOLUME, server.owner())
    yield server
    if server.process.poll() is None:
        server.kill()


def register(server: Server, volume: bytes, owner: OwnerClient) -> None:
    """Register a volume that was never committed."""
    owner.register_volume(
        volume,
        key=sha256(volume),
        version=0,
        root=bytes(32),
        kind="data",
        service_hpke=server.domain.hpke,
    )


def root(version: int) -> bytes:
    """The root of a version in these tests."""
    return bytes(32) if version == 0 else sha256(version.to_bytes(8, "big"))


class Writers:
    """Two things that a service is asked to remember, over and over."""

    def __init__(self, server: Server, lease: object) -> None:
        """Nothing is acknowledged yet."""
        self.server = server
        self.anchor = server.anchor(lease, deadline_s=60.0)
        self.owner = server.owner(deadline_s=60.0)
        self.version = 0
        self.registered: list[bytes] = []
        self.problems: list[CloisterError] = []
        self.done = threading.Event()

    def run(self, step: Callable[[], None]) -> None:
        """Repeat until told to stop."""
        try:
            while not self.done.is_set():
                step()
        except CloisterError as e:
            self.problems.append(e)

    def advance(self) -> None:
        """Move the anchor by one version."""
        version = self.version
        self.anchor.advance(
            version=version,
            root=root(version),
            new_version=version + 1,
            new_root=root(version + 1),
        )
        self.version = version + 1

    def register(self) -> None:
        """Register one more volume."""
        volume = (len(self.registered) + 1).to_bytes(16, "big")
        register(self.server, volume, self.owner)
        self.registered.append(volume)


@pytest.mark.spec("KR-91")
def test_sigkill_loses_nothing_that_was_acknowledged(server: Server) -> None:
    """Killed at random points while an anchor moves and volumes are registered.

    After each restart the anchored state is the last acknowledged one, or the one that was being
    asked for; each acknowledged registration is there; and the same lease goes on.
    """
    lease = server.owner().take_lease(VOLUME).lease
    writers = Writers(server, lease)
    threads = [
        threading.Thread(target=writers.run, args=(writers.advance,)),
        threading.Thread(target=writers.run, args=(writers.register,)),
    ]
    for thread in threads:
        thread.start()
    for number in range(KILLS):
        time.sleep(0.05 + (number * 37 % 101) / 1000)
        server.kill()
        before, volumes = writers.version, list(writers.registered)
        server.start()
        state = server.anchor(lease).state()
        assert before <= state.version
        assert state.root == root(state.version)
        present = {record["id"] for record in server.owner().status().volumes}
        assert set(volumes) <= present
    writers.done.set()
    for thread in threads:
        thread.join(timeout=60)
    assert writers.problems == []
    assert writers.version > 0
    final = server.anchor(lease).state()
    assert (final.version, final.root) == (writers.version, root(final.version))
    for volume in writers.registered[-20:]:
        assert server.owner().volume_key(volume).keys.newest == sha256(volume)
    # The log has survived as well: each entry proves itself.
    entries, checkpoint = server.owner().read_log(first=0, count=1000, old=None)
    assert checkpoint.size >= len(entries) >= len(writers.registered) > 0


def test_a_slow_service_is_an_error_in_time(server: Server) -> None:
    """A service that is stopped, not dead: the client gives up at its deadline."""
    lease = server.owner().take_lease(VOLUME).lease
    anchor = server.anchor(lease, deadline_s=0.5)
    server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(UnavailableError) as e:
        anchor.state()
    assert time.monotonic() - began < 5
    server.process.send_signal(signal.SIGCONT)
    assert e.value.code == "keyservice.slow"
    assert anchor.state().version == 0


def test_a_service_that_is_down_is_an_error_in_time(server: Server) -> None:
    """Nobody listens: the client gives up at its deadline."""
    server.kill()
    with pytest.raises(UnavailableError) as e:
        server.owner(deadline_s=0.3).status()
    assert e.value.code == "keyservice.unreachable"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(server: Server, number: signal.Signals) -> None:
    """The journal is folded in, and the next start finds everything."""
    server.process.send_signal(number)
    assert server.stopped() == 0
    names = {path.name for path in server.domain.keyservice_directory.iterdir()}
    assert "state.db-wal" not in names
    server.start()
    assert len(server.owner().status().volumes) == 1


@pytest.mark.spec("KR-93")
def test_a_second_server_is_refused(server: Server) -> None:
    """It says why in one line of JSON, and exits with that status."""
    second = subprocess.run(
        [*SERVER, str(server.domain.directory), "--listen", "127.0.0.1:0"],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert json.loads(second.stdout)["error"]["code"] == "keyservice.busy"
    assert second.returncode == 75


def test_no_secret_reaches_the_servers_log(domain: TrustDomain) -> None:
    """Decisions are logged with their code; keys and tokens are not."""
    policy = apply_policy(domain, ensure_service(domain, deadline_s=30))
    with pytest.raises(CloisterError):
        release(domain, ensure_service(domain, deadline_s=30), policy, workload="steal")
    release(domain, ensure_service(domain, deadline_s=30), policy)
    text = (domain.keyservice_directory / "service.log").read_text()
    assert "release.workload-unknown" in text
    assert "release.granted identity=spiffe://example.test/lab/p/w/run-1" in text
    assert sha256(VOLUME).hex() not in text
    stop_embedded(domain)


def apply_policy(domain: TrustDomain, url: str) -> bytes:
    """A policy with one reader of the volume."""
    pinned = PinnedService(domain.identity, domain.origin)
    owner = OwnerClient(
        transport(url),
        pinned,
        owner=domain.owner_key(),
        reference=domain.service,
        clock=read_clock,
    )
    owner.register_volume(
        VOLUME,
        key=sha256(VOLUME),
        version=1,
        root=root(1),
        kind="data",
        service_hpke=domain.hpke,
    )
    text = f"""
policy: cloister/v1
name: p
namespace: lab
predecessor: none
roots_of_trust:
  sim:
    anchors: ["{domain.anchors["sim"][0].text}"]
    measurement: {{unchecked: "under test here"}}
    minimum_svn: 1
    debug: refused
volumes:
  data: {{id: "{VOLUME.hex()}", root: latest}}
workloads:
  w:
    code: {{digests: ["{digest_to_text(RUNTIME)}"]}}
    runtime: ["{digest_to_text(RUNTIME)}"]
    command: [python, /code/x.py]
    environment: {{}}
    volumes:
      /data: {{volume: data, access: read}}
    listen: {{}}
    output: {{logs: pass}}
"""
    return owner.apply_policy(canonical_bytes(parse_policy(text.encode(), source="p.yaml")))


def release(
    domain: TrustDomain, url: str, policy: bytes, *, workload: str = "w", instance: str = "run-1"
) -> bytes:
    """One release by a new requester; returns the volume's key, after checking the receipt."""
    pinned = PinnedService(domain.identity, domain.origin)
    found = ReleaseClient(transport(url), pinned, clock=read_clock).release(
        policy=policy,
        workload=workload,
        instance=instance,
        measurement=LaunchMeasurement(RUNTIME, RUNTIME),
        attester=SimAttester(domain.platform()),
    )
    entry = verify_receipt(found.bundle.receipt, service=domain.identity, origin=domain.origin)
    assert entry.instance == instance
    return found.bundle.volumes["/data"].keys.newest


def stop_embedded(domain: TrustDomain) -> None:
    """Stop the service that `ensure_service` started, by the process that holds its lock."""
    inode = (domain.keyservice_directory / "lock").stat().st_ino
    locks = Path("/proc/locks").read_text().splitlines()
    for pid in {int(line.split()[4]) for line in locks if line.split()[5].endswith(f":{inode}")}:
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 20
    while running_service(domain) is not None and time.monotonic() < end:
        time.sleep(0.02)


def test_many_at_once_get_their_own(domain: TrustDomain) -> None:
    """Fifty sessions from eight threads: each bundle opens for its own requester only."""
    url = ensure_service(domain, deadline_s=30)
    policy = apply_policy(domain, url)
    with ThreadPoolExecutor(8) as pool:
        keys = list(
            pool.map(lambda n: release(domain, url, policy, instance=f"run-{n}"), range(50))
        )
    assert keys == [sha256(VOLUME)] * 50
    stop_embedded(domain)


def test_two_starters_get_one_service(domain: TrustDomain) -> None:
    """Whoever comes second finds what the first one started."""
    with ThreadPoolExecutor(4) as pool:
        urls = set(pool.map(lambda _: ensure_service(domain, deadline_s=60), range(4)))
    assert len(urls) == 1
    text = (domain.keyservice_directory / "service.log").read_text()
    assert "server.failed" not in text
    stop_embedded(domain)


def test_an_embedded_service_waits_for_one_that_is_ending(domain: TrustDomain) -> None:
    """Between letting go of its socket and of its state, the next command does not fail."""
    held = os.open(domain.keyservice_directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    ending = threading.Timer(2.0, os.close, [held])
    ending.start()
    try:
        assert ensure_service(domain, deadline_s=60).startswith("unix://")
    finally:
        ending.join()
    log = (domain.keyservice_directory / "service.log").read_text()
    assert "keyservice.busy" in log
    stop_embedded(domain)


def test_an_embedded_service_ends_when_idle_and_comes_back(domain: TrustDomain) -> None:
    """Nothing is left running, and nothing is lost."""
    url = ensure_service(domain, deadline_s=30, idle_exit_s=1)
    apply_policy(domain, url)
    end = time.monotonic() + 20
    while running_service(domain) is not None and time.monotonic() < end:
        time.sleep(0.05)
    assert running_service(domain) is None
    again = ensure_service(domain, deadline_s=30, idle_exit_s=1)
    pinned = PinnedService(domain.identity, domain.origin)
    owner = OwnerClient(
        transport(again),
        pinned,
        owner=domain.owner_key(),
        reference=domain.service,
        clock=read_clock,
    )
    assert len(owner.status().policies) == 1


def test_a_command_that_was_busy_elsewhere_starts_it_again(domain: TrustDomain) -> None:
    """What converts a large model, or seals much, asks again when the service has ended."""
    with EmbeddedTransport(domain, deadline_s=30, idle_exit_s=1) as way:
        apply_policy(domain, way.url)
        owner = OwnerClient(
            way,
            PinnedService(domain.identity, domain.origin),
            owner=domain.owner_key(),
            reference=domain.service,
            clock=read_clock,
        )
        assert len(owner.status().policies) == 1
        end = time.monotonic() + 20
        while running_service(domain) is not None and time.monotonic() < end:
            time.sleep(0.05)
        assert running_service(domain) is None
        assert len(owner.status().policies) == 1


def test_an_embedded_service_that_cannot_start_says_why(domain: TrustDomain) -> None:
    """The reason crosses the process boundary as its own error."""
    path = domain.keyservice_directory / "state.db"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TamperedError) as e:
        ensure_service(domain, deadline_s=30)
    assert e.value.code == "state.tampered"


def test_a_domain_with_a_server_is_left_alone(domain: TrustDomain) -> None:
    """Its address is returned as it is."""
    path = domain.directory / "domain.json"
    path.write_text(path.read_text().replace('"embedded"', '"http://127.0.0.1:1"'))
    assert ensure_service(TrustDomain.load(domain.directory), deadline_s=1) == "http://127.0.0.1:1"


def test_memory_of_the_server_is_closed_to_its_own_user(server: Server) -> None:
    """No core dump, and its /proc entries belong to root."""
    limits = Path(f"/proc/{server.process.pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
