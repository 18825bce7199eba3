"""A synchronous training whose right result is known; started by the soak of clusters, once a rank.

    RANK=0 WORLD_SIZE=3 RING=host:port,host:port,host:port python ring.py

Linear regression on data that each rank makes for itself. Gradients are summed around a ring over
plain TCP, as integers, so that the sum is the same in every order and after every restart. Rank 0
keeps a checkpoint in `RING_STATE` every few steps, goes on from it, and leaves `final.npy` there.

Nothing here looks for bytes that were changed under way: whoever judges the result should see them.
It uses NumPy and nothing of ours, as a program that knows of no shield.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

SIZE = 2048
ROWS = 32
SCALE = float(1 << 20)
RATE = 0.004
EVERY = 5
OPEN_S = 30.0  # until the ring is closed
WAIT_S = 10.0  # for one message of a neighbour
HELLO = struct.Struct("<4sII")
HEAD = struct.Struct("<II")

Vector = npt.NDArray[np.float64]
Sums = npt.NDArray[np.int64]


class BrokenRingError(Exception):
    """A neighbour is gone, late or says something else."""


@functools.cache
def data_of(rank: int) -> tuple[Vector, Vector]:
    """Return one rank's rows, and what they should give."""
    rows = np.random.default_rng(1000 + rank).standard_normal((ROWS, SIZE)) / np.sqrt(SIZE)
    return rows, rows @ np.sin(np.arange(SIZE) * 0.01)


def gradient(rank: int, weights: Vector) -> Sums:
    """Return one rank's gradient in units of 1/SCALE."""
    rows, wanted = data_of(rank)
    found = rows.T @ (rows @ weights - wanted) / ROWS
    return np.rint(found * SCALE).astype(np.int64)


def moved(weights: Vector, sums: Sums, world: int) -> Vector:
    """Return the weights after a step."""
    return weights - RATE * (sums / SCALE) / world * SIZE


def reference(world: int, steps: int) -> Vector:
    """Return the right result, computed by one process."""
    weights = np.zeros(SIZE)
    for _ in range(steps):
        sums = sum((gradient(rank, weights) for rank in range(world)), np.zeros(SIZE, np.int64))
        weights = moved(weights, sums, world)
    return weights


def digest(weights: Vector) -> str:
    """Return what results are compared by."""
    return hashlib.sha256(weights.tobytes()).hexdigest()


class Ring:
    """Two connections: what comes from the rank before, and what goes to the one behind."""

    def __init__(self, rank: int, places: list[tuple[str, int]], bind: tuple[str, int]) -> None:
        """Open both, while the others do."""
        self._rank, self._world = rank, len(places)
        end = time.monotonic() + OPEN_S
        with socket.create_server(bind) as listener:
            self._in, self._out = self._connect(places, listener, end)

    def _connect(
        self, places: list[tuple[str, int]], listener: socket.socket, end: float
    ) -> tuple[socket.socket, socket.socket]:
        behind = (self._rank + 1) % self._world
        before = (self._rank - 1) % self._world
        listener.settimeout(0)
        out: socket.socket | None = None
        inner: socket.socket | None = None
        greeted = False
        while time.monotonic() < end:
            if inner is None:
                inner = self._accepted(listener, before)
            if out is None:
                out = self._called(places[behind])
            if out is not None and not greeted:
                state = _answer(out)
                greeted = state == "yes"
                if state == "no":
                    out.close()
                    out = None
            if inner is not None and out is not None and greeted:
                return inner, out
            time.sleep(0.02)
        raise BrokenRingError(f"rank {self._rank} found no ring in {OPEN_S:.0f} s")

    def _called(self, place: tuple[str, int]) -> socket.socket | None:
        try:
            connection = socket.create_connection(place, timeout=5)
            connection.sendall(HELLO.pack(b"ring", self._rank, self._world))
        except OSError:
            return None
        return connection

    def _accepted(self, listener: socket.socket, before: int) -> socket.socket | None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return None
        try:
            connection.settimeout(5)
            if _exactly(connection, HELLO.size) != HELLO.pack(b"ring", before, self._world):
                raise BrokenRingError("somebody else")
            connection.sendall(b"+")
        except (OSError, BrokenRingError):
            connection.close()
            return None
        return connection

    def send(self, step: int, data: bytes) -> None:
        """Give the rank behind a message."""
        try:
            self._out.settimeout(WAIT_S)
            self._out.sendall(HEAD.pack(step, len(data)) + data)
        except OSError as e:
            raise BrokenRingError(f"rank {self._rank} cannot send step {step}: {e}") from e

    def receive(self, step: int) -> bytes:
        """Take a message of the rank before."""
        try:
            self._in.settimeout(WAIT_S)
            said, size = HEAD.unpack(_exactly(self._in, HEAD.size))
            if said != step or size > 1 << 24:
                raise BrokenRingError(f"rank {self._rank} waits for {step} and hears of {said}")
            return _exactly(self._in, size)
        except OSError as e:
            raise BrokenRingError(f"rank {self._rank} hears nothing of step {step}: {e}") from e

    def spread(self, step: int, data: bytes) -> bytes:
        """Return what rank 0 has, everywhere."""
        if self._rank > 0:
            data = self.receive(step)
        if self._rank < self._world - 1:
            self.send(step, data)
        return data

    def total(self, step: int, mine: Sums) -> Sums:
        """Return the sum over all ranks, everywhere."""
        if self._rank > 0:
            mine = mine + np.frombuffer(self.receive(step), np.int64)
        self.send(step, mine.tobytes())
        if self._rank < self._world - 1:
            # The last rank's sum is that of all: it comes around once more.
            mine = np.frombuffer(self.receive(step), np.int64)
            if self._rank < self._world - 2:
                self.send(step, mine.tobytes())
        return mine


