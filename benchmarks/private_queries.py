"""What an envelope costs: the same model, asked by direct attested TLS and in private queries.

Both servers are processes of this machine; private queries go over TLS outside as well, as to a
balancer. The model is small, so that what is compared is the way, and not the model.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from pairs import Row, Spread

from cloister.crypto.signature import SigningKey
from cloister.inference import Client
from cloister.inference.client import ModelClient
from cloister.inference.private import Principal, PrivateClient
from cloister.testing.certificates import POLICY_HASH, FakeDomain
from cloister.testing.serving import server_process, write_identity

MODEL = Path(__file__).resolve().parents[1] / "tests" / "data" / "models" / "digits.tflite"
PART = "private queries"
CLIENTS = 8


def rows(*, rounds: int, seconds: float) -> Iterator[Row]:
    """Measure both ways, in turns: one client's latency, then several clients' throughput."""
    now = int(time.time())  # noqa: TID251  # an edge
    domain, key = FakeDomain("bench.example", at=now), SigningKey.generate()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        identity = write_identity(
            Path(folder) / "identity", domain.credential("serve"), ca_pem=domain.ca_pem
        )
        anyone = ["--any-client", "a benchmark of queries", "--idle-timeout", "600"]
        asker = ["--private", "--asker", f"alice={key.public.text}", "--rate", "10000000"]
        plain, private = (
            held.enter_context(
                server_process(MODEL, identity, name="digits", arguments=[*anyone, *more])
            )
            for more in ([], asker)
        )
        pinned = {"trust": domain.ca_pem, "identity": domain.identity("serve").uri}

        def direct() -> ModelClient:
            return held.enter_context(Client(plain.url, **pinned))

        def sealed() -> ModelClient:
            return held.enter_context(
                PrivateClient(
                    private.url,
                    **pinned,
                    policy="sha256:" + POLICY_HASH.hex(),
                    asker=Principal("alice", key),
                )
            )

        for batch in (1, 32):
            yield _latency(direct(), sealed(), batch=batch, rounds=rounds)
        yield _throughput(direct, sealed, seconds=seconds)


def _images(batch: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(1).random((batch, 8, 8, 1), dtype=np.float32)


def _latency(direct: ModelClient, sealed: ModelClient, *, batch: int, rounds: int) -> Row:
    images = _images(batch)
    times: dict[str, list[float]] = {"direct": [], "sealed": []}
    for number in range(rounds + 10):
        for name, client in (("direct", direct), ("sealed", sealed)):
            began = time.perf_counter()
            client.predict(images)
            if number >= 10:  # connections and keys are there by then
                times[name].append(time.perf_counter() - began)
    left, right = (Spread.of(times[name]) for name in ("direct", "sealed"))
    last = {name: float(np.percentile(each, 99)) for name, each in times.items()}
    return Row(
        part=PART,
        name=f"a query of {batch} rows, direct TLS and in an envelope",
        left=f"{left.text('.2f', 1e3)} ms, p99 {last['direct'] * 1e3:.2f}",
        right=f"{right.text('.2f', 1e3)} ms, p99 {last['sealed'] * 1e3:.2f}",
        result=f"{(right.middle - left.middle) * 1e3:+.2f} ms",
        facts={"direct_s": left.record(), "sealed_s": right.record(), "p99_s": last},
    )


def _throughput(
    direct: Callable[[], ModelClient], sealed: Callable[[], ModelClient], *, seconds: float
) -> Row:
    rates: dict[str, list[float]] = {"direct": [], "sealed": []}
    clients = {
        name: [make() for _ in range(CLIENTS)]
        for name, make in (("direct", direct), ("sealed", sealed))
    }
    for _ in range(3):
        for name, these in clients.items():
            rates[name].append(_together(these, seconds))
    left, right = (Spread.of(rates[name]) for name in ("direct", "sealed"))
    return Row(
        part=PART,
        name=f"queries of 1 row by {CLIENTS} clients in one process, direct TLS and in envelopes",
        left=f"{left.text('.0f')} /s",
        right=f"{right.text('.0f')} /s",
        result=f"{right.middle / left.middle:.2f} times",
        facts={"direct_per_s": left.record(), "sealed_per_s": right.record()},
    )


def _together(clients: list[ModelClient], seconds: float) -> float:
    """Return queries in a second of several clients at one time."""
    images, counts, end = _images(1), [0] * len(clients), time.monotonic() + seconds

    def ask(place: int) -> None:
        while time.monotonic() < end:
            clients[place].predict(images)
            counts[place] += 1

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(clients))]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - began)
