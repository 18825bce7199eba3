"""Runs of one job through the command line: what their network carries, and what it does not."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from integration.cli.desk import Desk, await_true

pytestmark = [pytest.mark.slow]

PROGRAM = """
import os, socket, sys, time

def fails(name, step):
    try:
        step()
    except OSError as e:
        print(name, "fails", e.errno, flush=True)
    else:
        print(name, "works", flush=True)

def serve():
    listener = socket.create_server(("", 5000))
    print("ready", socket.gethostbyname(socket.gethostname()), flush=True)
    connection, _ = listener.accept()
    total = 0
    while data := connection.recv(1 << 18):
        total += len(data)
    connection.sendall(str(total).encode())
    connection.close()
    print("received", total, flush=True)

def hold(seconds=0):
    listener = socket.create_server(("", 5000))
    print("ready", flush=True)
    connection, _ = listener.accept()
    print("held", flush=True)
    try:
        while connection.recv(1024):
            pass
        print("ended", flush=True)
    except OSError as e:
        print("cut", e.errno, flush=True)
    time.sleep(float(seconds))

def talk(peer):
    connection = socket.create_connection((peer, 5000), timeout=60)
    print("connected", flush=True)
    try:
        while True:
            connection.sendall(b"still here ")
            time.sleep(0.05)
    except OSError as e:
        print("cut", e.errno, flush=True)
    time.sleep(60)

def send(peer):
    connection = socket.create_connection((peer, 5000), timeout=60)
    connection.sendall(b"MARKER " * 1000000)
    connection.shutdown(socket.SHUT_WR)
    print("answer", connection.recv(64).decode(), flush=True)

def probe():
    fails("foreign", lambda: socket.create_connection(("192.0.2.7", 443), timeout=5).recv(1))
    fails("port", lambda: socket.create_connection(("server", 5001), timeout=5).recv(1))
    fails("name", lambda: socket.create_connection(("nobody.example.net", 443), timeout=5))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fails("udp", lambda: udp.sendto(b"x", ("10.77.4.1", 9)))
    fails("six", lambda: socket.create_connection(("2001:db8::1", 443), timeout=5))

def outside(host, port, size):
    connection = socket.create_connection((host, int(port)), timeout=30)
    try:
        connection.sendall(b"x" * int(size))
        connection.shutdown(socket.SHUT_WR)
        print("outside says", connection.recv(64).decode() or "nothing", flush=True)
    except OSError as e:
        print("outside fails", e.errno, flush=True)

