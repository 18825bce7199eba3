"""Connections that nothing rests on."""

import socket
import ssl
import threading

import pytest

from cloister.errors import UnavailableError
from cloister.network.outer import connect_outer
from cloister.network.tls import AnyClient, server_context
from cloister.testing.certificates import FakeDomain
from cloister.testing.private import NOW

DOMAIN = FakeDomain("clinic.example", at=NOW)


def echo(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    plain, _ = listener.accept()
    with plain if context is None else context.wrap_socket(plain, server_side=True) as end:
        end.sendall(end.recv(100))


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_plain_and_tls_with_whoever_answers(way: str) -> None:
    """A certificate that names no host is as good as none."""
    context, tls = None, way == "tls"
    if tls:
        context = server_context(
            DOMAIN.credential("serve"),
            ca_pem=DOMAIN.ca_pem,
            clients=AnyClient("a test of carriers"),
            clock=lambda: NOW,
        )
        context.sslsocket_class = ssl.SSLSocket
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=echo, args=(listener, context))
        thread.start()
        address = ("127.0.0.1", listener.getsockname()[1])
        with connect_outer(address, tls=tls, timeout_s=10) as connection:
            connection.sendall(b"hello")
            assert connection.recv(100) == b"hello"
        thread.join(10)


def hang_up(listener: socket.socket) -> None:
    listener.accept()[0].close()


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_nobody_there_or_no_tls(way: str) -> None:
    """One error, which a retry may help."""
    tls = way == "tls"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = ("127.0.0.1", listener.getsockname()[1])
        if tls:
            threading.Thread(target=hang_up, args=(listener,)).start()
            with pytest.raises(UnavailableError) as found:
                connect_outer(address, tls=True, timeout_s=10)
            assert found.value.code == "server.unreachable"
    with pytest.raises(UnavailableError) as found:
        connect_outer(address, tls=tls, timeout_s=10)
    assert found.value.code == "server.unreachable"
