"""What a client concludes from what a server sends."""

import contextlib
import select
import socket
import threading
import time

import pytest

from cloister.errors import (
    CloisterError,
    ConfigError,
    IdentityError,
    LocalProtocolError,
    RemoteProtocolError,
    UnavailableError,
)
from cloister.inference import Client
from cloister.inference.channel import Channel, HTTPChannel
from cloister.inference.service import HTTPRequest
from cloister.network.timed import TimedSocket
from cloister.network.tls import AnyClient, client_context, server_context
from cloister.testing.certificates import FakeDomain

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)
SERVER_ID = DOMAIN.identity("serve").uri

HOSTILE = [
    (b"", UnavailableError, "server.unreachable"),
    (b"nonsense\r\n\r\n", RemoteProtocolError, "protocol.remote"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", UnavailableError, "server.unreachable"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", RemoteProtocolError, "protocol.remote"),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", ConfigError, "config.missing"),
    (b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"models":1}',
     RemoteProtocolError, "protocol.remote"),
    (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000, RemoteProtocolError, "protocol.remote"),
    (b"HTTP/1.1 500 No\r\ncontent-length: 14\r\n\r\n" + b'{"error": "\xff"}'[:14],
     RemoteProtocolError, "protocol.remote"),
    (b"HTTP/1.1 302 Go\r\nlocation: https://elsewhere/\r\ncontent-length: 0\r\n\r\n",
     RemoteProtocolError, "protocol.remote"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "kind", "code"), HOSTILE, ids=range(len(HOSTILE)))
def test_a_server_that_answers_nonsense_is_found_out(
    reply: bytes, kind: type[CloisterError], code: str
) -> None:
    """An attested server is trusted with the query, not with the client's memory or patience."""
    context = server_context(
        DOMAIN.credential("serve"),
        ca_pem=DOMAIN.ca_pem,
        clients=AnyClient("a test of nonsense"),
        clock=lambda: NOW,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(65536)
                with contextlib.suppress(ConnectionError):  # it may have found us out by now
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        client = Client(
            f"https://127.0.0.1:{listener.getsockname()[1]}",
            trust=DOMAIN.ca_pem,
            identity=SERVER_ID,
            timeout_s=5,
        )
        with client, pytest.raises(kind) as caught:
            client.describe()
        thread.join()
    assert caught.value.code == code


def test_a_server_without_our_protocol_is_refused() -> None:
    """A certificate is not enough: the other side must mean to speak HTTP."""
    context = server_context(
        DOMAIN.credential("serve"),
        ca_pem=DOMAIN.ca_pem,
        clients=AnyClient("a test of protocols"),
        clock=lambda: NOW,
    )
    context.set_alpn_protocols(["other/1"])
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        client = Client(f"https://127.0.0.1:{port}", trust=DOMAIN.ca_pem, identity=SERVER_ID)
        with pytest.raises(IdentityError) as caught:
            client.describe()
        thread.join()
    assert caught.value.code == "identity.tls"


def test_an_answer_before_the_request_was_read_is_told() -> None:
    """A server that refuses a long request and closes has said why; a reset must not hide it."""
    context = server_context(
        DOMAIN.credential("serve"),
        ca_pem=DOMAIN.ca_pem,
        clients=AnyClient("a test of early answers"),
        clock=lambda: NOW,
    )
    body = b'{"error": "too long"}'
    reply = b"HTTP/1.1 413 No\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(1024)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        channel = Channel(
            ("127.0.0.1", port),
            context=client_context(
                ca_pem=DOMAIN.ca_pem,
                expected=DOMAIN.identity("serve"),
                credential=None,
                clock=lambda: NOW,
            ),
            timeout_s=5,
            max_response_bytes=1000,
        )
        response = channel.exchange(HTTPRequest("POST", "/", {}, bytes(64 << 20)))
        channel.close()
        thread.join()
    assert (response.status, response.body) == (413, body)


class Counted:
    """A server that answers each request as it was told, or closes where that is nothing."""

    def __init__(self, *replies: bytes) -> None:
        self.connections = 0
        self._replies = list(replies)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while self._replies:
            connection, _ = self._listener.accept()
            self.connections += 1
            with connection:
                while self._replies and connection.recv(65536):
                    reply = self._replies.pop(0)
                    connection.sendall(reply)
                    if not reply:
                        break

    def channel(self) -> HTTPChannel:
        return channel_to(self._listener)

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


def channel_to(listener: socket.socket) -> HTTPChannel:
    address = listener.getsockname()
    return HTTPChannel(
        address,
        opener=lambda: socket.create_connection(address),
        timeout_s=5,
        max_response_bytes=1000,
    )


ASKED = HTTPRequest("POST", "/", {"x": "y"}, b"question")
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"
CODED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nab"


