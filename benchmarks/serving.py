"""The model server behind attested TLS beside the bare engine behind a plain HTTP server.

Both run LiteRT with one thread, in processes of their own, and take and give binary tensors. They
are asked in turns, one query at a time for latency and from eight connections for throughput.
Beside them full TensorFlow and LiteRT on the same network, in this process.

    python benchmarks/run.py --only serving
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pairs import Row, Spread

from cloister.inference import Client
from cloister.inference.model import LiteRTModel
from cloister.testing.certificates import FakeDomain
from cloister.testing.serving import server_process, write_identity

HERE = Path(__file__).resolve().parent
BATCHES = (1, 32)
CONNECTIONS = 8
NETWORKS = ("digits", "MobileNetV2")
AIM_RATIO = 1.10


@dataclass(frozen=True, slots=True)
class Network:
    """A network with random weights, as Keras has it and as LiteRT runs it."""

    name: str
    shape: tuple[int, ...]
    keras: Any
    data: bytes


@dataclass(frozen=True, slots=True)
class Side:
    """One server: how it is asked, and what it holds."""

    connect: Callable[[], Any]
    process: int


def rows(*, rounds: int) -> Iterator[Row]:
    """Measure each network at each batch."""
    for name in NETWORKS:
        network = _network(name)
        with tempfile.TemporaryDirectory(prefix="serving-") as folder:
            yield from _servers(network, Path(folder), rounds=rounds)
        yield from _engines(network, rounds=rounds)


def _servers(network: Network, folder: Path, *, rounds: int) -> Iterator[Row]:
    model = folder / "m.tflite"
    model.write_bytes(network.data)
    now = int(time.time())  # noqa: TID251  # certificates are of now
    domain = FakeDomain("bench.example", at=now)
    identity = write_identity(folder / "id", domain.credential("serve"), ca_pem=domain.ca_pem)
    arguments = ["--any-client", "a benchmark"]
    with (
        _plain(model) as plain,
        server_process(model, identity, name="m", arguments=arguments) as ours,
    ):

        def shielded() -> Client:
            return Client(ours.url, trust=domain.ca_pem, identity=domain.identity("serve").uri)

        sides = {"plain": plain, "shielded": Side(shielded, ours.process.pid)}
        for batch in BATCHES:
            x = np.random.default_rng(batch).random((batch, *network.shape), dtype=np.float32)
            yield _latency(network, sides, x, rounds=rounds)
            yield _throughput(network, sides, x, seconds=0.5 * rounds)
        yield _memory(network, sides)


def _latency(network: Network, sides: dict[str, Side], x: Any, *, rounds: int) -> Row:
    """One query after another, both sides in turns."""
    asked = {name: side.connect() for name, side in sides.items()}
    answers = {name: client.predict(x) for name, client in asked.items()}
    if answers["plain"].tobytes() != answers["shielded"].tobytes():
        raise SystemExit("the two servers do not agree")
    times: dict[str, list[float]] = {name: [] for name in sides}
    turns = max(10, int(rounds * 1.0 / max(_once(asked["plain"], x), 1e-3)))
    for _ in range(turns):
        for name, client in asked.items():
            times[name].append(_once(client, x))
    for client in asked.values():
        client.close()
    shown = {
        name: (np.percentile(each, 50) * 1e3, np.percentile(each, 99) * 1e3)
        for name, each in times.items()
    }
    ratio = shown["shielded"][0] / shown["plain"][0]
    alone = len(x) == 1
    return Row(
        part="serving",
        name=f"{network.name}, batch {len(x)}: latency p50 / p99",
        left="{:.2f} / {:.2f} ms".format(*shown["plain"]),
        right="{:.2f} / {:.2f} ms".format(*shown["shielded"]),
        result=f"{ratio:.2f} times at p50",
        aim=f"at most {AIM_RATIO:.2f} times" if alone else "",
        met=ratio <= AIM_RATIO if alone else None,
        facts={
            "batch": len(x),
            "turns": turns,
            "ms": {
                name: Spread.of([t * 1e3 for t in each]).record() for name, each in times.items()
            },
            "p50_ms": {name: round(pair[0], 4) for name, pair in shown.items()},
            "p99_ms": {name: round(pair[1], 4) for name, pair in shown.items()},
        },
    )


def _throughput(network: Network, sides: dict[str, Side], x: Any, *, seconds: float) -> Row:
    found = {name: _asked_by_many(side, x, seconds=seconds) for name, side in sides.items()}
    return Row(
        part="serving",
        name=f"{network.name}, batch {len(x)}: rows a second, {CONNECTIONS} connections",
        left=f"{found['plain']:.0f}",
        right=f"{found['shielded']:.0f}",
        result=f"{found['shielded'] / found['plain']:.2f} times",
        facts={"batch": len(x), "connections": CONNECTIONS, "rows_a_second": found},
    )


def _asked_by_many(side: Side, x: Any, *, seconds: float) -> float:
    """Ask for so long, or as long as each connection needs for three answers in its turn."""
    counts = [0] * CONNECTIONS
    ready, go, ends = threading.Barrier(CONNECTIONS + 1), threading.Event(), list[float]()

    def work(number: int) -> None:
        client = side.connect()
        client.predict(x)
        ready.wait()
        go.wait()
        while time.monotonic() < ends[0]:
            client.predict(x)
            counts[number] += 1
        client.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    ready.wait()
    with contextlib.closing(side.connect()) as client:
        client.predict(x)
        once = _once(client, x)
    began = time.monotonic()
    ends.append(began + max(seconds, 3 * CONNECTIONS * once))
    go.set()
    for thread in threads:
        thread.join()
    return sum(counts) * len(x) / (time.monotonic() - began)


def _memory(network: Network, sides: dict[str, Side]) -> Row:
    held = {name: _resident(side.process) for name, side in sides.items()}
    return Row(
        part="serving",
        name=f"{network.name}: memory of the server",
        left=f"{held['plain'] >> 20} MiB",
        right=f"{held['shielded'] >> 20} MiB",
        result=f"{(held['shielded'] - held['plain']) / 2**20:+.0f} MiB",
        facts={"bytes": held},
    )


def _engines(network: Network, *, rounds: int) -> Iterator[Row]:
    """Full TensorFlow beside LiteRT, in this process, one thread each."""
    light = LiteRTModel(network.data, threads=1)
    name = light.inputs[0].name
    for batch in BATCHES:
        x = np.random.default_rng(batch).random((batch, *network.shape), dtype=np.float32)
        runs = {
            "TensorFlow": lambda x=x: network.keras(x).numpy(),
            "LiteRT": lambda x=x: light.predict({name: x}),
        }
        times: dict[str, list[float]] = {each: [] for each in runs}
        for _ in range(3 + rounds * 3):
            for each, run in runs.items():
                began = time.perf_counter()
                run()
                times[each].append(time.perf_counter() - began)
        spreads = {each: Spread.of(found[3:]) for each, found in times.items()}
        ratio = spreads["TensorFlow"].middle / spreads["LiteRT"].middle
        yield Row(
            part="serving",
            name=f"{network.name}, batch {batch}: TensorFlow, and LiteRT",
            left=spreads["TensorFlow"].text(scale=1e3) + " ms",
            right=spreads["LiteRT"].text(scale=1e3) + " ms",
            result=f"TensorFlow takes {ratio:.1f} times as long",
            facts={"batch": batch, "seconds": {k: v.record() for k, v in spreads.items()}},
        )


@contextlib.contextmanager
def _plain(model: Path) -> Iterator[Side]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(HERE / "plain_server.py"), str(model), str(port)]
    with subprocess.Popen(command) as process:
        try:
            _wait_for(port)
            yield Side(lambda: _PlainClient(port), process.pid)
        finally:
            process.terminate()
            process.wait(20)


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


def _network(name: str) -> Network:
    import os  # noqa: PLC0415  # before TensorFlow

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf  # noqa: PLC0415  # seconds

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(1)
    if name == "digits":
        shape: tuple[int, ...] = (8, 8, 1)
        layers = tf.keras.layers
        model = tf.keras.Sequential(
            [
                layers.Input(shape),
                layers.Conv2D(32, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(10, activation="softmax"),
            ]
        )
    else:
        shape = (224, 224, 3)
        model = tf.keras.applications.MobileNetV2(weights=None, input_shape=shape)
    data = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    return Network(name, shape, tf.function(model), data)


def _once(client: Any, x: Any) -> float:
    began = time.perf_counter()
    client.predict(x)
    return time.perf_counter() - began


def _wait_for(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise SystemExit("the plain server did not start")


def _resident(process: int) -> int:
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return int(found[1]) * 1024 if found else 0
