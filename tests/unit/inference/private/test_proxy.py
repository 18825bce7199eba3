"""Addresses of the proxy; it runs as a process in tests/integration/test_proxy.py."""

import socket

import pytest

from cloister.errors import UnavailableError
from cloister.inference.private.proxy import Addresses, serve
from cloister.testing.certificates import FakeDomain
from cloister.testing.private import NOW, Enclave


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
