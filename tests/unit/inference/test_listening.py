"""Passed sockets and their rules."""

import json
import os
import socket

import pytest

from cloister.crypto.x509 import Identity
from cloister.errors import ConfigError
from cloister.inference.listening import (
    FORMAT,
    PassedListener,
    clients_of,
    open_listener,
    passed_listener,
)
from cloister.launcher import listening as launcher
from cloister.network.tls import AnyClient

ONE = {"LISTEN_FDS": "1", "LISTEN_PID": "7", "LISTEN_FDNAMES": "rest"}
CLIENT = "spiffe://clinic.example/clinic/digits/client/*"


def document(rule: object, **changes: object) -> bytes:
    return json.dumps({"format": FORMAT, "listeners": {"rest": rule}} | changes).encode()


@pytest.mark.spec("SRV-35")
def test_one_listener_is_taken() -> None:
    """The first descriptor, with its name."""
    assert passed_listener(ONE, process=7) == PassedListener(3, "rest")


@pytest.mark.spec("SRV-35", "MEM-90")
def test_a_desk_beside_it_is_no_listener() -> None:
    """Wherever it stands; by itself the name means what the policy says."""
    two = ONE | {"LISTEN_FDS": "2"}
    behind, before = two | {"LISTEN_FDNAMES": "rest:desk"}, two | {"LISTEN_FDNAMES": "desk:rest"}
    assert passed_listener(behind, process=7) == PassedListener(3, "rest")
    assert passed_listener(before, process=7) == PassedListener(4, "rest")
    alone = ONE | {"LISTEN_FDNAMES": "desk"}
    assert passed_listener(alone, process=7) == PassedListener(3, "desk")
    with pytest.raises(ConfigError):
        passed_listener(two | {"LISTEN_FDNAMES": "desk:desk"}, process=7)


@pytest.mark.spec("SRV-35")
@pytest.mark.parametrize(
    "changes",
    [
        {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "rest:other"},
        {"LISTEN_FDS": "0"},
        {"LISTEN_FDS": ""},
        {"LISTEN_PID": "8"},
        {"LISTEN_PID": ""},
        {"LISTEN_FDNAMES": ""},
        {"LISTEN_FDNAMES": "a:b"},
    ],
)
def test_other_descriptors_are_not(changes: dict[str, str]) -> None:
    """None, several, and those of another process."""
    with pytest.raises(ConfigError) as caught:
        passed_listener(ONE | changes, process=7)
    assert caught.value.code == "config.missing"


@pytest.mark.spec("SRV-35")
def test_the_rule_says_whom_to_serve() -> None:
    """Named clients, or the reason why anybody."""
    named = clients_of(document({"clients": [CLIENT], "unchecked": ""}), name="rest")
    assert named == (Identity.from_uri(CLIENT),)
    anybody = clients_of(document({"clients": [], "unchecked": "for a test"}), name="rest")
    assert anybody == AnyClient("for a test")


@pytest.mark.spec("SRV-35")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "config.file"),
        (b"[" * 10_000, "config.file"),
        (b" " * 2_000_000, "config.file"),
        (b"[]", "config.file"),
        (document({"clients": [CLIENT], "unchecked": ""}, format="other"), "config.file"),
        (document({}, listeners=[]), "config.file"),
        (document(None), "config.missing"),
        (document({}, listeners={}), "config.missing"),
        (document({}), "config.file"),
        (document({"clients": [], "unchecked": ""}), "config.file"),
        (document({"clients": [CLIENT], "unchecked": "both of them"}), "config.file"),
        (document({"clients": [7], "unchecked": ""}), "config.file"),
        (document({"clients": ["me"], "unchecked": ""}), "config.file"),
        (document({"clients": 7, "unchecked": ""}), "config.file"),
        (document({"clients": [], "unchecked": 7}), "config.file"),
        (document({"clients": [CLIENT], "unchecked": "", "x": 1}), "config.file"),
    ],
    ids=range(16),
)
def test_a_rule_that_is_none_starts_nothing(data: bytes, code: str) -> None:
    """There is no default: nobody is served by a rule that cannot be read."""
    with pytest.raises(ConfigError) as caught:
        clients_of(data, name="rest")
    assert caught.value.code == code


@pytest.mark.spec("SRV-35")
def test_only_a_listening_socket_will_do() -> None:
    """A closed descriptor, a file and a connected socket are named as such."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        passed = os.dup(listener.fileno())
        with open_listener(PassedListener(passed, "rest")) as found:
            assert found.getsockname() == listener.getsockname()
    left, right = socket.socketpair()
    with left, right:
        for descriptor in (os.dup(left.fileno()), 9999):
            with pytest.raises(ConfigError) as caught:
                open_listener(PassedListener(descriptor, "rest"))
            assert caught.value.code == "config.missing"


def test_the_launcher_writes_the_same_format() -> None:
    """Both sides name one version."""
    assert launcher.FORMAT == FORMAT
