"""Cloister's relays against nginx, stunnel and HAProxy: a connection over mutual TLS 1.3.

    python benchmarks/relays.py [--rounds N] [--megabytes N] [--output FOLDER]

Each contender is a pair of processes: the first takes a program's connection in the clear, carries
it over TLS 1.3 in which both sides show and check certificates, and the second hands it to a server
in the clear. All pairs stand ready at once, and take turns within the same minutes. Counted is the
processor time of both processes of a pair, not that of the two ends; a round trip is 64 bytes each
way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

import pairs  # noqa: E402  # behind the path

from cloister.network.addresses import AddressPlan  # noqa: E402  # behind the path
from cloister.network.loop import since_boot  # noqa: E402  # behind the path
from cloister.network.rules import ANY_PORT  # noqa: E402  # behind the path
from cloister.testing.relays import (  # noqa: E402  # behind the path
    PS,
    WORKER,
    FakeJob,
    FakeNode,
)

PART = "relays"
_MIB = 1 << 20
_TICKS = os.sysconf("SC_CLK_TCK")
_BULK, _ECHO = b"B", b"E"
_SMALL = 64


@dataclass
class Contender:
    """One way from a program to the server.

    Attributes:
        name: For the table.
        address: Where the program connects.
        processes: What stands between.
    """

    name: str
    address: tuple[str, int]
    processes: list[int] = field(default_factory=list)
    mib_s: list[float] = field(default_factory=list)
    cpu_s_gib: list[float] = field(default_factory=list)
    rtt_us: list[float] = field(default_factory=list)
    rtt_cpu_us: list[float] = field(default_factory=list)
    open_ms: list[float] = field(default_factory=list)

    def processor_s(self) -> float:
        """Return the processor time that its processes have used."""
        ticks = 0
        for process in self.processes:
            told = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
            ticks += int(told[11]) + int(told[12])
        return ticks / _TICKS


def serve(listener: socket.socket) -> None:
    """Swallow, or send back; one connection at a time."""
    room = memoryview(mmap.mmap(-1, _MIB))  # begins a page; see README
    while True:
        connection = listener.accept()[0]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(OSError):
            kind = connection.recv(1)
            if kind == _BULK:
                left = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "big")
                while left and (got := connection.recv_into(room)):
                    left -= got
                connection.sendall(b"?" if left else b"!")
            while kind == _ECHO and (data := connection.recv(_SMALL)):
                connection.sendall(data)


def connect(contender: Contender, kind: bytes) -> socket.socket:
    """Connect as a program does."""
    connection = socket.create_connection(contender.address, timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(kind)
    return connection


def bulk(contender: Contender, megabytes: int) -> None:
    """Measure one stream."""
    block = memoryview(mmap.mmap(-1, _MIB))
    with connect(contender, _BULK) as connection:
        connection.sendall((megabytes * _MIB).to_bytes(8, "big"))
        used, began = contender.processor_s(), time.perf_counter()
        for _ in range(megabytes):
            connection.sendall(block)
        if connection.recv(1) != b"!":
            raise SystemExit(f"{contender.name} lost the end")
        took = time.perf_counter() - began
        used = contender.processor_s() - used
    contender.mib_s.append(megabytes / took)
    contender.cpu_s_gib.append(used * 1024 / megabytes)


def small(contender: Contender, count: int) -> None:
    """Measure messages that wait for each other."""
    times = []
    message = bytes(_SMALL)
    with connect(contender, _ECHO) as connection:
        used = contender.processor_s()
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(message)
            left = _SMALL
            while left:
                left -= len(connection.recv(left))
            times.append(time.perf_counter() - began)
        used = contender.processor_s() - used
    contender.rtt_us.append(statistics.median(times) * 1e6)
    contender.rtt_cpu_us.append(used / count * 1e6)


def opening(contender: Contender, count: int) -> None:
    """Measure fresh connections, until the first byte is back."""
    for _ in range(count):
        began = time.perf_counter()
        with connect(contender, _ECHO) as connection:
            connection.sendall(b"x")
            connection.recv(1)
        contender.open_ms.append((time.perf_counter() - began) * 1e3)


def measure(contenders: list[Contender], *, rounds: int, megabytes: int) -> None:
    """Take turns; the first round, which warms everything, does not count."""
    for number in range(rounds + 1):
        order = contenders[number % len(contenders) :] + contenders[: number % len(contenders)]
        for contender in order:
            bulk(contender, megabytes if number else 16)
            small(contender, 1000 if number else 50)
            opening(contender, 20 if number else 2)
        if number == 0:
            for contender in contenders:
                for values in (
                    contender.mib_s,
                    contender.cpu_s_gib,
                    contender.rtt_us,
                    contender.rtt_cpu_us,
                    contender.open_ms,
                ):
                    values.clear()


@contextlib.contextmanager
def contenders(folder: Path) -> Iterator[list[Contender]]:
    """Start a server and every contender that is installed."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        target: tuple[str, int] = listener.getsockname()
        _forked(stack, lambda: serve(listener))
        certificates(folder)
        found = [Contender("direct", target), _cloister(stack, target)]
        makers = {"nginx": _nginx, "stunnel": _stunnel, "haproxy": _haproxy}
        for name, make in makers.items():
            if shutil.which(name) is None:
                print(f"skipped: {name} is not installed", file=sys.stderr)
                continue
            first, second = _free_port(), _free_port()
            processes = []
            for side, text in make(folder, first, second, target[1]):
                command = _COMMANDS[name](folder, side)
                (folder / f"{name}-{side}.conf").write_text(text)
                log = stack.enter_context((folder / f"{name}-{side}.log").open("wb"))
                process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
                stack.callback(_stop, process)
                processes.append(process.pid)
            for port in (first, second):
                _wait(port, name, folder)
            found.append(Contender(name, ("127.0.0.1", first), processes))
        yield found


