"""What an operator sees of a connection, and whether two records of it can be told apart.

A tap carries bytes between a client and a server, as a wire does, and notes when how many went
which way. Where all messages have one size, bytes are counted out into messages; otherwise pieces
that follow each other closely are one burst. Where TCP cuts says nothing.

Example::

    with Tap(server_address) as tap:
        client = ExchangeClient(tap.connect, rules, index=0)
        ...
    first = messages(tap.notes, size=message_bytes(rules))
    assert same_sizes(first, second)
    assert likeness(intervals(first), intervals(second)) > 0.01
"""

from __future__ import annotations

import contextlib
import itertools
import math
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import numpy as np

__all__ = [
    "Burst",
    "Note",
    "Tap",
    "bursts",
    "intervals",
    "likeness",
    "messages",
    "same_sizes",
    "shuffled",
]

Direction = Literal["out", "in"]


@dataclass(frozen=True, slots=True)
class Note:
    """Bytes that passed: when, how many, and whether towards the server (`out`) or from it."""

    at: float
    size: int
    direction: Direction


@dataclass(frozen=True, slots=True)
class Burst:
    """Bytes that passed together; `at` is when the first of them did."""

    at: float
    size: int
    direction: Direction


class Tap:
    """A wire with somebody listening; each connection to it is carried to the server."""

    def __init__(self, server: tuple[str, int]) -> None:
        """Take where the server listens."""
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.notes: list[Note] = []

    def __enter__(self) -> Tap:
        """Begin to carry."""
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut all connections."""
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(0.5)

    @property
    def port(self) -> int:
        """Where the tap listens, on loopback."""
        port: int = self._listener.getsockname()[1]
        return port

    def connect(self) -> socket.socket:
        """Return a connection through the tap."""
        return socket.create_connection(self._listener.getsockname(), timeout=5)

    def cut(self) -> None:
        """Break what is connected."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _start(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._server, timeout=5)
            except OSError:
                return
            for sock in (near, far):
                sock.settimeout(None)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets += [near, far]
            self._start(self._carry, near, far, "out")
            self._start(self._carry, far, near, "in")

    def _carry(self, source: socket.socket, target: socket.socket, direction: Direction) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                note = Note(time.monotonic(), len(data), direction)
                with self._lock:
                    self.notes.append(note)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def bursts(notes: Sequence[Note], *, gap_s: float) -> list[Burst]:
    """Join notes of one direction that follow each other within a gap; those out come first."""
    found: list[Burst] = []
    directions: tuple[Direction, Direction] = ("out", "in")
    for direction in directions:
        last = -math.inf
        for note in sorted((each for each in notes if each.direction == direction), key=_at):
            if note.at - last < gap_s:
                found[-1] = Burst(found[-1].at, found[-1].size + note.size, direction)
            else:
                found.append(Burst(note.at, note.size, direction))
            last = note.at
    return found


def messages(notes: Sequence[Note], *, size: int) -> list[Burst]:
    """Count the bytes of each direction out into messages of one size; those out come first.

    A message is where its first byte passed, however closely it follows the one before. Notes are
    of one connection. What is left over at the end is a message of a smaller size.
    """
    found: list[Burst] = []
    directions: tuple[Direction, Direction] = ("out", "in")
    for direction in directions:
        left = 0
        for note in sorted((each for each in notes if each.direction == direction), key=_at):
            rest = note.size
            while rest:
                if not left:
                    found.append(Burst(note.at, 0, direction))
                    left = size
                part = min(left, rest)
                found[-1] = Burst(found[-1].at, found[-1].size + part, direction)
                left, rest = left - part, rest - part
    return found


def same_sizes(first: Sequence[Burst], second: Sequence[Burst]) -> bool:
    """Whether every burst of both has its direction's one size, as many each way, give or take one.

    Where a record begins and ends is the listener's doing.
    """
    directions: tuple[Direction, Direction] = ("out", "in")
    for direction in directions:
        sizes = [
            [each.size for each in record if each.direction == direction]
            for record in (first, second)
        ]
        if len(set(sizes[0] + sizes[1])) > 1 or abs(len(sizes[0]) - len(sizes[1])) > 1:
            return False
    return True


def intervals(record: Sequence[Burst], direction: Direction = "out") -> list[float]:
    """Return the seconds from each burst of a direction to the next."""
    times = [each.at for each in record if each.direction == direction]
    return [after - before for before, after in itertools.pairwise(times)]


def likeness(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the p-value of the two-sample Kolmogorov-Smirnov test, by its asymptotic law.

    Where both are drawn from one distribution it is below p with a probability of about p.
    """
    a, b = np.sort(np.asarray(first)), np.sort(np.asarray(second))
    both = np.concatenate([a, b])
    below_a = np.searchsorted(a, both, side="right") / a.size
    below_b = np.searchsorted(b, both, side="right") / b.size
    distance = float(np.max(np.abs(below_a - below_b)))
    effective = math.sqrt(a.size * b.size / (a.size + b.size))
    value = (effective + 0.12 + 0.11 / effective) * distance
    total = 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * value) ** 2) for k in range(1, 101))
    return 1.0 if value < 0.2 else min(1.0, max(0.0, total))  # noqa: PLR2004  # the series is slow there


def shuffled(
    first: Sequence[float], second: Sequence[float], *, seed: int, times: int = 20_000
) -> float:
    """Return the p-value of a permutation test for a difference of means.

    It sees another rate, which the other test sees late. It gives no less than 1 in `times`.
    """
    both = np.concatenate([np.asarray(first), np.asarray(second)])
    split = len(first)
    seen = abs(float(both[:split].mean() - both[split:].mean()))
    generator = np.random.default_rng(seed)
    as_far = 0
    for _ in range(times):
        mixed = generator.permutation(both)
        as_far += abs(float(mixed[:split].mean() - mixed[split:].mean())) >= seen
    return (as_far + 1) / (times + 1)


def _at(note: Note) -> float:
    return note.at
