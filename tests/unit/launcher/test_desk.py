"""The launcher's end of the desk."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.launcher.desk import Desk
from cloister.launcher.desk_frames import FRAME_BYTES, DeskAnswer, DeskQuestion


class Counter:
    """Spends from ten, or raises what it was told to."""

    def __init__(self) -> None:
        """Nothing is spent."""
        self.left = 10
        self.asked: list[tuple[str, str, int]] = []
        self.error: Exception | None = None
        self.wait = threading.Event()
        self.wait.set()

    def __call__(self, budget: str, principal: str, amount: int) -> int:
        """Spend."""
        self.asked.append((budget, principal, amount))
        assert self.wait.wait(10)
        if self.error is not None:
            raise self.error
        self.left -= amount
        return self.left


@pytest.fixture
def counter() -> Counter:
    """What is spent."""
    return Counter()


@pytest.fixture
def desk(counter: Counter) -> Iterator[Desk]:
    """A desk over it."""
    made = Desk(counter)
    yield made
    made.close()


@pytest.fixture
def end(desk: Desk) -> Iterator[socket.socket]:
    """The workload's end of it, after the start."""
    with socket.socket(fileno=os.dup(desk.filenos()["desk"])) as workload:
        workload.settimeout(10)
        desk.start()
        yield workload


def ask(end: socket.socket, frame: bytes) -> DeskAnswer:
    """Write a frame and read the next."""
    end.sendall(frame)
    found = b""
    while len(found) < FRAME_BYTES:
        part = end.recv(FRAME_BYTES - len(found))
        assert part
        found += part
    return DeskAnswer.from_frame(found)


QUESTION = DeskQuestion("queries", "alice", 3).to_frame()


@pytest.mark.spec("MEM-90", "MEM-92", "RR-8")
def test_questions_are_answered_and_counted(
    desk: Desk, counter: Counter, end: socket.socket
) -> None:
    """What was spent is in the receipt; what was refused is not."""
    assert ask(end, QUESTION) == DeskAnswer(7)
    assert ask(end, DeskQuestion("other", "bob", 1).to_frame()) == DeskAnswer(6)
    counter.error = ReleaseDeniedError("so it is", code="budget.spent")
    assert ask(end, QUESTION) == DeskAnswer(0, "budget.spent", "so it is")
    counter.error = UnavailableError("gone", code="keyservice.unreachable")
    assert ask(end, QUESTION).code == "keyservice.unreachable"
    assert counter.asked[:2] == [("queries", "alice", 3), ("other", "bob", 1)]
    assert desk.spent() == {"queries": 3, "other": 1}


@pytest.mark.spec("MEM-92")
def test_what_is_no_question_is_not_asked(counter: Counter, end: socket.socket) -> None:
    """And the next one is answered."""
    for frame in (b"\xff" * FRAME_BYTES, b"\0" * FRAME_BYTES):
        assert ask(end, frame).code in {"message.malformed", "wire.malformed"}
    assert counter.asked == []
    assert ask(end, QUESTION) == DeskAnswer(7)


@pytest.mark.spec("MEM-91")
def test_a_frame_may_come_in_pieces(end: socket.socket) -> None:
    """A stream has no frames of its own."""
    end.sendall(QUESTION[:5])
    end.sendall(QUESTION[5:100])
    assert ask(end, QUESTION[100:]) == DeskAnswer(7)


@pytest.mark.spec("MEM-91")
def test_one_is_answered_before_the_next_is_read(counter: Counter, end: socket.socket) -> None:
    """Whatever the workload writes ahead waits in the socket."""
    counter.wait.clear()
    end.sendall(QUESTION)
    end.sendall(DeskQuestion("other", "bob", 1).to_frame())
    counter.wait.set()
    assert [ask(end, b"").left, ask(end, b"").left] == [7, 6]


def test_it_ends_with_the_workload_and_with_the_run(desk: Desk, end: socket.socket) -> None:
    """Half a frame is no question, and closing twice is closing once."""
    end.sendall(QUESTION[:10])
    end.close()
    desk._thread.join(10)
    assert not desk._thread.is_alive()
    desk.close()
    desk.close()


def test_closing_ends_the_wait(desk: Desk, end: socket.socket) -> None:
    """Its other end sees the end of the stream."""
    desk.close()
    assert not desk._thread.is_alive()
    assert end.recv(1) == b""


@pytest.mark.spec("MEM-90")
def test_who_may_not_spend_gets_none() -> None:
    """Nothing is passed, and the receipt says nothing."""
    none = Desk(None)
    none.start()
    assert (none.filenos(), none.spent()) == ({}, None)
    none.close()


def test_one_that_was_not_started_is_closed(desk: Desk) -> None:
    """Where the run fails before."""
    numbers = desk.filenos()
    desk.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(numbers["desk"])
