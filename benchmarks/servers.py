"""How model servers are compared: asked in turns, and by many at once."""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Row, Spread

from cloister.inference import Client
from cloister.testing.certificates import FakeDomain
from cloister.testing.serving import ServerProcess, write_identity

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
PART = "serving"
CONNECTIONS = 8
FEW, LONG_S = 2, 0.1  # connections, where an answer takes longer
AIM_RATIO = 1.10  # of the whole behind ours, at batch 1
AIM_CUT = 1.3  # of a model in parts
SHOWN = {
    "plain": "the plain server",
    "shielded": "ours",
    "whole": "ours with the whole",
    "cut": "in parts",
}


@dataclass(frozen=True, slots=True)
class Side:
    """One server: how it is asked, and which process holds its model."""

    connect: Callable[[], Any]
    process: int


class Identity:
    """What our servers show, and what clients accept."""

    def __init__(self, folder: Path) -> None:
        """Make a domain of certificates of now."""
        now = int(time.time())  # noqa: TID251  # certificates are of now
        self._domain = FakeDomain("bench.example", at=now)
        credential = self._domain.credential("serve")
        self.folder = write_identity(folder, credential, ca_pem=self._domain.ca_pem)

    def side(self, server: ServerProcess) -> Side:
        """Return a server of ours as a side."""

        def connect() -> Client:
            name = self._domain.identity("serve").uri
            return Client(server.url, trust=self._domain.ca_pem, identity=name)

        return Side(connect, server.process.pid)


@contextlib.contextmanager
def our_server(words: Sequence[str], identity: Path) -> Iterator[ServerProcess]:
    """Run the model server with these words, which say what is served, for any client."""
    command = [sys.executable, "-m", "cloister.inference.server", "--name", "m", "--port", "0"]
    command += ["--identity", str(identity), "--any-client", "a benchmark", *words]
    with _started(command) as process:
        said = ""
        for line in process.stderr or ():
            said += line
            if line.startswith("serving port="):
                yield ServerProcess(process, int(line.removeprefix("serving port=")))
                return
        raise SystemExit(f"the server did not start:\n{said}")


@contextlib.contextmanager
def middle_process(part: Path, address: str, *, threads: int) -> Iterator[int]:
    """Run an exposed part outside, at an address; give the process's number."""
    command = [sys.executable, "-m", "cloister.inference.middle", "--part", str(part)]
    with _started([*command, "--listen", address, "--threads", str(threads)]) as process:
        line = "" if process.stderr is None else process.stderr.readline()
        if not line.startswith("listening"):
            raise SystemExit(f"the middle did not start: {line}")
        yield process.pid


@contextlib.contextmanager
def plain_server(model: Path) -> Iterator[Side]:
    """Run the bare engine behind an ordinary HTTP server."""
    port = free_port()
    command = [sys.executable, str(HERE / "plain_server.py"), str(model), str(port)]
    with subprocess.Popen(command) as process:
        try:
            _wait_for(port)
            yield Side(lambda: _PlainClient(port), process.pid)
        finally:
            process.terminate()
            process.wait(20)


def compared(
    name: str,
    sides: Mapping[str, Side],
    examples: Mapping[int, Any],
    *,
    rounds: float,
    apart: float = 0.0,
) -> Iterator[Row]:
    """Yield latency, throughput and memory, each side's beside that of the one before it.

    Args:
        name: Of what is served, for the table.
        sides: By a word of `SHOWN`, in order.
        examples: By the batch.
        rounds: How many seconds of answers are taken, about; five answers or ten are always.
        apart: How far answers may be apart; 0 is the same bits.
    """
    for batch, x in examples.items():
        times = taken_in_turns(sides, x, rounds=rounds, apart=apart)
        shown = {side: percentiles_ms(found) for side, found in times.items()}
        heavy = shown[next(iter(sides))][0] > LONG_S * 1e3
        connections = FEW if heavy else CONNECTIONS
        rates = {
            side: asked_by_many(asked, x, connections=connections, seconds=0.5 * rounds)
            for side, asked in sides.items()
        }
        for left, right in itertools.pairwise(sides):
            yield _latency(
                f"{name}, batch {batch}", batch, left=left, right=right, shown=shown, times=times
            )
            yield Row(
                part=PART,
                name=f"{name}, batch {batch}: rows a second, {connections} connections"
                + _which(sides, left, right),
                left=f"{rates[left]:.0f}",
                right=f"{rates[right]:.0f}",
                result=f"{rates[right] / rates[left]:.2f} times",
                facts={"batch": batch, "connections": connections, "rows_a_second": rates},
            )
    held = {side: resident(asked.process) for side, asked in sides.items()}
    for left, right in itertools.pairwise(sides):
        yield Row(
            part=PART,
            name=f"{name}: memory of the server" + _which(sides, left, right),
            left=f"{held[left] >> 20} MiB",
            right=f"{held[right] >> 20} MiB",
            result=f"{(held[right] - held[left]) / 2**20:+.0f} MiB",
            facts={"bytes": held},
        )