def _answer(connection: socket.socket) -> str:
    """Tell whether who was called has answered: `yes`, `no` or `later`."""
    connection.settimeout(0)
    try:
        return "yes" if connection.recv(1) == b"+" else "no"
    except BlockingIOError:
        return "later"
    except OSError:
        return "no"


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise BrokenRingError("a neighbour hung up")
        data += piece
    return bytes(data)


def load(state: Path) -> tuple[int, Vector]:
    """Return the newest checkpoint's step and weights."""
    file = state / "checkpoint"
    if not file.exists():
        return 0, np.zeros(SIZE)
    data = file.read_bytes()
    body = data[32:]
    if hashlib.sha256(body).digest() != data[:32]:
        raise SystemExit("the checkpoint is torn")
    return int.from_bytes(body[:8], "little"), np.frombuffer(body[8:], np.float64)


def save(state: Path, step: int, weights: Vector) -> None:
    """Keep a checkpoint: this one or the one before is there, whatever happens."""
    body = step.to_bytes(8, "little") + weights.tobytes()
    _replace(state / "checkpoint", hashlib.sha256(body).digest() + body)


def _replace(file: Path, data: bytes) -> None:
    new = file.with_suffix(".new")
    with new.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    new.rename(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Train."""
    rank, steps = int(os.environ["RANK"]), int(os.environ["RING_STEPS"])
    places = [_place(each) for each in os.environ["RING"].split(",")]
    if int(os.environ["WORLD_SIZE"]) != len(places):
        raise SystemExit("WORLD_SIZE is not the length of RING")
    state = Path(os.environ["RING_STATE"])
    pause = float(os.environ["RING_PAUSE_S"])
    bind = _place(os.environ.get("RING_BIND") or os.environ["RING"].split(",")[rank])
    step, weights = load(state) if rank == 0 else (0, np.zeros(SIZE))
    _say(f"rank {rank} has step {step}")
    ring = Ring(rank, places, bind)
    first = ring.spread(0, step.to_bytes(8, "little") + weights.tobytes())
    step, weights = int.from_bytes(first[:8], "little"), np.frombuffer(first[8:], np.float64)
    _say(f"rank {rank} begins at step {step}")
    while step < steps:
        weights = moved(weights, ring.total(step, gradient(rank, weights)), len(places))
        step += 1
        time.sleep(pause)
        if rank == 0 and (step % EVERY == 0 or step == steps):
            save(state, step, weights)
    if rank == 0:
        _replace(state / "final", weights.tobytes())
    # Nobody leaves before the result is kept.
    ring.spread(step, b"done")
    _say(f"rank {rank} ends with {digest(weights)}")


if __name__ == "__main__":
    try:
        main()
    except BrokenRingError as e:
        sys.stderr.write(f"the ring is broken: {e}\n")
        raise SystemExit(3) from e