@pytest.mark.spec("SRV-37")
@pytest.mark.parametrize(
    ("reply", "connections"),
    [
        (SIZED, 1),
        (CODED, 1),
        (LAST, 2),
        (SIZED + SIZED, 2),
        (SIZED + b"\r\n", 2),
        (CODED + b"H", 2),
    ],
)
def test_a_connection_is_used_again_where_nothing_came_behind(
    reply: bytes, connections: int
) -> None:
    """However the answer says its length; a second answer is none to the next question."""
    server = Counted(reply, SIZED)
    channel = server.channel()
    assert channel.exchange(ASKED).body == b"ab"
    assert channel.exchange(ASKED).body == b"ab"
    channel.close()
    server.close()
    assert server.connections == connections


@pytest.mark.spec("SRV-37")
@pytest.mark.parametrize("late", [SIZED, b"\n", b""])
def test_a_connection_is_not_used_again_where_something_came_late(late: bytes) -> None:
    """After the answer was read: another answer, a byte, or the end of the connection."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        channel = channel_to(listener)

        def serve() -> None:
            for more in (late, b""):
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(SIZED)
                    read.wait(10)
                    with contextlib.suppress(OSError):  # closed with something unread, at any time
                        connection.sendall(more)
                        connection.shutdown(socket.SHUT_WR)
                        asked.append(connection.recv(65536))

        read = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        assert channel.exchange(ASKED).body == b"ab"
        assert channel._wire is not None
        read.set()
        assert select.select([channel._wire.socket], [], [], 10)[0]
        assert channel.exchange(ASKED).body == b"ab"
        channel.close()
        thread.join(10)
    assert [each for each in asked if each] == [asked[0]] * 2


def test_a_request_that_was_sent_whole_is_not_repeated() -> None:
    """Though its connection was an idle one, and ended without an answer."""
    server = Counted(SIZED, b"", SIZED)
    channel = server.channel()
    assert channel.exchange(ASKED).body == b"ab"
    with pytest.raises(UnavailableError) as caught:
        channel.exchange(ASKED)
    assert caught.value.code == "server.unreachable"
    assert server.connections == 1
    assert channel.exchange(ASKED).body == b"ab"
    channel.close()
    server.close()
    assert server.connections == 2


def test_a_request_that_was_not_taken_whole_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and on a new connection: the end of an idle one may arrive while it is used."""
    server = Counted(SIZED, SIZED)
    channel = server.channel()
    assert channel.exchange(ASKED).body == b"ab"
    made: list[int] = []

    def make() -> HTTPRequest:
        made.append(len(made))
        return ASKED

    assert channel._wire is not None
    monkeypatch.setattr(TimedSocket, "is_quiet", lambda _: True)
    channel._wire.socket.shutdown(socket.SHUT_RDWR)
    assert channel.exchange_fresh(make).body == b"ab"
    channel.close()
    server.close()
    assert (made, server.connections) == ([0, 1], 2)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n" + bytes(1001), "protocol.remote"),
        (CODED.replace(b"\r\n2\r\nab", b"\r\n3e9\r\n" + bytes(1001)), "protocol.remote"),
        (SIZED.replace(b": 2", b": 2\r\ncontent-length: 3"), "protocol.remote"),
        (SIZED.replace(b"/1.1", b"/2"), "protocol.remote"),
        (SIZED.replace(b" 200", b" 20"), "protocol.remote"),
    ],
)
def test_an_answer_that_is_too_long_or_none_is_refused(reply: bytes, code: str) -> None:
    """Whoever reads it."""
    server = Counted(reply)
    channel = server.channel()
    with pytest.raises(RemoteProtocolError) as caught:
        channel.exchange(ASKED)
    server.close()
    assert caught.value.code == code


def test_an_exchange_has_an_end() -> None:
    """A server that says nothing, or half of it, is too slow."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        for said in (b"", SIZED[:10], SIZED[:-1], CODED[:-1]):
            channel = HTTPChannel(
                address,
                opener=lambda: socket.create_connection(address),
                timeout_s=0.2,
                max_response_bytes=1000,
            )
            answering = threading.Timer(0, lambda said=said: held(listener, said))
            answering.start()
            with pytest.raises(UnavailableError) as caught:
                channel.exchange(ASKED)
            answering.join()
            assert caught.value.code == "server.unreachable"


def held(listener: socket.socket, said: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(said)
        time.sleep(0.5)


def test_what_http_cannot_say_is_not_sent() -> None:
    """A field that would make another one is our mistake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        channel = HTTPChannel(
            address,
            opener=lambda: socket.create_connection(address),
            timeout_s=5,
            max_response_bytes=1000,
        )
        with pytest.raises(LocalProtocolError) as caught:
            channel.exchange(HTTPRequest("GET", "/", {"x": "y\r\nz: 1"}, b""))
        assert caught.value.code == "protocol.local"
