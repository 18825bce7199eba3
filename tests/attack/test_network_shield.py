"""Whoever is no member of the job now, or asks for what the policy does not allow, gets nothing.

Each attacker speaks to a real relay over loopback, with keys as good as he could have. The
parameter server's program must see no connection of his, and its relay must say and count why.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from cloister.network import accepting, members, opening, relay
from cloister.network.addresses import Task
from cloister.network.frames import ABORT, ALPN, END, Answer, Greeting, header
from cloister.network.tls import Credential, peers_context
from cloister.testing.certificates import FakeDomain
from cloister.testing.relays import PS, WORKER, Pair, running_pair

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
OTHER = FakeDomain("clinic.example", at=NOW)  # another key under the same name
SECOND = Task("worker", 1)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A job of two, in which both run, and a second worker is a member whose place is empty."""
    with running_pair(at=NOW) as found:
        found.job.join(found.job.identity(SECOND))
        yield found


def member(pair: Pair, task: Task = SECOND, suffix: str = "00aa11bb") -> Credential:
    """A genuine credential of the job."""
    instance = pair.job.identity(task, suffix).instance
    return pair.job.domain.credential(task.role, instance=instance)


def settings(pair: Pair, credential: Credential, *, alpn: str = ALPN) -> ssl.SSLContext:
    """An opener that takes any acceptor."""
    return peers_context(
        credential,
        ca_pem=pair.job.domain.ca_pem,
        admit=lambda _: None,
        clock=lambda: NOW,
        alpn=alpn,
        opens=True,
    )


