"""The HTTP client against small real servers on loopback."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloister.errors import ConfigError, UnavailableError
from cloister.keyservice.transport import HTTPTransport, connect_unix

Serve = Callable[[bytes], str]


@pytest.fixture
def answering() -> Iterator[Serve]:
    """Start a server that answers each connection's first request with fixed bytes."""
    opened: list[socket.socket] = []

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        opened.append(listener)

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                opened.append(connection)
                with contextlib.suppress(OSError):  # of a client that has seen enough
                    connection.recv(65536)
                    connection.sendall(answer)
                if answer:
                    connection.close()

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for item in opened:
        item.close()


@pytest.mark.parametrize(
    "url",
    ["", "x", "https://a:1", "http://a", "http://a:1/path", "http://a:x", "unix://", "http://:1"],
)
def test_other_addresses_are_refused(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError) as e:
        HTTPTransport(url)
    assert e.value.code == "config.value"


def test_the_body_comes_back(answering: Serve) -> None:
    """Whatever it is: nothing here judges."""
    transport = HTTPTransport(answering(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"))
    assert transport.post("/x", b"q", timeout_s=5) == b"no"
    transport.close()


def test_nobody_there_is_unreachable() -> None:
    """A refused connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnavailableError) as e:
        HTTPTransport(f"http://127.0.0.1:{port}").post("/x", b"q", timeout_s=5)
    assert e.value.code == "keyservice.unreachable"


def test_silence_is_slow(answering: Serve) -> None:
    """A server that accepts and never answers."""
    with pytest.raises(UnavailableError) as e:
        HTTPTransport(answering(b"")).post("/x", b"q", timeout_s=0.2)
    assert e.value.code == "keyservice.slow"


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 8000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 40000,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\n\r\nwithout a length",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"b" * (5 << 20),
    ],
)
def test_a_broken_answer_is_unreachable(answering: Serve, answer: bytes) -> None:
    """Not HTTP, cut short, cut before its body, endless fields, interim, or of no clear length."""
    with pytest.raises(UnavailableError) as e:
        HTTPTransport(answering(answer)).post("/x", b"q", timeout_s=5)
    assert e.value.code == "keyservice.unreachable"


def test_an_endless_answer_is_cut(answering: Serve) -> None:
    """No more is read than a reply may have."""
    huge = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * ((1 << 22) + 10)
    with pytest.raises(UnavailableError) as e:
        HTTPTransport(answering(huge)).post("/x", b"q", timeout_s=5)
    assert e.value.code == "keyservice.unreachable"


@pytest.mark.parametrize(
    "answer",
    [
        b"Content-Length: 2\r\n\r\nnoHTTP/1.1 503 Busy\r\nContent-Length: 1\r\n\r\nx",
        b"Content-Length: 2\r\n\r\nnogarbage",
        b"Content-Length: 2\r\nConnection: close\r\n\r\nno",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nn\r\n1\r\no\r\n0\r\n\r\nHTTP/1.1",
    ],
)
def test_what_follows_an_answer_ends_the_connection(answering: Serve, answer: bytes) -> None:
    """The answer counts, and nothing behind it is taken for the next request's."""
    transport = HTTPTransport(answering(b"HTTP/1.1 200 OK\r\n" + answer))
    assert transport.post("/x", b"q", timeout_s=5) == b"no"
    assert transport._connection is None


def test_a_connection_is_kept(answering: Serve) -> None:
    """An answer that ends where it says leaves the connection for the next request."""
    transport = HTTPTransport(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"))
    assert transport.post("/x", b"q", timeout_s=5) == b"no"
    assert transport._connection is not None
    transport.close()


def test_an_overloaded_server_is_busy(answering: Serve) -> None:
    """The web server's own 503, unsigned."""
    transport = HTTPTransport(
        answering(b"HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n")
    )
    with pytest.raises(UnavailableError) as e:
        transport.post("/x", b"q", timeout_s=5)
    assert e.value.code == "keyservice.busy"


def test_a_unix_socket_may_have_a_long_path(tmp_path: Path) -> None:
    """Longer than the kernel's 108 bytes."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        fd = os.open(deep, os.O_PATH)
        listener.bind(f"/proc/self/fd/{fd}/s")
        os.close(fd)
        listener.listen()
        connect_unix(deep / "s", timeout_s=1).close()


def test_a_missing_unix_socket_is_unreachable(tmp_path: Path) -> None:
    """Nobody listens there."""
    with pytest.raises(UnavailableError) as e:
        HTTPTransport(f"unix://{tmp_path}/s").post("/x", b"q", timeout_s=1)
    assert e.value.code == "keyservice.unreachable"


def test_a_byte_now_and_then_is_too_slow() -> None:
    """The time is for the whole answer, and not for each part of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nA: ")
                while not ended.wait(0.05):
                    connection.sendall(b"a")

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        with HTTPTransport(url) as transport, pytest.raises(UnavailableError) as e:
            transport.post("/v1/a", b"x", timeout_s=0.5)
        ended.set()
    assert e.value.code == "keyservice.slow"
    assert time.monotonic() - began < 5
