"""Sockets that somebody else makes: kept ready, waited for, and missed in good order."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from cloister.network.loop import Loop
from cloister.network.makers import Maker
from cloister.testing.relays import make_sockets


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that gives up after a while."""
    found = Loop()
    found.later(5, found.stop)
    yield found
    found.close()


def test_each_taker_gets_a_socket_of_its_own(loop: Loop) -> None:
    """Also more than are kept ready."""
    mine, theirs = socket.socketpair()
    stage = threading.Thread(target=make_sockets, args=(theirs,))
    stage.start()
    maker = Maker(loop, mine)
    got: list[socket.socket | None] = []

    def take(sock: socket.socket | None) -> None:
        got.append(sock)
        if len(got) == 30:
            loop.stop()

    for _ in range(30):
        maker.take(take)
    loop.run()
    maker.close()
    stage.join(5)
    sockets = [sock for sock in got if sock is not None]
    assert len({sock.fileno() for sock in sockets}) == 30
    assert all(sock.type == socket.SOCK_STREAM and not sock.getblocking() for sock in sockets)
    for sock in sockets:
        sock.close()


def test_a_maker_that_is_gone_gives_none(loop: Loop) -> None:
    """To those who wait, and to those who come later."""
    mine, theirs = socket.socketpair()
    maker = Maker(loop, mine)
    got: list[socket.socket | None] = []
    maker.take(got.append)
    theirs.close()
    loop.later(0.05, loop.stop)
    loop.run()
    maker.take(got.append)
    assert got == [None, None]
    assert maker.is_broken


def test_a_maker_that_has_none_now_is_asked_again(loop: Loop) -> None:
    """By whoever comes next."""
    mine, theirs = socket.socketpair()
    with theirs:
        maker = Maker(loop, mine)
        assert theirs.recv(10) == b"\x08"
        theirs.send(b"-")
        loop.later(0.02, lambda: maker.take(lambda sock: sock and sock.close()))
        loop.later(0.05, loop.stop)
        loop.run()
        assert theirs.recv(10) == b"\x09"
        maker.close()
