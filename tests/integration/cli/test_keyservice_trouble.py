"""A key service that is down, silent, restarted, slow, or lives in another hour."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.cli.conftest import furnish
from integration.cli.desk import Desk

pytestmark = pytest.mark.fuse

# The real server with a clock of its own, in seconds beside the machine's.
_SHIFTED = """
import sys
from cloister.keyservice import clock, server
shift = int(sys.argv.pop(1))
def read():
    now = clock.read_clock()
    return clock.Moment(now.at + shift, now.uptime)
server.read_clock = read
sys.exit(server.main(sys.argv[1:], get=None))
"""


class Remote:
    """A desk whose key service is a server on a port, which tests stop, start and replace."""

    def __init__(self, desk: Desk) -> None:
        """Choose a port and note it in the trust domain."""
        self.desk = desk
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.point_at(self.port)

    def point_at(self, port: int) -> None:
        """Say in domain.json where the key service answers."""
        path = self.desk.folder / ".cloister" / "domain.json"
        facts = json.loads(path.read_text()) | {"url": f"http://127.0.0.1:{port}"}
        path.write_text(json.dumps(facts))

    @contextlib.contextmanager
    def served(self, *, shift_s: int = 0) -> Iterator[subprocess.Popen[str]]:
        """Run the server while the block runs."""
        arguments = ["--domain", ".cloister", "--listen", f"127.0.0.1:{self.port}"]
        process = subprocess.Popen(
            [sys.executable, "-c", _SHIFTED, str(shift_s), *arguments],
            cwd=self.desk.folder,
            env=self.desk._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert "url" in json.loads(process.stdout.readline())
            yield process
        finally:
            process.kill()
            process.communicate(timeout=30)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Remote:
    """A furnished desk whose embedded key service has ended."""
    desk = furnish(Desk(tmp_path_factory.mktemp("remote")))
    desk.stop_service()
    return Remote(desk)


@contextlib.contextmanager
def _relay(port: int, *, delay_s: float | None) -> Iterator[int]:
    """Listen on a port of its own; pass bytes on to `port` late, or with None never answer."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    near, _ = listener.accept()
                except OSError:
                    return
                held.append(near)
                if delay_s is None:
                    continue
                far = socket.create_connection(("127.0.0.1", port))
                held.append(far)
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=(source, sink, delay_s)).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()


def _pass_on(source: socket.socket, sink: socket.socket, delay_s: float) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            time.sleep(delay_s)
            sink.sendall(data)


def _verified(remote: Remote) -> None:
    """The volume's last committed state is whole."""
    remote.desk.json("volume", "verify", "sealed/out").good()


@pytest.mark.slow
def test_a_key_service_that_is_down_is_named(remote: Remote) -> None:
    """After the deadline the error says what cannot be reached and how to start it."""
    done = remote.desk.json("run", "policy.yaml", "--workload", "copy")
    assert (done.status, done.code) == (75, "keyservice.unreachable")
    assert f"127.0.0.1:{remote.port}" in done.error["message"]
    assert "cloister keyservice serve" in done.error["hint"]
    assert done.error["retryable"] is True
    with remote.served():
        _verified(remote)


@pytest.mark.slow
def test_a_silent_key_service_is_named(remote: Remote) -> None:
    """One that takes requests and answers none is told from one that is not there."""
    with remote.served(), _relay(remote.port, delay_s=None) as port:
        remote.point_at(port)
        try:
            done = remote.desk.json("run", "policy.yaml", "--workload", "copy")
        finally:
            remote.point_at(remote.port)
        assert (done.status, done.code) == (75, "keyservice.slow")
        assert "did not answer within" in done.error["message"]
        _verified(remote)


def test_a_slow_key_service_delays_and_harms_nothing(remote: Remote) -> None:
    """Half a second for each message is borne."""
    with remote.served(), _relay(remote.port, delay_s=0.5) as port:
        remote.point_at(port)
        try:
            remote.desk.json("run", "policy.yaml", "--workload", "copy").good()
        finally:
            remote.point_at(remote.port)
        _verified(remote)


def test_a_run_survives_a_restart_of_the_key_service(remote: Remote) -> None:
    """Killed and started again in the middle of a run, it anchors every later commit."""
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(remote.served())
        words = ("run", "policy.yaml", "--workload", "steps")
        with remote.desk.running(*words) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "step 1\n"
            service.kill()
            service.wait(timeout=30)
            stack.enter_context(remote.served())
            rest = process.stdout.read().splitlines()
            assert rest[-1] == "step 6"
            assert process.wait(timeout=60) == 0
            assert process.stderr is not None
            assert "warning" not in process.stderr.read()
        assert remote.desk.read("sealed/out")["step.txt"] == b"6\n"


@pytest.mark.parametrize("shift_s", [3600, -3600], ids=["ahead", "behind"])
def test_clocks_that_differ_are_named_with_both_times(remote: Remote, shift_s: int) -> None:
    """An hour between the two clocks is refused, and the error tells both."""
    with remote.served(shift_s=shift_s):
        done = remote.desk.json("run", "policy.yaml", "--workload", "copy")
    assert (done.status, done.code) == (77, "identity.clock")
    times = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", done.error["message"])
    assert len(times) == 2
    assert times[0] != times[1]
    assert (times[0] > times[1]) is (shift_s > 0)
    with remote.served():
        _verified(remote)


def test_another_key_service_is_refused(remote: Remote, tmp_path: Path) -> None:
    """A key service with another identity at the same address gets nothing and is named."""
    other = Desk(tmp_path)
    other.run("init").good()
    impostor = Remote(other)
    with impostor.served():
        remote.point_at(impostor.port)
        try:
            done = remote.desk.json("run", "policy.yaml", "--workload", "copy")
        finally:
            remote.point_at(remote.port)
    assert (done.status, done.code) == (77, "identity.keyservice")
