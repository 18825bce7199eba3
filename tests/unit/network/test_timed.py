"""Every wait has an end, and a message takes no more memory than came."""

import select
import socket
import ssl
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from cloister.network.timed import TimedSocket
from cloister.network.tls import AnyClient, client_context, server_context
from cloister.testing.certificates import FakeDomain

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)
LONG_S = 20.0


def soon(seconds: float = LONG_S) -> float:
    return time.monotonic() + seconds


def plain_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]


def shielded_pair() -> tuple[socket.socket, socket.socket]:
    one, other = plain_pair()
    server = server_context(
        DOMAIN.credential("serve"),
        ca_pem=DOMAIN.ca_pem,
        clients=AnyClient("a test of waiting"),
        clock=lambda: NOW,
    )
    client = client_context(
        ca_pem=DOMAIN.ca_pem, expected=DOMAIN.identity("serve"), credential=None, clock=lambda: NOW
    )
    found: list[socket.socket] = []
    thread = threading.Thread(
        target=lambda: found.append(server.wrap_socket(other, server_side=True))
    )
    thread.start()
    wrapped = client.wrap_socket(one)
    thread.join(LONG_S)
    return wrapped, found[0]


@pytest.fixture(params=[plain_pair, shielded_pair])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[TimedSocket, TimedSocket]]:
    """Two ends of one connection."""
    one, other = (TimedSocket(each) for each in request.param())
    yield one, other
    one.cut()
    one.close()
    other.close()


def test_bytes_come_as_they_were_sent(pair: tuple[TimedSocket, TimedSocket]) -> None:
    """Small and large, while the other side reads; the end is told."""
    one, other = pair
    data = bytes(range(256)) * 12_000
    thread = threading.Thread(target=lambda: one.write(data, deadline=soon()))
    thread.start()
    first = other.read(100, deadline=soon())
    assert 0 < len(first) <= 100
    assert other.read_on(first, len(data), deadline=soon()) == data
    thread.join(LONG_S)
    one.close()
    assert other.read(1, deadline=soon()) == b""
    assert other.read_on(b"ab", 3, deadline=soon()) is None


@pytest.mark.parametrize("ends", [False, True])
def test_a_connection_is_quiet_until_something_comes(
    pair: tuple[TimedSocket, TimedSocket], *, ends: bool
) -> None:
    """A byte that nobody has read, or the end."""
    one, other = pair
    assert one.is_quiet()
    other.write(b"ab", deadline=soon())
    assert one.read(2, deadline=soon()) == b"ab"
    assert one.is_quiet()
    if ends:
        other.close()
    else:
        other.write(b"a", deadline=soon())
    assert select.select([one.socket], [], [], LONG_S)[0]
    assert not one.is_quiet()


def test_what_was_decrypted_and_not_read_is_no_quiet() -> None:
    """TLS has it already, and the kernel nothing any more."""
    one, other = (TimedSocket(each) for each in shielded_pair())
    other.write(b"ab", deadline=soon())
    assert one.read(1, deadline=soon()) == b"a"
    assert not one.is_quiet()
    one.close()
    other.close()


def test_a_ticket_of_tls_is_nothing_that_came() -> None:
    """Whoever ends TLS outside sends some after the handshake, and whenever he likes."""
    plain, accepted = plain_pair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 2
    credential = DOMAIN.credential("serve")
    with tempfile.NamedTemporaryFile() as file:
        file.write(credential.certificate_pem + credential.key_pem)
        file.flush()
        context.load_cert_chain(file.name)
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    found: list[socket.socket] = []
    thread = threading.Thread(
        target=lambda: found.append(context.wrap_socket(accepted, server_side=True))
    )
    thread.start()
    one = TimedSocket(client.wrap_socket(plain))
    thread.join(LONG_S)
    assert select.select([one.socket], [], [], LONG_S)[0]
    assert one.is_quiet()
    assert not select.select([one.socket], [], [], 0)[0]
    other = TimedSocket(found[0])
    other.write(b"a", deadline=soon())
    assert one.read(1, deadline=soon()) == b"a"
    one.close()
    other.close()


