"""Whole messages over a socket."""

import socket
import threading
import time

import pytest

from cloister.cleanroom.exchange_link import Link


@pytest.mark.spec("TR-10")
def test_messages_in_pieces_are_whole() -> None:
    ours, theirs = socket.socketpair()
    link = Link(ours, size=10, now=time.monotonic)
    for piece in (b"0123", b"456789ab", b"cdefghij"):
        theirs.sendall(piece)
    assert link.receive() is not None
    assert link.incoming == b"0123456789"
    assert link.receive() is not None
    assert link.incoming == b"abcdefghij"
    theirs.sendall(b"cut")
    theirs.close()
    assert link.receive() is None
    link.close()
    assert link.ended


def test_what_is_sent_is_the_buffer() -> None:
    ours, theirs = socket.socketpair()
    link = Link(ours, size=4, now=time.monotonic)
    link.outgoing[:] = b"word"
    assert link.send()
    assert theirs.recv(100) == b"word"
    theirs.close()
    assert not all([link.send(), link.send()])
    link.close()


def test_an_end_wakes_who_reads() -> None:
    ours, theirs = socket.socketpair()
    link = Link(ours, size=4, now=time.monotonic)
    found: list[object] = []
    link.reader = threading.Thread(target=lambda: found.append(link.receive()))
    link.reader.start()
    link.close()
    assert found == [None]
    theirs.close()
