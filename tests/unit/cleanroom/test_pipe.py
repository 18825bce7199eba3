"""A cell's pipe, with the other end in the hand of whoever wants to do harm."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cloister.cleanroom.encoding import Limits, Message, encode
from cloister.cleanroom.frames import idle, split
from cloister.cleanroom.pipe import Pipe
from cloister.errors import (
    CallerError,
    CloisterError,
    LocalProtocolError,
    MalformedError,
    WorkloadError,
)

FRAME = 4096
LIMITS = Limits(8 << 20)
SMALL = Message("step", {"rate": 0.5}, {"w": np.arange(3, dtype=np.float32)})
LARGE = Message("step", {}, {"w": np.arange(1 << 20, dtype=np.float32)})


class Ends:
    """The trusted end, and a socket of the other one."""

    def __init__(self, *, send_s: float | None = 5.0) -> None:
        near, self.far = socket.socketpair()
        self.pipe = Pipe(near.detach(), FRAME, LIMITS, send_s=send_s)

    def close(self) -> None:
        """Leave no descriptor."""
        self.pipe.close()
        self.far.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    found = Ends()
    yield found
    found.close()


def beside(work: Callable[[], object]) -> threading.Thread:
    """Do something at the same time."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def framed(message: Message) -> bytes:
    """A message as it is on the pipe."""
    return b"".join(split(encode(message), FRAME))


@pytest.mark.spec("CC-30")
@pytest.mark.parametrize("message", [SMALL, LARGE], ids=["small", "large"])
def test_both_ends_say_and_hear(message: Message) -> None:
    """The cell's end blocks, and sets nothing on its descriptor."""
    near, far = socket.socketpair()
    trusted = Pipe(near.detach(), FRAME, LIMITS)
    cell = Pipe(far.detach(), FRAME, LIMITS, send_s=None)

    def echo() -> None:
        cell.send(cell.receive(None))
        cell.send(cell.receive(30))

    thread = beside(echo)
    for _ in range(2):
        trusted.send(message)
        found = trusted.receive(30)
        assert (found.kind, found.fields) == (message.kind, message.fields)
        assert np.array_equal(found.arrays["w"], message.arrays["w"])
        assert found.arrays["w"].flags.writeable
    thread.join(30)
    assert os.get_blocking(cell.fileno())
    trusted.close()
    cell.close()


@pytest.mark.spec("CC-30")
def test_two_pipes_instead_of_a_socket() -> None:
    """One for each direction."""
    reading, far_writing = os.pipe()
    far_reading, writing = os.pipe()
    near = Pipe(reading, FRAME, LIMITS, write_descriptor=writing)
    far = Pipe(far_reading, FRAME, LIMITS, write_descriptor=far_writing)
    thread = beside(lambda: far.send(far.receive(30)))
    near.send(LARGE)
    assert np.array_equal(near.receive(30).arrays["w"], LARGE.arrays["w"])
    thread.join(30)
    near.close()
    far.close()
    far.close()


@pytest.mark.spec("CC-30")
def test_what_is_sent_are_frames(ends: Ends) -> None:
    """The bytes are those of the frames, however they were put together."""
    for message in (SMALL, LARGE):
        expected, found = framed(message), bytearray()

        def read(expected: bytes = expected, found: bytearray = found) -> None:
            while len(found) < len(expected):
                found.extend(ends.far.recv(1 << 20))

        thread = beside(read)
        ends.pipe.send(message)
        thread.join(30)
        assert found == expected


def refused(ends: Ends, kind: type[CloisterError], timeout_s: float = 5.0) -> str:
    """Receive, and be disappointed; after that the pipe is of no use."""
    with pytest.raises(kind) as caught:
        ends.pipe.receive(timeout_s)
    for call in (lambda: ends.pipe.receive(1), lambda: ends.pipe.send(SMALL)):
        with pytest.raises(LocalProtocolError):
            call()
    return caught.value.code