def test_what_came_already_is_cut_to_the_message(pair: tuple[TimedSocket, TimedSocket]) -> None:
    """Nothing is read where nothing is missing."""
    assert pair[0].read_on(b"abc", 2, deadline=0) == b"ab"
    assert pair[0].read_on(b"", 0, deadline=0) == b""


@pytest.mark.parametrize("seconds", [0.05, -1.0])
def test_nobody_waits_longer_than_the_deadline(
    pair: tuple[TimedSocket, TimedSocket], seconds: float
) -> None:
    """For a byte, for the rest, and for room to write."""
    one, other = pair
    with pytest.raises(TimeoutError):
        one.read(1, deadline=soon(seconds))
    other.write(b"ab", deadline=soon())
    with pytest.raises(TimeoutError):
        one.read_on(b"", 3, deadline=soon(seconds))
    with pytest.raises(TimeoutError):
        one.write(bytes(64 << 20), deadline=soon(seconds))


def test_a_byte_now_and_then_gains_no_time(pair: tuple[TimedSocket, TimedSocket]) -> None:
    """The deadline is the message's."""
    one, other = pair
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.02):
            other.write(b"a", deadline=soon())

    thread = threading.Thread(target=trickle)
    thread.start()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        one.read_on(b"", 10_000, deadline=soon(0.3))
    assert time.monotonic() - began < LONG_S / 2
    stop.set()
    thread.join(LONG_S)


def test_memory_is_for_what_came_and_not_for_what_was_announced() -> None:
    """A gibibyte is announced, three mebibytes come."""
    one, other = (TimedSocket(each) for each in plain_pair())
    data = bytes(3 << 20)

    def send() -> None:
        one.write(data, deadline=soon())
        one.close()

    thread = threading.Thread(target=send)
    thread.start()
    tracemalloc.start()
    try:
        assert other.read_on(b"", 1 << 30, deadline=soon()) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    thread.join(LONG_S)
    other.close()
    assert peak < 16 << 20


def test_another_thread_ends_a_wait(pair: tuple[TimedSocket, TimedSocket]) -> None:
    """As if the peer had gone."""
    one = pair[0]
    found: list[object] = []

    def read() -> None:
        try:
            found.append(one.read(1, deadline=soon()))
        except OSError:
            found.append(b"")

    thread = threading.Thread(target=read)
    thread.start()
    while thread.is_alive() and not found:
        one.cut()
        thread.join(0.05)
    assert found == [b""]


def test_what_still_comes_is_dropped(pair: tuple[TimedSocket, TimedSocket]) -> None:
    """Until the peer is done, the time is over, or it was enough."""
    one, other = pair
    other.write(bytes(10_000), deadline=soon())
    began = time.monotonic()
    one.drop_input(1 << 20, deadline=soon(0.1))
    assert time.monotonic() - began < LONG_S / 2
    other.write(bytes(10_000), deadline=soon())
    one.drop_input(1, deadline=soon())
    other.close()
    one.drop_input(1 << 20, deadline=soon())


class Dripping(socket.socket):
    """One that always has a byte, and always takes one."""

    def recv(self, *_: object) -> bytes:
        return b"a"

    def recv_into(self, room: memoryview, *_: object) -> int:  # type: ignore[override]  # fewer words
        room[:1] = b"a"
        return 1

    def send(self, *_: object) -> int:
        return 1


def test_a_peer_that_never_lets_us_wait_gains_no_time() -> None:
    """The deadline holds between bytes that come without a pause."""
    with Dripping() as dripping:
        wire = TimedSocket(dripping)
        for attempt in (
            lambda: wire.read_on(b"", 1 << 40, deadline=soon(0.1)),
            lambda: wire.write(bytes(16 << 20), deadline=soon(0.1)),
            lambda: wire.read(1, deadline=soon(-1)),
        ):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                attempt()
            assert time.monotonic() - began < LONG_S / 2
