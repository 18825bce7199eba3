"""The workload's end of the desk."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from cloister.errors import ConfigError, MalformedError, ReleaseDeniedError, UnavailableError
from cloister.keyservice.policy.budgets import DESK
from cloister.launcher.desk import Desk as LaunchersDesk
from cloister.launcher.desk_frames import FRAME_BYTES, DeskAnswer, DeskQuestion
from cloister.launcher.passed_desk import Desk


class Counter:
    """Spends from ten."""

    left = 10
    asked = 0

    def __call__(self, budget: str, principal: str, amount: int) -> int:
        """Spend."""
        del budget, principal
        self.asked += 1
        if amount > self.left:
            raise ReleaseDeniedError("not so much", code="budget.spent")
        self.left -= amount
        return self.left


Opened = Callable[[], Desk]


@pytest.fixture
def served() -> Iterator[tuple[Counter, LaunchersDesk, Desk]]:
    """Both ends."""
    counter = Counter()
    theirs = LaunchersDesk(counter)
    mine = Desk(socket.socket(fileno=os.dup(theirs.filenos()[DESK])))
    theirs.start()
    yield counter, theirs, mine
    mine.close()
    theirs.close()


@pytest.mark.spec("MEM-91", "MEM-92")
def test_a_workload_spends(served: tuple[Counter, LaunchersDesk, Desk]) -> None:
    """What is left, or the refusal; and it goes on after one."""
    _, _, desk = served
    with desk:
        assert desk.spend("queries", "alice", 4) == 6
        with pytest.raises(ReleaseDeniedError) as e:
            desk.spend("queries", "alice", 7)
        assert e.value.code == "budget.spent"
        assert desk.spend("queries", "alice", 6) == 0


def test_what_cannot_be_meant_is_not_sent(served: tuple[Counter, LaunchersDesk, Desk]) -> None:
    """The mistake is the workload's own."""
    counter, _, desk = served
    for principal, amount in (("a b", 1), ("alice", -1)):
        with pytest.raises(MalformedError):
            desk.spend("queries", principal, amount)
    assert counter.asked == 0


@pytest.mark.spec("MEM-91")
def test_threads_take_turns(served: tuple[Counter, LaunchersDesk, Desk]) -> None:
    """Each has the answer to its own question."""
    _, _, desk = served
    left: list[int] = []
    threads = [
        threading.Thread(target=lambda: left.append(desk.spend("queries", "alice", 1)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(left) == list(range(2, 10))


def test_a_desk_that_is_gone_says_so(served: tuple[Counter, LaunchersDesk, Desk]) -> None:
    """Now, and from then on: nobody takes a late answer for that to another question."""
    _, theirs, desk = served
    theirs.close()
    for _ in range(2):
        with pytest.raises(UnavailableError):
            desk.spend("queries", "alice", 1)


def test_an_answer_that_is_none_ends_it() -> None:
    """It is not known where the next one would begin."""
    ours, theirs = socket.socketpair()
    with ours, Desk(theirs) as desk:
        ours.sendall(b"\xff" * FRAME_BYTES)
        with pytest.raises(MalformedError):
            desk.spend("queries", "alice", 1)
        with pytest.raises(UnavailableError):
            desk.spend("queries", "alice", 1)


@pytest.mark.spec("MEM-91", "MEM-93")
def test_an_answer_that_comes_late_is_that_of_the_same_question() -> None:
    """It is not asked again, so that it is spent once; and the desk is of use as before."""
    ours, theirs = socket.socketpair()
    frame = DeskAnswer(7).to_frame()
    with ours, Desk(theirs, timeout_s=0.05) as desk:
        for part in (frame[:100], frame[100:]):
            with pytest.raises(UnavailableError) as e:
                desk.spend("queries", "alice", 1)
            assert e.value.code == "keyservice.unreachable"
            ours.sendall(part)
        assert desk.spend("queries", "alice", 1) == 7
        assert questions(ours) == [DeskQuestion("queries", "alice", 1)]


@pytest.mark.spec("MEM-91")
def test_an_answer_that_comes_late_is_not_that_of_another_question() -> None:
    """It is dropped before that is asked; while it is owed, nothing else is sent."""
    ours, theirs = socket.socketpair()
    with ours, Desk(theirs, timeout_s=0.05) as desk:
        for principal in ("alice", "bob"):
            with pytest.raises(UnavailableError):
                desk.spend("queries", principal, 1)
        assert questions(ours) == [DeskQuestion("queries", "alice", 1)]
        ours.sendall(DeskAnswer(7).to_frame() + DeskAnswer(3).to_frame())
        assert desk.spend("queries", "bob", 1) == 3
        assert questions(ours) == [DeskQuestion("queries", "bob", 1)]


def questions(end: socket.socket) -> list[DeskQuestion]:
    """Return what a workload has written so far."""
    end.settimeout(0)
    data = end.recv(65536)
    return [
        DeskQuestion.from_frame(data[at : at + FRAME_BYTES])
        for at in range(0, len(data), FRAME_BYTES)
    ]


def environment(names: str, **changes: str) -> dict[str, str]:
    """What the launcher sets for process 7."""
    count = str(len(names.split(":")))
    return {"LISTEN_FDS": count, "LISTEN_FDNAMES": names, "LISTEN_PID": "7"} | changes


@pytest.mark.spec("MEM-90")
@pytest.mark.parametrize(
    "said",
    [
        {},
        environment("api"),
        environment("desk", LISTEN_PID="8"),
        environment("desk", LISTEN_FDS="2"),
        environment("a:b:" + "c:" * 500 + "desk"),  # nothing is open there
    ],
)
def test_where_none_was_passed_there_is_none(said: dict[str, str]) -> None:
    """Nor is another process's taken."""
    with pytest.raises(ConfigError) as e:
        Desk.passed(said, process=7)
    assert e.value.code == "config.missing"


@pytest.mark.spec("MEM-90")
def test_the_passed_descriptor_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, behind the listeners; and it is no listening socket."""
    ours, theirs = socket.socketpair()
    listening = socket.create_server(("127.0.0.1", 0))
    with ours, listening:
        first = theirs.detach()
        monkeypatch.setattr("cloister.launcher.passed_desk._FIRST", first - 1)
        with Desk.passed(environment("api:desk"), process=7) as desk:
            assert desk._end.fileno() == first
            assert not os.get_inheritable(first)
        monkeypatch.setattr("cloister.launcher.passed_desk._FIRST", listening.detach())
        with pytest.raises(ConfigError):
            Desk.passed(environment("desk"), process=7)
