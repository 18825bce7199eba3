"""Ports that the policy grants."""

from __future__ import annotations

import json
import socket

import pytest

from cloister.errors import ConfigError
from cloister.keyservice.bundle import ListenerGrant
from cloister.launcher.listening import Listeners, listeners_document

_GRANTS = {
    "api": ListenerGrant(0, ("spiffe://example.test/lab/clients/ann/*",), ""),
    "open": ListenerGrant(0, (), "anybody may ask here"),
}


def test_granted_ports_are_open_until_closed() -> None:
    """Port 0 becomes a free one; names keep descriptor and address together."""
    listeners = Listeners(_GRANTS, host="127.0.0.1")
    host, port = listeners.addresses()["api"]
    with socket.create_connection((host, port), 5):
        assert set(listeners.filenos()) == {"api", "open"}
    listeners.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), 5)


def test_a_port_that_is_taken_is_named() -> None:
    """`config.value` with name and port; nothing stays open."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            Listeners({"api": ListenerGrant(port, (), "anybody may ask")}, host="127.0.0.1")
    assert caught.value.code == "config.value"
    assert f"api cannot use 127.0.0.1 port {port}" in caught.value.public


def test_the_workload_is_told_whom_it_may_serve() -> None:
    """The document has the clients of each listener, or the reason why anybody may ask."""
    document = json.loads(listeners_document(_GRANTS))
    assert document["format"] == "cloister/listeners/v1"
    assert document["listeners"] == {
        "api": {"clients": ["spiffe://example.test/lab/clients/ann/*"], "unchecked": ""},
        "open": {"clients": [], "unchecked": "anybody may ask here"},
    }
