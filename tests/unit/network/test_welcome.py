"""Handshakes in an event loop: who comes in, who does not, and how long strangers may take."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable

import pytest

from cloister.crypto.x509 import Identity
from cloister.errors import CloisterError, IdentityError, LocalProtocolError
from cloister.network.tls import (
    AnyClient,
    Connection,
    Credential,
    TLSContext,
    client_context,
    connect,
    server_context,
    transfer_error,
)
from cloister.network.welcome import accept, let_go
from cloister.testing.certificates import FakeDomain

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)
LONG_S = 20.0


def server_settings(clients: tuple[Identity, ...] | AnyClient) -> TLSContext:
    return server_context(
        DOMAIN.credential("serve"), ca_pem=DOMAIN.ca_pem, clients=clients, clock=lambda: NOW
    )


def ask(address: tuple[str, int], credential: Credential | None) -> bytes:
    """Connect as a client of ours, say something, and return what is answered."""
    context = client_context(
        ca_pem=DOMAIN.ca_pem,
        expected=DOMAIN.identity("serve"),
        credential=credential,
        clock=lambda: NOW,
    )
    with connect(address, context=context, timeout_s=LONG_S) as connection:
        try:
            connection.sendall(b"question")
            return connection.recv(100)
        except OSError as e:
            raise transfer_error(e, where="there") from e


def welcomed(
    context: TLSContext, visit: Callable[[tuple[str, int]], object], *, timeout_s: float = LONG_S
) -> Connection:
    """Accept one visitor, who comes in a thread."""

    async def run() -> Connection:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0)
            address = listener.getsockname()
            thread = threading.Thread(target=lambda: visit(address), daemon=True)
            thread.start()
            plain, _ = await loop.sock_accept(listener)
            return await accept(plain, context=context, timeout_s=timeout_s)

    return asyncio.run(run())


@pytest.mark.spec("SRV-30")
def test_a_client_comes_in_and_is_known() -> None:
    """The socket that comes back is judged, does not block, and works both ways."""
    found: list[bytes] = []
    done = threading.Event()

    def visit(address: tuple[str, int]) -> None:
        found.append(ask(address, DOMAIN.credential("client")))
        done.set()

    connection = welcomed(server_settings((DOMAIN.identity("client"),)), visit)
    assert connection.peer.identity.role == "client"
    assert connection.gettimeout() == 0
    connection.settimeout(LONG_S)
    assert connection.recv(100) == b"question"
    connection.sendall(b"answer")
    assert done.wait(LONG_S)
    connection.close()
    assert found == [b"answer"]


@pytest.mark.spec("SRV-30")
@pytest.mark.parametrize("credential", [None, DOMAIN.credential("other")])
def test_who_is_not_accepted_does_not_come_in(credential: Credential | None) -> None:
    """Without a certificate, which is told, or with another's; nothing is answered."""
    found: list[object] = []
    done = threading.Event()

    def visit(address: tuple[str, int]) -> None:
        try:
            found.append(ask(address, credential))
        except CloisterError as e:
            found.append(e.code)
        done.set()

    with pytest.raises((OSError, IdentityError)):
        welcomed(server_settings((DOMAIN.identity("client"),)), visit)
    assert done.wait(LONG_S)
    told = {"identity.tls"} if credential is None else {b"", "server.unreachable"}
    assert len(found) == 1
    assert found[0] in told


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_strangers_are_let_go(words: bytes) -> None:
    """Who says nothing, in time; who does not speak TLS, at once."""
    held: list[socket.socket] = []

    def visit(address: tuple[str, int]) -> None:
        held.append(socket.create_connection(address))
        with contextlib.suppress(OSError):
            held[0].sendall(words)

    began = time.monotonic()
    with pytest.raises(OSError):
        welcomed(server_settings(AnyClient("a test of strangers")), visit, timeout_s=0.2)
    assert time.monotonic() - began < LONG_S / 2
    held[0].settimeout(LONG_S)
    with contextlib.suppress(ConnectionError):
        while held[0].recv(100):
            pass
    held[0].close()


def test_another_context_is_a_mistake() -> None:
    """One that judges nobody makes no connection of ours."""
    import ssl  # noqa: PLC0415  # beside its use

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(LocalProtocolError) as caught:
        welcomed(context, lambda address: socket.create_connection(address).close())
    assert caught.value.code == "protocol.local"


def test_letting_go_waits_a_while_for_the_peer() -> None:
    """What was told last is read, although more came than was."""

    async def run(ours: socket.socket) -> None:
        ours.settimeout(0)
        ours.send(b"last")
        await let_go(ours)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    theirs.sendall(bytes(50_000))
    thread = threading.Thread(target=lambda: asyncio.run(run(ours)))
    thread.start()
    theirs.settimeout(LONG_S)
    assert theirs.recv(100) == b"last"
    assert theirs.recv(100) == b""
    theirs.close()
    thread.join(LONG_S)
    assert ours.fileno() == -1