def _latency(
    name: str,
    batch: int,
    *,
    left: str,
    right: str,
    shown: Mapping[str, tuple[float, float]],
    times: Mapping[str, Sequence[float]],
) -> Row:
    ratio = shown[right][0] / shown[left][0]
    aim = AIM_CUT if right == "cut" else AIM_RATIO if batch == 1 else None
    return Row(
        part=PART,
        name=f"{name}: latency p50 / p99" + _which(shown, left, right),
        left="{:.2f} / {:.2f} ms".format(*shown[left]),
        right="{:.2f} / {:.2f} ms".format(*shown[right]),
        result=f"{ratio:.2f} times at p50",
        aim="" if aim is None else f"at most {aim:.2f} times",
        met=None if aim is None else ratio <= aim,
        facts={
            "batch": batch,
            "turns": len(times[right]),
            "ms": {
                side: Spread.of([t * 1e3 for t in found]).record() for side, found in times.items()
            },
            "p50_ms": {side: round(pair[0], 4) for side, pair in shown.items()},
            "p99_ms": {side: round(pair[1], 4) for side, pair in shown.items()},
        },
    )


def _which(sides: Mapping[str, Any], left: str, right: str) -> str:
    return f", {SHOWN[left]} and {SHOWN[right]}" if len(sides) > 2 else ""


def taken_in_turns(
    sides: Mapping[str, Side], x: Any, *, rounds: float, apart: float
) -> dict[str, list[float]]:
    """Ask one query after another, all sides in turns; return seconds.

    Stops the benchmark where answers are further apart than that.
    """
    asked = {name: side.connect() for name, side in sides.items()}
    answers = [client.predict(x) for client in asked.values()]
    if any(not np.abs(answers[0] - other).max() <= apart for other in answers):
        raise SystemExit("the servers do not agree")
    turns = max(
        5 if rounds <= 1 else 10, int(rounds / max(once(next(iter(asked.values())), x), 1e-3))
    )
    runs = {name: functools.partial(client.predict, x) for name, client in asked.items()}
    times = timed_in_turns(runs, turns=turns)
    for client in asked.values():
        client.close()
    return times


def timed_in_turns(runs: Mapping[str, Callable[[], Any]], *, turns: int) -> dict[str, list[float]]:
    """Do one after another, round after round; return seconds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return times


def percentiles_ms(seconds: Sequence[float]) -> tuple[float, float]:
    """Return p50 and p99 in ms."""
    return float(np.percentile(seconds, 50)) * 1e3, float(np.percentile(seconds, 99)) * 1e3


def asked_by_many(side: Side, x: Any, *, connections: int, seconds: float) -> float:
    """Return rows a second, asked over several connections.

    For so long, or as long as each connection needs for three answers in its turn.
    """
    ready, go, ends = threading.Barrier(connections + 1), threading.Event(), list[float]()

    def work() -> int:
        count = 0
        with contextlib.closing(side.connect()) as client:
            try:
                client.predict(x)
                ready.wait()
            except BaseException:
                ready.abort()
                raise
            go.wait()
            while time.monotonic() < ends[0]:
                client.predict(x)
                count += 1
        return count

    with ThreadPoolExecutor(connections) as pool:
        asking = [pool.submit(work) for _ in range(connections)]
        try:
            with contextlib.suppress(threading.BrokenBarrierError):  # a result says why
                ready.wait()
            with contextlib.closing(side.connect()) as client:
                client.predict(x)
                took = once(client, x)
            began = time.monotonic()
            ends.append(began + max(seconds, 3 * connections * took))
        finally:
            ends.append(0.0)
            go.set()
        counts = [each.result() for each in asking]
        return sum(counts) * len(x) / (time.monotonic() - began)


def once(client: Any, x: Any) -> float:
    """Ask once; return seconds."""
    began = time.perf_counter()
    client.predict(x)
    return time.perf_counter() - began


def resident(process: int) -> int:
    """Return a process's resident memory in bytes."""
    text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0


class _PlainClient:
    """Asks the plain server over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def predict(self, x: Any) -> Any:
        self._connection.request("POST", "/predict", body=x.tobytes())
        answer = self._connection.getresponse().read()
        return np.frombuffer(answer, np.float32).reshape(len(x), -1)

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=20)


def free_port() -> int:
    """Return a port of the loopback address that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise SystemExit("the plain server did not start")
