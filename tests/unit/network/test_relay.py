"""Two relays over real TLS: bytes, ends and resets go through, and what is refused is told."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import cast

import pytest

from cloister.errors import EvidenceError, MalformedError
from cloister.network.addresses import AddressPlan
from cloister.network.carrying import is_dead, prepare_link
from cloister.network.tls import Credential
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


@pytest.mark.spec("RLY-21", "RLY-25")
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


@pytest.mark.spec("RLY-16")
def test_a_program_sees_by_the_address_which_member_speaks(pair: Pair) -> None:
    """Its connections come from what stands for the peer, each from a port of its own."""
    first, second = pair.connected(), pair.connected()
    places = [theirs.getpeername() for _, theirs in (first, second)]
    assert {address for address, _ in places} == {AddressPlan.of(pair.job.counts).arrival(WORKER)}
    assert len({port for _, port in places}) == 2
    for sock in (*first, *second):
        sock.close()


@pytest.mark.spec("RLY-23")
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


@pytest.mark.spec("RLY-12", "RLY-15")
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


@pytest.mark.spec("RLY-31", "RLY-32")
def test_a_reader_that_is_slow_bounds_the_writer(pair: Pair) -> None:
    """What nobody reads is not read from the program either."""
    ours, theirs = pair.connected()
    ours.settimeout(0.5)
    much = bytes(64 << 20)
    with pytest.raises(TimeoutError):
        ours.sendall(much)
    assert pair.worker.relay.counters.peers[PS].sent < 32 << 20
    assert not is_dead(ours)
    assert len(theirs.recv(1 << 20)) > 0


class Link:
    """A socket of which the kernel tells what a test says."""

    def __init__(self, *, unacknowledged: int, silent_ms: int) -> None:
        """Remember it."""
        words = [0] * 13
        words[4], words[12] = unacknowledged, silent_ms
        self._info = struct.pack("8x13I", *words)

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        """Tell what was asked for."""
        assert (level, name) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        return self._info[:size]


@pytest.mark.spec("RLY-32")
@pytest.mark.parametrize(
    ("unacknowledged", "silent_ms", "expected"),
    [(1, 20_001, True), (1, 20_000, False), (0, 3_600_000, False)],
)
def test_a_link_is_dead_when_nobody_acknowledges(
    unacknowledged: int, silent_ms: int, *, expected: bool
) -> None:
    """An idle one is kept alive by the kernel, which notices its end by itself."""
    link = Link(unacknowledged=unacknowledged, silent_ms=silent_ms)
    assert is_dead(cast("socket.socket", link)) is expected


def test_the_kernel_looks_after_idle_links() -> None:
    """Its own default is two hours."""
    with socket.socket() as sock:
        prepare_link(sock)
        idle, every, times = (
            sock.getsockopt(socket.IPPROTO_TCP, name)
            for name in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert idle + every * times <= 30


@pytest.mark.spec("RLY-7")
def test_a_renewed_certificate_is_shown_and_nothing_is_cut(pair: Pair) -> None:
    """Old connections go on; new ones show the new one, and a bad one changes nothing."""
    ours, theirs = pair.connected()
    instance = pair.job.identity(WORKER).instance
    pair.worker.relay.replace_credential(pair.job.domain.credential("worker", instance=instance))
    with pytest.raises(MalformedError):
        pair.worker.relay.replace_credential(Credential(b"none", b"none"))
    pair.job.tell()
    more_ours, more_theirs = pair.connected()
    for here, there in ((ours, theirs), (more_ours, more_theirs)):
        here.sendall(b"x")
        assert there.recv(1) == b"x"


def test_a_roster_does_not_go_back(pair: Pair) -> None:
    """An older one that somebody shows again."""
    with pytest.raises(EvidenceError):
        pair.ps.relay.update_members({}, epoch=0, fetched=0.0)
    ours, theirs = pair.connected()
    ours.sendall(b"x")
    assert theirs.recv(1) == b"x"


def test_what_is_under_way_is_carried_before_the_relay_leaves(pair: Pair) -> None:
    """A program's last words, when it has ended already."""
    ours, theirs = pair.connected()
    ours.sendall(b"last words")
    ours.close()
    pair.worker.relay.stop(drain_s=5)
    assert read_all(theirs) == b"last words"


def test_counts_are_plain_and_in_order(pair: Pair) -> None:
    """As a receipt takes them."""
    ours, theirs = pair.connected()
    ours.sendall(b"abc")
    assert theirs.recv(3) == b"abc"
    assert pair.worker.relay.counters.snapshot() == {
        "peers": {"ps-0": {"opened": 1, "accepted": 0, "sent": 3, "received": 0}},
        "egress": {},
        "refused": {},
        "names": 0,
    }