def dial(pair: Pair, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A TLS connection to the parameter server's relay; it may only later turn out to be none."""
    plain = pair.stack.enter_context(socket.create_connection(pair.ps.place, timeout=10))
    return pair.stack.enter_context(context.wrap_socket(plain))


def greeted(pair: Pair, credential: Credential, port: int) -> ssl.SSLSocket:
    """The same, and the greeting."""
    connection = dial(pair, settings(pair, credential))
    with contextlib.suppress(OSError):  # who is refused may learn it before
        connection.sendall(Greeting(port).to_bytes())
    return connection


def received_until_reset(program: socket.socket) -> bytes:
    """What a program got before its connection was reset, which must happen."""
    got = b""
    for _ in range(1000):
        try:
            data = program.recv(65536)
            if not data:  # an end that came through before; the reset shows on writing
                time.sleep(0.005)
                program.send(b"?")
        except (ConnectionResetError, BrokenPipeError):
            return got
        got += data
    raise AssertionError("no reset")


def assert_cut(connection: socket.socket) -> None:
    """Nothing comes back but the end."""
    with contextlib.suppress(OSError):
        assert connection.recv(100) == b""


def assert_refused(pair: Pair, code: str) -> None:
    """The relay told and counted it, the program saw nothing, and the job goes on."""
    pair.ps.event(code)
    assert pair.ps.relay.counters.refused[code] >= 1
    pair.listener.settimeout(0.02)
    with pytest.raises(TimeoutError):
        pair.listener.accept()
    pair.listener.settimeout(30)
    ours, theirs = pair.connected()
    ours.sendall(b"on we go")
    assert theirs.recv(8) == b"on we go"


@pytest.mark.spec("RLY-2")
def test_a_rogue_peer_of_another_authority(pair: Pair) -> None:
    """Right names, another CA."""
    credential = OTHER.credential("worker", instance=pair.job.identity(SECOND).instance)
    assert_cut(greeted(pair, credential, pair.port))
    assert_refused(pair, "identity.tls")


@pytest.mark.spec("RLY-5")
def test_a_stolen_certificate_of_a_member_that_was_replaced(pair: Pair) -> None:
    """It is good for hours yet; its holder is not on the roster."""
    stolen = member(pair)
    pair.job.expel(pair.job.identity(SECOND))
    pair.job.join(pair.job.identity(SECOND, "22cc33dd"))
    assert_cut(greeted(pair, stolen, pair.port))
    assert_refused(pair, "identity.member")
    successor = member(pair, suffix="22cc33dd")
    assert greeted(pair, successor, pair.port).recv(4) == Answer.ACCEPTED.encoded()


@pytest.mark.spec("RLY-5")
def test_a_member_that_has_lapsed(pair: Pair) -> None:
    """The roster that was seen said until when."""
    pair.job.join(pair.job.identity(SECOND), expires=NOW)
    assert_cut(greeted(pair, member(pair), pair.port))
    assert_refused(pair, "identity.member")


@pytest.mark.spec("RLY-5")
def test_two_members_with_one_index(pair: Pair) -> None:
    """A key service that let two in has not been one: neither counts."""
    pair.job.join(pair.job.identity(SECOND, "22cc33dd"))
    assert_cut(greeted(pair, member(pair), pair.port))
    assert_refused(pair, "identity.member")


@pytest.mark.spec("RLY-3")
def test_a_member_of_another_job(pair: Pair) -> None:
    """The same domain and role."""
    instance = pair.job.identity(SECOND).instance
    stranger = pair.job.domain.credential("worker", instance=instance, policy="letters")
    assert_cut(greeted(pair, stranger, pair.port))
    assert_refused(pair, "identity.peer")


@pytest.mark.spec("RLY-3")
def test_a_member_by_another_version_of_the_policy(pair: Pair) -> None:
    """The same name, on the roster, another hash."""
    instance = pair.job.identity(SECOND).instance
    older = pair.job.domain.credential("worker", instance=instance, policy_hash=bytes(32))
    assert_cut(greeted(pair, older, pair.port))
    assert_refused(pair, "identity.peer")


@pytest.mark.spec("RLY-3")
def test_our_own_identity_comes_back(pair: Pair) -> None:
    """Somebody has our key, or we are talking to ourselves."""
    assert_cut(greeted(pair, member(pair, PS), pair.port))
    assert_refused(pair, "identity.peer")


@pytest.mark.spec("RLY-4")
def test_a_member_without_a_number(pair: Pair) -> None:
    """An instance of a role that has no network."""
    identity = pair.job.domain.identity("worker", instance="run-7")
    pair.job.join(identity)
    assert_cut(greeted(pair, pair.job.domain.credential("worker", instance="run-7"), pair.port))
    assert_refused(pair, "identity.peer")


@pytest.mark.spec("RLY-1")
def test_a_downgrade_to_tls_1_2(pair: Pair) -> None:
    """With good keys."""
    context = settings(pair, member(pair))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        dial(pair, context)
    assert_refused(pair, "identity.tls")


@pytest.mark.spec("RLY-1")
@pytest.mark.parametrize(
    "text", [b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\x08\xae", b"\x00\x00\x00\x05"]
)
def test_a_peer_that_speaks_without_tls(pair: Pair, text: bytes) -> None:
    """The greeting itself, or what a program would say."""
    with socket.create_connection(pair.ps.place, timeout=10) as plain:
        plain.sendall(text.ljust(16, b"\0"))
        with contextlib.suppress(OSError):
            assert plain.recv(1)[:1] in {b"", b"\x15"}  # nothing, or an alert
    assert_refused(pair, "identity.tls")


@pytest.mark.spec("RLY-1")
def test_a_peer_without_a_certificate(pair: Pair) -> None:
    """TLS 1.3, and nobody in particular."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([ALPN])
    assert_cut(dial(pair, context))
    assert_refused(pair, "identity.tls")


@pytest.mark.spec("RLY-1")
def test_a_member_that_speaks_another_protocol(pair: Pair) -> None:
    """A client of some other service of the job's, diverted."""
    assert_cut(dial(pair, settings(pair, member(pair), alpn="http/1.1")))
    assert_refused(pair, "identity.tls")


class Wire:
    """The operator's wire between the worker's relay and the parameter server's."""

    def __init__(self, pair: Pair, *, change_at: int = -1) -> None:
        """Stand between them; of what the worker sends change one byte, or cut it off."""
        self.heard, self.is_cut = b"", False
        self._pair, self._change_at = pair, change_at
        self._listener = pair.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        pair.job.places[PS] = self._listener.getsockname()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with (
            contextlib.suppress(OSError),
            self._listener.accept()[0] as near,
            socket.create_connection(self._pair.ps.place) as far,
        ):
            back = threading.Thread(target=_copy, args=(far, near), daemon=True)
            back.start()
            while not self.is_cut and (data := near.recv(65536)):
                far.sendall(b"" if self.is_cut else self._passed(data))
            for each in (near, far):
                each.shutdown(socket.SHUT_WR)
            back.join(10)

    def _passed(self, data: bytes) -> bytes:
        here = self._change_at - len(self.heard)
        self.heard += data
        if 0 <= here < len(data):
            return data[:here] + bytes([data[here] ^ 1]) + data[here + 1 :]
        return data


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.mark.spec("RLY-1")
def test_a_recorded_connection_is_played_again(pair: Pair) -> None:
    """Every byte that a genuine peer sent, to a relay that heard them once."""
    wire = Wire(pair)
    ours, theirs = pair.connected()
    ours.sendall(b"pay twice")
    assert theirs.recv(9) == b"pay twice"
    pair.job.places[PS] = pair.ps.place
    with socket.create_connection(pair.ps.place, timeout=10) as replayed:
        replayed.sendall(wire.heard)
        with contextlib.suppress(OSError):
            while replayed.recv(65536):
                pass
    assert_refused(pair, "identity.tls")


@pytest.mark.spec("RLY-24")
def test_a_byte_is_changed_on_the_wire(pair: Pair) -> None:
    """Neither it nor what follows arrives; both programs see a reset."""
    Wire(pair, change_at=20_000)
    ours, theirs = pair.connected()
    with contextlib.suppress(OSError):
        ours.sendall(bytes(60_000))
    got = received_until_reset(theirs)
    assert len(got) < 20_000
    assert not any(got)
    pair.ps.event("protocol.remote")


@pytest.mark.spec("RLY-24")
def test_a_connection_is_cut_between_two_records(pair: Pair) -> None:
    """TCP ends in order there, and the program still learns that this was no end."""
    wire = Wire(pair)
    ours, theirs = pair.connected()
    ours.sendall(b"first half")
    assert theirs.recv(10) == b"first half"
    wire.is_cut = True
    ours.sendall(b"second half")
    with pytest.raises(ConnectionResetError):
        theirs.recv(1)
    with pytest.raises(ConnectionResetError):
        ours.recv(1)


@pytest.mark.spec("RLY-24")
def test_a_peer_ends_tls_without_saying_the_end(pair: Pair) -> None:
    """TLS's own end is not the program's."""
    connection = greeted(pair, member(pair), pair.port)
    assert connection.recv(4) == Answer.ACCEPTED.encoded()
    with pair.listener.accept()[0] as theirs:
        connection.sendall(header(5) + b"hello")
        assert theirs.recv(5) == b"hello"
        connection.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            theirs.recv(1)


@pytest.mark.spec("RLY-20", "RLY-22", "RLY-23")
@pytest.mark.parametrize(
    "words", [b"\x00\x10\x00\x01", b"\x7f\xff\xff\xff", END + END, END + header(1) + b"x"]
)
def test_a_member_whose_frames_are_none(pair: Pair, words: bytes) -> None:
    """It is cut, and its program's connection reset, before a byte of the frame is waited for."""
    connection = greeted(pair, member(pair), pair.port)
    assert connection.recv(4) == Answer.ACCEPTED.encoded()
    with pair.listener.accept()[0] as theirs:
        theirs.settimeout(10)
        connection.sendall(words)
        assert received_until_reset(theirs) == b""
    assert_cut(connection)
    assert_refused(pair, "message.malformed")


@pytest.mark.spec("RLY-10", "RLY-11", "RLY-13")
@pytest.mark.parametrize(
    "first",
    [
        header(5) + b"hello",
        END,
        ABORT,
        b"\x01\x00\x00\x00",
        b"\x02\x00\x08\xae",
        b"\x01\x00\x08\xaeX",
    ],
)
def test_a_member_that_skips_or_bends_the_greeting(pair: Pair, first: bytes) -> None:
    """Frames at once, no port, another version, or more than a greeting."""
    connection = dial(pair, settings(pair, member(pair)))
    connection.sendall(first)
    assert_cut(connection)
    assert_refused(pair, "message.malformed")


@pytest.mark.spec("RLY-12", "RLY-14", "RLY-15")
def test_a_port_that_the_role_may_not_reach(pair: Pair) -> None:
    """A relay that does not ask its own rules first."""
    connection = greeted(pair, member(pair), pair.port + 1)
    assert connection.recv(4) == Answer.REFUSED.encoded()
    assert_cut(connection)
    line = f"workloads.worker.connections.ps: [{pair.port + 1}]"
    assert pair.ps.event("port").line == line
    assert_refused(pair, "port")


@pytest.mark.spec("RLY-14")
def test_a_role_that_may_not_connect_at_all(pair: Pair) -> None:
    """A second parameter server asks the first; the job has but one."""
    twin = Task("ps", 1)
    pair.job.join(pair.job.identity(twin))
    connection = greeted(pair, member(pair, twin), pair.port)
    assert connection.recv(4) == Answer.REFUSED.encoded()
    assert pair.ps.event("instance").line == "workloads.ps.instances.maximum: 2"
    assert_refused(pair, "instance")


@pytest.mark.spec("RLY-30")
def test_a_stranger_that_says_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither before nor behind the handshake."""
    monkeypatch.setattr(accepting, "GREETING_S", 0.2)
    with socket.create_connection(pair.ps.place, timeout=10) as silent:
        assert_cut(silent)
    member_too = dial(pair, settings(pair, member(pair)))
    assert_cut(member_too)
    for _ in range(500):
        if pair.ps.relay.counters.refused["slow"] == 2:
            break
        time.sleep(0.01)  # it is counted behind the reset
    assert pair.ps.relay.counters.refused["slow"] == 2
    monkeypatch.undo()
    assert_refused(pair, "slow")


@pytest.mark.spec("RLY-30")
def test_a_stranger_that_dribbles(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then buys no time."""
    monkeypatch.setattr(accepting, "GREETING_S", 0.3)
    began = time.monotonic()
    with socket.create_connection(pair.ps.place, timeout=10) as slow:
        slow.sendall(b"\x16\x03\x01\x02\x00\x01")
        with contextlib.suppress(OSError):  # a reset, or a broken pipe
            while time.monotonic() < began + 20:
                slow.sendall(b"\0")
                time.sleep(0.02)
    assert time.monotonic() - began < 5
    monkeypatch.undo()
    assert_refused(pair, "slow")


@pytest.mark.spec("RLY-30")
def test_a_stranger_that_talks_without_end(pair: Pair) -> None:
    """A message of the handshake that claims to be long."""
    with socket.create_connection(pair.ps.place, timeout=10) as long:
        with contextlib.suppress(OSError):
            hello = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff" + bytes(0x4000 - 4)
            for _ in range(200):
                long.sendall(hello)
        assert_cut(long)
    pair.listener.settimeout(0.02)
    with pytest.raises(TimeoutError):
        pair.listener.accept()
    pair.ps.event("message.malformed")
    assert sum(pair.ps.relay.counters.refused.values()) == 1


def test_many_strangers_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is room for a few; who is connected does not notice."""
    ours, theirs = pair.connected()
    monkeypatch.setattr(relay, "MAX_STRANGERS", 2)
    with contextlib.ExitStack() as crowd:
        for _ in range(2):
            crowd.enter_context(socket.create_connection(pair.ps.place))
        with (
            contextlib.suppress(ConnectionResetError),  # it may come that soon
            socket.create_connection(pair.ps.place, timeout=10) as third,
        ):
            assert_cut(third)
        ours.sendall(b"still here")
        assert theirs.recv(10) == b"still here"
    assert_refused(pair, "busy")


def test_a_member_that_takes_all_connections(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its share is bounded, and others have theirs."""
    monkeypatch.setattr(relay, "MAX_OF_ONE_PEER", 1)
    assert greeted(pair, member(pair), pair.port).recv(4) == Answer.ACCEPTED.encoded()
    pair.listener.accept()[0].close()
    assert greeted(pair, member(pair), pair.port).recv(4) == Answer.BUSY.encoded()
    assert_refused(pair, "busy")


@pytest.mark.spec("RLY-7")
def test_a_member_that_is_expelled_while_connected(pair: Pair) -> None:
    """Both programs see a reset, before two seconds are over."""
    ours, theirs = pair.connected()
    ours.sendall(b"x")
    assert theirs.recv(1) == b"x"
    began = time.monotonic()
    pair.job.expel(pair.job.identity(WORKER))
    for program in (theirs, ours):
        with pytest.raises(ConnectionResetError):
            program.recv(1)
    assert time.monotonic() - began < 2
    pair.ps.event("identity.member")


@pytest.mark.spec("RLY-5", "RLY-7")
def test_nobody_tells_who_is_a_member(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A roster that is too old counts for nothing: all are cut off, and nobody comes in."""
    ours, theirs = pair.connected()
    monkeypatch.setattr(members, "MAX_ROSTER_AGE_S", 0.0)
    began = time.monotonic()
    for program in (theirs, ours):
        with pytest.raises(ConnectionResetError):
            program.recv(1)
    assert time.monotonic() - began < 5
    assert_cut(greeted(pair, member(pair), pair.port))
    monkeypatch.undo()
    assert_refused(pair, "identity.member")


@pytest.mark.spec("RLY-6")
def test_an_operator_that_misdirects(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """To another member of the job, who would gladly answer."""
    monkeypatch.setattr(opening, "PATIENCE_S", 0.5)
    context = peers_context(
        member(pair),
        ca_pem=pair.job.domain.ca_pem,
        admit=lambda _: None,
        clock=lambda: NOW,
        alpn=ALPN,
        opens=False,
    )
    heard: list[bytes] = []
    listener = pair.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.settimeout(5)

    def answer() -> None:
        with contextlib.suppress(OSError):
            while True:
                plain = listener.accept()[0]
                plain.settimeout(5)
                with context.wrap_socket(plain, server_side=True) as connection:
                    heard.append(connection.recv(4))

    other = threading.Thread(target=answer)
    other.start()
    pair.job.places[PS] = listener.getsockname()
    ours = pair.open(pair.port)
    ours.sendall(b"for the parameter server only")
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
    assert pair.worker.event("identity.peer").place == f"ps-0:{pair.port}"
    listener.shutdown(socket.SHUT_RDWR)
    other.join(10)
    assert not any(heard)


@pytest.mark.spec("RLY-15")
def test_an_operator_that_misdirects_to_nobody(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of his own that has no certificate; the program sees a reset, later."""
    monkeypatch.setattr(opening, "PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pair.job.places[PS] = listener.getsockname()
        ours = pair.open(pair.port)
        with pytest.raises(ConnectionResetError):
            ours.recv(1)
    pair.job.places[PS] = pair.ps.place
    assert_still_works(pair)


def assert_still_works(pair: Pair) -> None:
    """The job goes on."""
    ours, theirs = pair.connected()
    ours.sendall(b"x")
    assert theirs.recv(1) == b"x"
