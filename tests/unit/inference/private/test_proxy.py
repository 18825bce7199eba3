"""Addresses of the proxy; it runs as a process in tests/integration/test_proxy.py."""

import http.client
import os
import signal
import socket
import threading

import pytest

from cloister.errors import UnavailableError
from cloister.inference.http import Limits
from cloister.inference.private.proxy import Addresses, serve
from cloister.testing.certificates import FakeDomain
from cloister.testing.private import NOW, Enclave, served


def test_an_address_that_is_taken_is_an_error() -> None:
    """Nothing is told to be ready."""
    enclave = Enclave(FakeDomain("clinic.example", at=NOW))
    told: list[Addresses] = []
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = ("127.0.0.1", held.getsockname()[1])
        with pytest.raises(UnavailableError) as found:
            serve(enclave.channel("http://127.0.0.1:9"), Addresses(taken), ready=told.append)
    assert found.value.code == "server.unreachable"
    assert "Address already in use" in found.value.public
    assert "--listen" in str(found.value.hint)
    assert told == []


@pytest.mark.spec("PQ-74")
@pytest.mark.parametrize("most", [2**20, 36 * 2**20])
def test_the_longest_body_is_what_the_server_takes(most: int) -> None:
    """Above the longest body of plain HTTP as well; what is longer is told how much is taken."""
    enclave = Enclave(FakeDomain("clinic.example", at=NOW), request_bytes=most)
    answers: list[tuple[int, bytes]] = []

    def ask(bound: Addresses) -> None:
        def run() -> None:
            try:
                answers.append(posted(bound.http, bytes(most - 65536), said=most - 65536))
                answers.append(posted(bound.http, b"", said=most))
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        asking.append(threading.Thread(target=run))
        asking[0].start()

    asking: list[threading.Thread] = []
    with served(enclave.gate, limits=Limits(body_bytes=most)) as url:
        channel = enclave.channel(url)
        room = channel.request_bytes()
        serve(channel, Addresses(("127.0.0.1", 0)), ready=ask)
    asking[0].join(10)
    assert [status for status, _ in answers] == [404, 413]
    assert str(room).encode() in answers[1][1]


def posted(address: tuple[str, int], body: bytes, *, said: int) -> tuple[int, bytes]:
    """Return what a body is answered with that is said to have so many bytes."""
    connection = http.client.HTTPConnection(*address, timeout=60)
    try:
        connection.putrequest("POST", "/v2/none")
        connection.putheader("content-length", str(said))
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