@pytest.mark.spec("CC-31", "CC-34")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (idle(FRAME), "wire.malformed"),
        (b"\xff" * FRAME, "wire.too-large"),
        (((8 << 20) + 1).to_bytes(8, "little"), "wire.too-large"),
        (framed(SMALL)[:-1] + b"\1", "wire.malformed"),
        (b"".join(split(b"\x80\x04cos\nsystem\n(S'x'\ntR.1", FRAME)), "message.malformed"),
        (b"GET / HTTP/1.1\r\n\r\n", "wire.too-large"),
    ],
    ids=["idle", "huge", "too-large", "filling", "pickle", "http"],
)
def test_hostile_bytes(ends: Ends, data: bytes, code: str) -> None:
    """They are refused without waiting for more."""
    ends.far.sendall(data)
    assert refused(ends, MalformedError) == code


@pytest.mark.spec("CC-33", "CC-34")
@pytest.mark.parametrize("length", [0, 1, 7, 8, 100, FRAME - 1])
def test_an_end_in_the_middle(ends: Ends, length: int) -> None:
    """Wherever it is."""
    ends.far.sendall(framed(SMALL)[:length])
    ends.far.close()
    assert refused(ends, WorkloadError) == "cell.ended"


@pytest.mark.spec("CC-33")
def test_an_end_while_sending(ends: Ends) -> None:
    """Nobody takes the rest."""
    ends.far.close()
    with pytest.raises(WorkloadError) as caught:
        ends.pipe.send(LARGE)
    assert caught.value.code == "cell.ended"


@pytest.mark.spec("CC-32", "CC-34")
def test_silence(ends: Ends) -> None:
    """A message that never comes, and one that stops coming."""
    assert refused(ends, WorkloadError, 0.05) == "cell.late"


@pytest.mark.spec("CC-32")
def test_one_that_dribbles(ends: Ends) -> None:
    """There is always something to read, and the message is late all the same."""
    data, done = framed(LARGE), threading.Event()

    def dribble() -> None:
        for at in range(len(data)):
            if done.is_set():
                return
            with contextlib.suppress(BlockingIOError):
                ends.far.send(data[at : at + 1])

    ends.far.settimeout(0)
    thread = beside(dribble)
    began = time.monotonic()
    assert refused(ends, WorkloadError, 0.2) == "cell.late"
    assert time.monotonic() - began < 5
    done.set()
    thread.join(5)


@pytest.mark.spec("CC-32")
@pytest.mark.parametrize("sip", [0, 1])
def test_one_that_does_not_read(sip: int) -> None:
    """Or a little at a time."""
    ends, done = Ends(send_s=0.2), threading.Event()

    def sips() -> None:
        while not done.wait(0.001):
            ends.far.recv(sip)

    thread = beside(sips if sip else lambda: None)
    with pytest.raises(WorkloadError) as caught:
        ends.pipe.send(LARGE)
    assert caught.value.code == "cell.late"
    done.set()
    thread.join(5)
    ends.close()


def test_a_message_that_cannot_be_written_breaks_nothing(ends: Ends) -> None:
    """It was found before a byte was sent."""
    with pytest.raises(LocalProtocolError):
        ends.pipe.send(Message("step", {"a": float("nan")}))
    ends.pipe.send(SMALL)
    assert ends.far.recv(8) == framed(SMALL)[:8]


def test_what_is_ready_is_taken_without_waiting(ends: Ends) -> None:
    """Two messages at once are two messages."""
    ends.far.sendall(framed(SMALL) * 2)
    for _ in range(2):
        assert ends.pipe.receive(5).kind == "step"


def test_a_closed_pipe_says_nothing() -> None:
    """And closes no descriptor twice, which may be another's by then."""
    ends = Ends()
    ends.pipe.close()
    other = os.dup(ends.far.fileno())
    ends.pipe.close()
    os.fstat(other)
    with pytest.raises(LocalProtocolError):
        ends.pipe.send(SMALL)
    os.close(other)
    ends.far.close()


def test_frames_of_another_size_are_a_mistake() -> None:
    """Found at once."""
    with pytest.raises(CallerError):
        Pipe(0, 100, LIMITS)
