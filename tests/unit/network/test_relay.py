"""Two relays over real TLS: bytes, ends and resets go through, and what is refused is told."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from cloister.testing.relays import PS, WORKER, Pair, running_pair

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A job of two, in which both run."""
    with running_pair(at=NOW) as found:
        yield found


def reset(sock: socket.socket) -> None:
    """Close as a killed program does that had bytes to read."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_all(sock: socket.socket) -> bytes:
    found = bytearray()
    while data := sock.recv(1 << 20):
        found += data
    return bytes(found)


def test_bytes_go_both_ways_and_each_end_by_itself(pair: Pair) -> None:
    """One direction ends while the other goes on, as on a connection without relays."""
    ours, theirs = pair.connected()
    sent = os.urandom(5_000_000)
    writer = threading.Thread(target=lambda: (ours.sendall(sent), ours.shutdown(socket.SHUT_WR)))
    writer.start()
    assert hashlib.sha256(read_all(theirs)).digest() == hashlib.sha256(sent).digest()
    writer.join(30)
    theirs.sendall(b"still here")
    assert ours.recv(10) == b"still here"
    theirs.close()
    assert ours.recv(10) == b""
    ours.close()
    counted = pair.ps.relay.counters.peers[WORKER]
    assert (counted.accepted, counted.received, counted.sent) == (1, 5_000_000, 10)


def test_a_reset_is_a_reset_on_the_other_side(pair: Pair) -> None:
    """And not an end, which would look like a whole message."""
    ours, theirs = pair.connected()
    ours.sendall(b"half a mess")
    assert theirs.recv(11) == b"half a mess"
    reset(ours)
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)
    ours, theirs = pair.connected()
    reset(theirs)
    with pytest.raises(ConnectionResetError):
        ours.recv(1)


def test_a_relay_that_dies_resets(pair: Pair) -> None:
    """Nobody said the end, so it is none."""
    ours, theirs = pair.connected()
    ours.sendall(b"x")
    assert theirs.recv(1) == b"x"
    pair.ps.relay.stop()
    with pytest.raises(ConnectionResetError):
        ours.recv(1)


def test_a_program_that_is_not_there_yet_is_waited_for(pair: Pair) -> None:
    """The connection looks slow, and then works."""
    pair.listener.close()
    ours = pair.open(pair.port)
    ours.sendall(b"early")
    time.sleep(0.3)
    with socket.create_server(("127.0.0.2", pair.port)) as listener:
        listener.settimeout(10)
        with listener.accept()[0] as theirs:
            theirs.settimeout(10)
            assert theirs.recv(5) == b"early"


def test_a_peer_that_refuses_is_not_asked_twice(pair: Pair) -> None:
    """The acceptor's rules know another port only."""
    ours = pair.open(1)
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
    assert pair.worker.event("refused-by-policy").place == "ps-0:1"
    assert pair.ps.event("port").line == "workloads.worker.connections.ps: [1]"


def test_a_reader_that_is_slow_bounds_the_writer(pair: Pair) -> None:
    """What nobody reads is not read from the program either."""
    ours, theirs = pair.connected()
    ours.settimeout(0.5)
    much = bytes(64 << 20)
    with pytest.raises(TimeoutError):
        ours.sendall(much)
    assert pair.worker.relay.counters.peers[PS].sent < 32 << 20
    assert len(theirs.recv(1 << 20)) > 0
