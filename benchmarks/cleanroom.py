"""What a clean room costs: messages over a cell's pipe beside the same bytes over a bare socket.

    python benchmarks/cleanroom.py echo DESCRIPTOR FRAME      the other end, for messages
    python benchmarks/cleanroom.py take DESCRIPTOR BYTES      the other end, for bare bytes

`rows` runs both for `run.py`, each in a process of its own, in turns.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pairs import Row, Spread

from cloister.cleanroom.encoding import Limits, Message, encode
from cloister.cleanroom.frames import frames_for
from cloister.cleanroom.pipe import Pipe

HERE = Path(__file__).resolve()
LIMITS = Limits(1 << 30)
FRAME = 64 << 10
SMALL_FRAME = 4 << 10
AIM_GB_S = 1.0


def rows(*, rounds: int, megabytes: int) -> Iterator[Row]:
    """Measure everything that a clean room is promised to be fast at."""
    yield from channel_rows(rounds=rounds, megabytes=megabytes)


def channel_rows(*, rounds: int, megabytes: int) -> Iterator[Row]:
    """Measure large messages one way, and small ones there and back."""
    array = np.random.default_rng(1).random(megabytes << 18, np.float32)
    yield _large(array, rounds=rounds)
    for frame in (SMALL_FRAME, FRAME):
        yield _small(frame, rounds=rounds)


def _large(array: np.ndarray, *, rounds: int) -> Row:
    """A message of one array to the other end, which answers when it has decoded it."""
    message, data = Message("take", {}, {"x": array}), memoryview(array).cast("B")
    with _messages(FRAME) as pipe, _bytes(len(data)) as bare:

        def ours() -> None:
            pipe.send(message)
            pipe.receive(60)

        def theirs() -> None:
            _write(bare, data)
            os.read(bare, 1)

        seconds = _in_turns({"bare": theirs, "pipe": ours}, rounds=rounds, times=1)
    bare_s, ours_s = Spread.of(seconds["bare"]), Spread.of(seconds["pipe"])
    ratio = Spread.of([b / a for a, b in zip(seconds["bare"], seconds["pipe"], strict=True)])
    speed = len(data) / ours_s.middle / 1e9
    return Row(
        part="cleanroom",
        name=f"a message of {len(data) >> 20} MiB into a cell, in frames of {FRAME >> 10} KiB",
        left=f"{len(data) / bare_s.middle / 1e9:.2f} GB/s",
        right=f"{speed:.2f} GB/s",
        result=f"{ratio.text()} times as long",
        aim=f"{AIM_GB_S:.0f} GB/s",
        met=speed >= AIM_GB_S,
        facts={"bare_s": bare_s.record(), "pipe_s": ours_s.record(), "times": ratio.record()},
    )


def _small(frame: int, *, rounds: int) -> Row:
    """A small message there and back, and as many bytes in whole frames."""
    message = Message("echo", {"rate": 0.5}, {"x": np.arange(64, dtype=np.float32)})
    data = bytes(frames_for(len(encode(message)), frame) * frame)
    times = 100
    with _messages(frame) as pipe, _bytes(len(data), back=len(data)) as bare:

        def ours() -> None:
            pipe.send(message)
            pipe.receive(60)

        def theirs() -> None:
            _write(bare, data)
            _read(bare, len(data))

        seconds = _in_turns({"bare": theirs, "pipe": ours}, rounds=rounds, times=times)
    bare_s, ours_s = Spread.of(seconds["bare"]), Spread.of(seconds["pipe"])
    more = ours_s.middle - bare_s.middle
    return Row(
        part="cleanroom",
        name=f"a small message to a cell and back, in a frame of {frame >> 10} KiB",
        left=f"{bare_s.text('.0f', 1e6)} us",
        right=f"{ours_s.text('.0f', 1e6)} us",
        result=f"{more * 1e6:+.0f} us",
        facts={"bare_s": bare_s.record(), "pipe_s": ours_s.record()},
    )


def _in_turns(
    sides: dict[str, Callable[[], None]], *, rounds: int, times: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, work in sides.items():
            began = time.perf_counter()
            for _ in range(times):
                work()
            if number:  # the first time touches memory
                seconds[side].append((time.perf_counter() - began) / times)
    return seconds


@contextlib.contextmanager
def _messages(frame: int) -> Iterator[Pipe]:
    with _other_end("echo", frame) as descriptor:
        pipe = Pipe(descriptor, frame, LIMITS)
        yield pipe
        pipe.close()


@contextlib.contextmanager
def _bytes(size: int, *, back: int = 1) -> Iterator[int]:
    with _other_end("take", size, back) as descriptor:
        yield descriptor
        os.close(descriptor)


@contextlib.contextmanager
def _other_end(*arguments: object) -> Iterator[int]:
    near, far = socket.socketpair()
    what, *rest = map(str, arguments)
    process = subprocess.Popen(
        [sys.executable, str(HERE), what, str(far.fileno()), *rest],
        pass_fds=(far.fileno(),),
        env=os.environ | {"PYTHONPATH": str(HERE.parents[1] / "src")},
    )
    far.close()
    with process:
        yield near.detach()


def _write(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _read(descriptor: int, size: int) -> None:
    while size:
        size -= len(os.read(descriptor, min(size, 256 << 10)))


def _echo(descriptor: int, frame: int) -> None:
    """Send messages back, or take them."""
    pipe = Pipe(descriptor, frame, LIMITS, send_s=None)
    with contextlib.suppress(Exception):  # the other end has gone
        while True:
            message = pipe.receive(None)
            pipe.send(message if message.kind == "echo" else Message("taken"))


def _take(descriptor: int, size: int, back: int) -> None:
    """Read so many bytes into memory, and answer with a few."""
    answer = bytes(back)
    while True:
        buffer, at = np.empty(size, np.uint8).data, 0
        while at < size:
            found = os.read(descriptor, min(size - at, 256 << 10))
            if not found:
                return
            buffer[at : at + len(found)] = found
            at += len(found)
        _write(descriptor, answer)


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        _echo(int(sys.argv[2]), int(sys.argv[3]))
    else:
        _take(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