def _cloister(stack: contextlib.ExitStack, target: tuple[str, int]) -> Contender:
    now = int(time.time())  # noqa: TID251  # a process edge
    job = FakeJob.of({"ps": 1, "worker": 1}, at=now)
    place = AddressPlan.of(job.counts).address(PS), target[1]
    common = {"clock": lambda: now}
    server = FakeNode(job, PS, opens={}, accepts={"worker": ANY_PORT}, **common)
    client = FakeNode(
        job, WORKER, opens={"ps": ANY_PORT}, accepts={}, destinations=[place], **common
    )
    job.places[PS] = server.place
    members = {job.identity(task).uri: now + 86400 for task in (PS, WORKER)}
    address: tuple[str, int] = client.inner[place].getsockname()
    pids = [_forked(stack, lambda each=each: _relay(each, members)) for each in (server, client)]
    return Contender("cloister", address, pids)


def _relay(node: FakeNode, members: dict[str, int]) -> None:
    """Be one relay, with a stage and with somebody who asks for the roster, as in a run."""

    def ask() -> None:
        while True:
            node.relay.update_members(members, epoch=1, fetched=since_boot())
            time.sleep(1)

    node.start_stage()
    threading.Thread(target=ask, daemon=True).start()
    node.relay.run()


def certificates(folder: Path) -> None:
    """Make an authority and a certificate, P-256 like ours, that everybody else shows."""
    for command in (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem"
        " -days 2 -subj /CN=authority",
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out request.pem"
        " -subj /CN=peer",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    both = (folder / "cert.pem").read_text() + (folder / "key.pem").read_text()
    (folder / "both.pem").write_text(both)


def _nginx(folder: Path, first: int, second: int, target: int) -> Iterator[tuple[str, str]]:
    module = next(Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so"), None)
    common = f"""
daemon off; master_process off; worker_processes 1; error_log stderr warn;
{f"load_module {module};" if module else ""}
events {{ worker_connections 256; }}
stream {{ tcp_nodelay on; proxy_buffer_size 64k;
"""
    yield (
        "client",
        (
            f"pid {folder}/nginx-client.pid;{common} server {{ listen 127.0.0.1:{first};"
            f" proxy_pass 127.0.0.1:{second}; proxy_ssl on; proxy_ssl_protocols TLSv1.3;"
            f" proxy_ssl_certificate cert.pem; proxy_ssl_certificate_key key.pem;"
            f" proxy_ssl_trusted_certificate ca.pem; proxy_ssl_verify on; proxy_ssl_name peer;"
            f" proxy_ssl_session_reuse off; }} }}\n"
        ),
    )
    yield (
        "server",
        (
            f"pid {folder}/nginx-server.pid;{common} server {{ listen 127.0.0.1:{second} ssl;"
            f" proxy_pass 127.0.0.1:{target}; ssl_protocols TLSv1.3; ssl_certificate cert.pem;"
            f" ssl_certificate_key key.pem; ssl_client_certificate ca.pem; ssl_verify_client on;"
            f" ssl_session_tickets off; }} }}\n"
        ),
    )


def _stunnel(folder: Path, first: int, second: int, target: int) -> Iterator[tuple[str, str]]:
    common = (
        "foreground = yes\npid =\nsyslog = no\ndebug = 3\n[relay]\n"
        f"cert = {folder}/cert.pem\nkey = {folder}/key.pem\nCAfile = {folder}/ca.pem\n"
        "verifyChain = yes\nsslVersionMin = TLSv1.3\n"
        "socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
    )
    yield (
        "client",
        f"{common}client = yes\naccept = 127.0.0.1:{first}\nconnect = 127.0.0.1:{second}\n",
    )
    yield "server", f"{common}accept = 127.0.0.1:{second}\nconnect = 127.0.0.1:{target}\n"


def _haproxy(folder: Path, first: int, second: int, target: int) -> Iterator[tuple[str, str]]:
    common = (
        f"global\n nbthread 1\n ca-base {folder}\n crt-base {folder}\n"
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 5m\n timeout server 5m\n"
    )
    yield (
        "client",
        (
            f"{common}listen relay\n bind 127.0.0.1:{first}\n"
            f" server peer 127.0.0.1:{second} ssl crt both.pem ca-file ca.pem verify required"
            " ssl-min-ver TLSv1.3 no-ssl-reuse\n"
        ),
    )
    yield (
        "server",
        (
            f"{common}listen relay\n bind 127.0.0.1:{second} ssl crt both.pem ca-file ca.pem"
            " verify required ssl-min-ver TLSv1.3 no-tls-tickets\n"
            f" server program 127.0.0.1:{target}\n"
        ),
    )


_COMMANDS: dict[str, Callable[[Path, str], list[str]]] = {
    "nginx": lambda folder, side: [
        "nginx", "-e", "stderr", "-p", str(folder), "-c", f"{folder}/nginx-{side}.conf",
    ],
    "stunnel": lambda folder, side: ["stunnel", f"{folder}/stunnel-{side}.conf"],
    "haproxy": lambda folder, side: ["haproxy", "-db", "-f", f"{folder}/haproxy-{side}.conf"],
}  # fmt: skip


def rows(*, rounds: int, megabytes: int) -> Iterator[pairs.Row]:
    """Measure, and say how Cloister compares with the best of the others."""
    with tempfile.TemporaryDirectory(prefix="relays-") as name, contenders(Path(name)) as found:
        measure(found, rounds=rounds, megabytes=megabytes)
    yield from _compared(found)


def _compared(found: list[Contender]) -> Iterator[pairs.Row]:
    ours = next(each for each in found if each.name == "cloister")
    for other in found:
        if other is ours:
            continue
        for title, key, form, aim, is_met in (
            ("throughput, MiB/s", "mib_s", ".0f", "above 1", lambda r: r >= 1),
            ("processor, s for a GiB", "cpu_s_gib", ".2f", "below 1", lambda r: r <= 1),
            ("round trip, µs", "rtt_us", ".0f", "at most 1.1", lambda r: r <= 1.1),
            ("processor for a round trip, µs", "rtt_cpu_us", ".0f", "", None),
            ("opening, ms", "open_ms", ".1f", "", None),
        ):
            theirs, mine = getattr(other, key), getattr(ours, key)
            if other.name == "direct" and key.endswith(("gib", "cpu_us")):
                continue
            ratio = pairs.Spread.of([a / b for a, b in zip(mine, theirs, strict=True) if b])
            judged = None if is_met is None or other.name == "direct" else is_met(ratio.middle)
            yield pairs.Row(
                part=PART,
                name=f"{title}: {other.name}",
                left=pairs.Spread.of(theirs).text(form),
                right=pairs.Spread.of(mine).text(form),
                result=f"{ratio.text()} times",
                aim="" if judged is None else aim,
                met=judged,
                facts={
                    "unit": title,
                    "baseline": pairs.Spread.of(theirs).record(),
                    "cloister": pairs.Spread.of(mine).record(),
                    "ratio": ratio.record(),
                },
            )


def _forked(stack: contextlib.ExitStack, work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    stack.callback(_end, pid)
    return pid


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _wait(port: int, name: str, folder: Path) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    logs = "\n".join(path.read_text() for path in folder.glob(f"{name}-*.log"))
    raise SystemExit(f"{name} does not answer:\n{logs}")


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--output", type=Path, default=HERE / "out")
    chosen = parser.parse_args()
    before = pairs.load()
    found = list(rows(rounds=chosen.rounds, megabytes=chosen.megabytes))
    facts = pairs.machine() | {"load_before": before, "load_after": pairs.load()}
    lines = [
        f"{facts}",
        "",
        "| what | other | Cloister | result | aim | met |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.left} | {row.right} | {row.result} | {row.aim} | {row.met} |"
        for row in found
    ]
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "relays.md").write_text("\n".join(lines) + "\n")
    record = facts | {"rows": [{"name": row.name, "met": row.met, **row.facts} for row in found]}
    (chosen.output / "relays.json").write_text(json.dumps(record, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