globals()[sys.argv[1]](*sys.argv[2:])
"""


class Job:
    """A policy with the roles `server` and `client`, and runs of them."""

    def __init__(self, desk: Desk) -> None:
        """Make the domain and the code."""
        self.desk = desk
        code = desk.folder / "code"
        code.mkdir()
        (code / "program.py").write_text(PROGRAM)
        (desk.folder / "peers").mkdir()
        desk.run("init", ".cloister", "--name", "example.org").good()
        self._hash = "none"

    def at(self, desk: Desk) -> Job:
        """Return the same job as seen from another desk in the same folder."""
        other = copy.copy(self)
        other.desk = desk
        return other

    def policy(self, server: str, client: str, *, extra: str = "", clients: int = 1) -> None:
        """Put a policy into force, in which both roles run one function of the program."""
        desk = self.desk
        shutil.rmtree(desk.folder / "drafts", ignore_errors=True)
        (desk.folder / "drafts").mkdir()
        drafted = "drafts/policy.yaml"
        desk.run(
            "policy", "draft", "--name", "job", "--workload", "server", "--code", "code",
            "--command", f"python /code/program.py {server}", "--output", drafted,
        ).good()  # fmt: skip
        text = (desk.folder / drafted).read_text()
        head, body = text.split("workloads:\n  server:\n")
        head = re.sub("(?m)^predecessor: .*$", f'predecessor: "{self._hash}"', head)
        one = body.replace("    output:", "    instances: {maximum: 1}\n    output:", 1)
        other = body.replace(
            "    output:",
            f"    instances: {{maximum: {clients}}}\n    connections: {{server: [5000]}}\n{extra}"
            "    output:",
            1,
        )
        words = [json.dumps(word) for word in ("/code/program.py", *client.split())]
        other = re.sub(
            r"(?m)^    command: .*$", f"    command: [python, {', '.join(words)}]", other
        )
        whole = f"{head}workloads:\n  server:\n{one}\n  client:\n{other}"
        (desk.folder / "policy.yaml").write_text(whole)
        desk.run("policy", "apply", "policy.yaml").good()
        self._hash = desk.run("policy", "hash", "policy.yaml").good().stdout.strip()

    @contextlib.contextmanager
    def run(self, role: str, *options: str, code: str = "code") -> Iterator[Run]:
        """Run a role while the block runs."""
        log = self.desk.folder / f"{role}-{time.monotonic_ns()}.log"
        receipt = log.with_suffix(".json")
        arguments = (
            "run", "policy.yaml", "--role", role, "--code", code, "--peers", "peers",
            "--receipt", str(receipt), *options,
        )  # fmt: skip
        with log.open("wb") as stream:
            process = subprocess.Popen(
                self.desk._command(arguments),
                cwd=self.desk.folder,
                env=self.desk._environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
            try:
                yield Run(process, log, receipt)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(timeout=30)


class Run:
    """One run."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, receipt: Path) -> None:
        """Remember where things are."""
        self.process, self.log, self._receipt = process, log, receipt

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")

    def says(self, text: str, *, timeout_s: float = 60) -> None:
        """Wait until it has said something."""

        def said() -> bool:
            return text in self.text or self.process.poll() is not None

        await_true(said, timeout_s=timeout_s)
        assert text in self.text, self.text

    def status(self) -> int:
        """Wait for its end."""
        return self.process.wait(timeout=60)

    def network(self) -> dict[str, Any]:
        """Return what its receipt says of the network."""
        return json.loads(self._receipt.read_text())["body"]["network"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    desk = Desk(tmp_path_factory.mktemp("network"))
    try:
        yield Job(desk)
    finally:
        desk.stop_service()


@pytest.fixture
def options(request: pytest.FixtureRequest) -> Sequence[str]:
    """With nftables, and without."""
    return ("--fixed-ports",) if request.param == "fixed" else ()


@pytest.mark.parametrize("options", ["redirected", "fixed"], indirect=True)
@pytest.mark.spec("RR-7")
def test_two_roles_talk(job: Job, options: Sequence[str]) -> None:
    """The client may start first; what it sends arrives, and both receipts say how much it was."""
    job.policy("serve", "send server")
    with job.run("client", *options) as client, job.run("server", *options) as server:
        assert client.status() == 0, client.text + server.text
        assert server.status() == 0, server.text
        assert "answer 7000000" in client.text
        assert "received 7000000" in server.text
        assert "ready 10.77.4.1" in server.text  # its own name is its virtual address
        sent, got = client.network(), server.network()
    assert sent["peers"] == {
        "server-0": {"opened": 1, "accepted": 0, "sent": 7_000_000, "received": 7}
    }
    assert got["peers"] == {
        "client-0": {"opened": 0, "accepted": 1, "sent": 7, "received": 7_000_000}
    }
    assert (sent["task"], sent["address"]) == ("client-0", "10.77.0.1")
    assert list((job.desk.folder / "peers").iterdir()) == []


def test_nothing_else_is_reached(job: Job) -> None:
    """Each try fails at once, and a person reads which line of the policy would allow it."""
    job.policy("serve", "probe")
    with job.run("client") as client:
        assert client.status() == 0, client.text
        text, network = client.text, client.network()
    for name in ("foreign", "port", "name", "udp", "six"):
        assert f"{name} fails" in text, text
    assert "workloads.client.connections.server: [5001]" in text
    assert "workloads.client.egress.nobody.example.net" in text
    assert "refused 192.0.2.7:443" in text
    assert network["refused"]["udp"] == 1
    assert network["refused"]["port"] == 1
    assert network["refused"]["address"] == 1
    assert network["peers"] == {}


def test_whoever_is_expelled_is_cut_off_within_seconds(job: Job) -> None:
    """The peer's program sees a reset; the expelled run is over, and says why."""
    job.policy("hold", "talk server")
    with job.run("server") as server, job.run("client") as client:
        server.says("held")
        members = job.desk.json("keyservice", "members", "job").good().record
        instance = next(m["instance"] for m in members["members"] if m["workload"] == "client")
        began = time.monotonic()
        job.desk.run("keyservice", "expel", "job", "client", instance).good()
        server.says("cut 104", timeout_s=10)
        assert time.monotonic() - began < 5
        assert client.status() != 0
        assert "release.not-member" in client.text


def test_a_newer_run_takes_the_place_of_one_that_was_killed(job: Job) -> None:
    """Nobody waits until the certificate of the first is over."""
    job.policy("serve", "send server")
    with job.run("server") as first:
        first.says("ready")
        os.killpg(first.process.pid, signal.SIGKILL)
        first.process.wait(timeout=10)
        with job.run("server") as second, job.run("client") as client:
            assert client.status() == 0, client.text + second.text
            assert second.status() == 0, second.text


def test_an_altered_program_does_not_join_and_the_others_hear_of_it(job: Job) -> None:
    """The key service refuses it by its digest; who is in the job is told of a refusal."""
    job.policy("serve", "send server", clients=2)
    altered = job.desk.folder / "altered"
    shutil.copytree(job.desk.folder / "code", altered, dirs_exist_ok=True)
    (altered / "program.py").write_text(PROGRAM + "\n# and sends a copy\n")
    with job.run("server") as server:
        server.says("ready")
        with job.run("client", "--index", "1", code="altered") as rogue:
            assert rogue.status() != 0
            assert "appraisal." in rogue.text
        server.says("client was refused: appraisal.", timeout_s=20)
        with job.run("client", "--index", "0") as client:
            assert client.status() == 0, client.text
            assert server.status() == 0


class Outside:
    """A server of the wide world: says how many bytes came."""

    def __init__(self) -> None:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            total = 0
            with contextlib.suppress(OSError), connection:
                while data := connection.recv(1 << 16):
                    total += len(data)
                connection.sendall(b"%d bytes" % total)

    def close(self) -> None:
        """Stop."""
        self._listener.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file of hosts, in a namespace of its own")
def test_egress_is_by_name_and_has_a_budget(job: Job) -> None:
    """What the policy names is reached, up to its bytes; the receipt says how many they were."""
    outside = Outside()
    hosts = job.desk.folder / "hosts"
    hosts.write_text("127.0.0.1 localhost tracker.example.net\n")
    wrap = (
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount --bind "$0" /etc/hosts && exec "$@"',
        str(hosts),
    )
    there = job.at(Desk(job.desk.folder, prefix=wrap))
    try:
        for size in (5000, 20_000):
            egress = (
                f"    egress: {{tracker.example.net: {{ports: [{outside.port}], bytes: 8000, "
                "rate: 1000000}}\n"
            )
            job.policy("serve", f"outside tracker.example.net {outside.port} {size}", extra=egress)
            with there.run("client") as client:
                assert client.status() == 0, client.text
                text, network = client.text, client.network()
            sent = network["egress"]["tracker.example.net"]["sent"]
            if size == 5000:
                assert "outside says 5000 bytes" in text
                assert sent == size
            else:
                assert "outside fails" in text, text
                assert "workloads.client.egress.tracker.example.net.bytes" in text
                assert sent <= 8000
    finally:
        outside.close()
