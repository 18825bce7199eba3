"""A trainer in a process of its own, for tests of what its exchange looks like from outside.

`python exchange_trainer.py PORT KIND`: `hard` computes all the time and pushes large differences,
`idle` says nothing at all. Prints how many messages it sent, and how many ticks it missed.
"""

from __future__ import annotations

import socket
import sys
from functools import partial

import numpy as np

from cloister.cleanroom.exchange import ExchangeClient
from cloister.errors import UnavailableError
from rounds_bench import PLAN, floats, rules

RULES = rules(
    tick_ms=25, prepare_ticks=10, round_ticks=6, rounds=40, trainers=1, parameters_max=4096,
    norm_max=1e6, join_s=30.0,
)  # fmt: skip


def main(port: int, kind: str) -> None:
    client = ExchangeClient(
        partial(socket.create_connection, ("127.0.0.1", port), 5), RULES, index=0
    )
    client.start()
    if kind == "hard":
        train(client)
    counts = client.finish()
    print(counts.sent, counts.missed)  # noqa: T201  # what the test reads


def train(client: ExchangeClient) -> None:
    """Hold a processor and the interpreter's lock between any two messages."""
    client.publish_plan(PLAN, floats(0, 0, 0))
    version = -1
    data = np.random.default_rng(7).normal(size=(64, 64))
    for number in range(RULES.schedule.rounds):
        try:
            version, _ = client.pull(newer_than=version, timeout_s=5)
        except UnavailableError:
            return
        last = RULES.schedule.last_push(number)
        total = 0
        while (client.tick or 0) < last:
            data = np.tanh(data @ data.T)
            total += sum(range(2000))
        client.push(np.full(3, 1000 + data.mean(), np.float32), version)
        client.metrics(number, {"loss": float(total % 97)})


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
