"""One GET over TLS from a server on loopback that is honest, slow, lying, endless or dead."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator

import pytest

from cloister.errors import CloisterError
from cloister.network.https import Response, get
from cloister.network.https import ask as ask_anybody
from cloister.testing.endorsers import FakeEndorsers
from cloister.testing.vault import FakeVault, VaultAuthority, http_answer

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
AUTHORITY, OTHER = VaultAuthority(at=NOW), VaultAuthority(at=NOW)
TOKEN = {"X-Vault-Token": "hvs.planted-token"}


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    """A server with one secret."""
    with FakeVault(AUTHORITY) as vault:
        vault.secrets["secret/data/a"] = {"b": "c"}
        yield vault


def ask(
    vault: FakeVault,
    *,
    ca: bytes = AUTHORITY.pem,
    host: str = "localhost",
    timeout_s: float = 5.0,
    max_bytes: int = 10_000,
) -> tuple[int, bytes]:
    """Ask for the secret."""
    return get(
        (host, vault.port),
        "/v1/secret/data/a",
        TOKEN,
        ca_pem=ca,
        timeout_s=timeout_s,
        max_bytes=max_bytes,
    )


def code_of(vault: FakeVault, **changes: object) -> str:
    """The code with which it is refused."""
    with pytest.raises(CloisterError) as e:
        ask(vault, **changes)
    assert "planted" not in f"{e.value} {e.value.detail}"
    return e.value.code


@pytest.mark.spec("EXT-30")
def test_an_honest_answer_comes_whole(vault: FakeVault) -> None:
    """With the request of the page, on a connection of its own."""
    status, body = ask(vault)
    assert (status, b'"b": "c"' in body) == (200, True)
    (head,) = vault.heads
    assert head.startswith(b"GET /v1/secret/data/a HTTP/1.1\r\n")
    for line in (f"Host: localhost:{vault.port}", "Connection: close", "Accept-Encoding: identity"):
        assert f"\r\n{line}\r\n".encode() in head


@pytest.mark.spec("EXT-31")
def test_another_authority_gets_no_request(vault: FakeVault) -> None:
    """The token is not sent."""
    assert code_of(vault, ca=OTHER.pem) == "identity.tls"
    assert vault.heads == []


@pytest.mark.spec("EXT-31")
def test_the_certificate_of_another_host_gets_no_request() -> None:
    """By the same authority; the token is not sent."""
    with FakeVault(AUTHORITY, host="elsewhere.example") as vault:
        assert code_of(vault) == "identity.tls"
        assert vault.heads == []


@pytest.mark.spec("EXT-31")
def test_a_certificate_that_is_over_gets_no_request() -> None:
    """By the right authority, for the right host."""
    past = VaultAuthority(at=NOW - 90_000)
    with FakeVault(past) as vault:
        assert code_of(vault, ca=past.pem) == "identity.tls"
        assert vault.heads == []


@pytest.mark.spec("EXT-31")
def test_an_older_tls_is_refused() -> None:
    """TLS 1.2 and below."""
    with FakeVault(AUTHORITY, maximum=ssl.TLSVersion.TLSv1_2) as vault:
        assert code_of(vault) == "identity.tls"


def test_what_is_no_authority_is_refused(vault: FakeVault) -> None:
    """Before anything is opened."""
    assert code_of(vault, ca=b"none") == "certificate.malformed"


@pytest.mark.spec("EXT-31")
def test_a_redirection_is_not_followed(vault: FakeVault) -> None:
    """It is an answer like another; nothing else is asked, there or elsewhere."""
    with FakeVault(AUTHORITY) as second:
        where = f"Location: https://localhost:{second.port}/v1/secret/data/a"
        vault.respond = lambda c: c.sendall(http_answer(307, b"", where))
        assert ask(vault) == (307, b"")
        assert (len(vault.heads), second.heads) == (1, [])


def endless_head(connection: ssl.SSLSocket) -> None:
    """Fields for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: " + b"x" * 1000 + b"\r\n")


def endless_hints(connection: ssl.SSLSocket) -> None:
    """Early hints for ever."""
    while True:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100)


def endless_chunks(connection: ssl.SSLSocket) -> None:
    """A body for ever."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")


@pytest.mark.spec("EXT-34")
@pytest.mark.parametrize(
    "respond",
    [
        endless_head,
        endless_hints,
        endless_chunks,
        lambda c: c.sendall(http_answer(200, b"x" * 10_001)),
        lambda c: c.sendall(http_answer(200, b"{}", "Content-Encoding: gzip")),
        lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 1000),
        lambda c: c.sendall(http_answer(200, b"{}", "Content-Length: 3")),
    ],
)
def test_what_is_too_much_or_no_http_is_refused(
    vault: FakeVault, respond: Callable[[ssl.SSLSocket], None]
) -> None:
    """As soon as that is known, whatever would follow."""
    vault.respond = respond
    assert code_of(vault) == "protocol.remote"


def dies(connection: ssl.SSLSocket) -> None:
    """Half a body, and then the connection is gone without a word."""
    connection.sendall(http_answer(200, b'{"data"', length=100))
    connection.shutdown(socket.SHUT_RDWR)


def dies_unframed(connection: ssl.SSLSocket) -> None:
    """A body that ends with the connection, which ends without TLS's goodbye."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}")
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.spec("EXT-34")
@pytest.mark.parametrize("respond", [dies, dies_unframed, lambda c: c.shutdown(socket.SHUT_RDWR)])
def test_an_answer_that_is_cut_is_none(
    vault: FakeVault, respond: Callable[[ssl.SSLSocket], None]
) -> None:
    """Somebody on the way cannot shorten it."""
    vault.respond = respond
    assert code_of(vault) == "server.unreachable"


@pytest.mark.spec("EXT-34")
def test_an_answer_that_says_to_be_longer_is_none(vault: FakeVault) -> None:
    """Half a body, and a proper goodbye."""

    def stops(connection: ssl.SSLSocket) -> None:
        connection.sendall(http_answer(200, b'{"data"', length=100))
        connection.unwrap()

    vault.respond = stops
    assert code_of(vault) == "server.unreachable"


@pytest.mark.spec("EXT-34")
def test_a_slow_answer_ends_at_the_deadline(vault: FakeVault) -> None:
    """One byte after the other, each in time."""

    def drips(connection: ssl.SSLSocket) -> None:
        for byte in http_answer(200, b"x" * 500):
            connection.sendall(bytes([byte]))
            time.sleep(0.05)

    vault.respond = drips
    began = time.monotonic()
    assert code_of(vault, timeout_s=0.5) == "server.unreachable"
    assert time.monotonic() - began < 5


@pytest.mark.spec("EXT-34")
def test_a_server_that_does_not_shake_hands_ends_at_the_deadline() -> None:
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(CloisterError) as e:
            get(("localhost", port), "/", {}, ca_pem=AUTHORITY.pem, timeout_s=0.5, max_bytes=1)
        assert e.value.code == "server.unreachable"
        assert time.monotonic() - began < 5


def test_nobody_is_there() -> None:
    """A closed port, and a name that no resolver knows."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for host in ("localhost", "nobody.invalid"):
        with pytest.raises(CloisterError) as e:
            get((host, port), "/", {}, ca_pem=AUTHORITY.pem, timeout_s=2.0, max_bytes=1)
        assert e.value.code == "server.unreachable"


def anybody(
    port: int, *, authorities: bytes | None = AUTHORITY.pem, body: bytes | None = None
) -> Response:
    """Ask a server that gives to anybody."""
    return ask_anybody(
        ("localhost", port),
        "/x?y=z",
        {"Content-Type": "text/x"},
        body=body,
        authorities=authorities,
        timeout_s=5.0,
        max_bytes=10_000,
    )


@pytest.mark.spec("ES-1")
def test_an_answer_comes_with_its_headers() -> None:
    """Names in lower case; a body is posted whole, an empty one too."""
    with FakeEndorsers(AUTHORITY, at=NOW) as server:
        server.shelf["/x?y=z"] = http_answer(200, b"body", "X-Issuer: %41", "X-Issuer: b")
        for body in (None, b"posted" * 10_000, b""):
            found = anybody(server.port, body=body)
            assert (found.status, found.body) == (200, b"body")
            issuers = [value for name, value in found.headers if name == "x-issuer"]
            assert issuers == ["%41", "b"]
        asked = [(each.method, each.body) for each in server.asked]
        assert asked == [("GET", b""), ("POST", b"posted" * 10_000), ("POST", b"")]
        lengths = [each.headers.get("content-length") for each in server.asked]
        assert lengths == [None, "60000", "0"]


@pytest.mark.spec("ES-5")
def test_anybody_may_speak_an_older_tls_and_has_to_prove_who_he_is() -> None:
    """TLS 1.2 at least; an authority that counts, and the host's name."""
    with FakeVault(AUTHORITY, maximum=ssl.TLSVersion.TLSv1_2) as vault:
        assert anybody(vault.port).status == 403
    with (
        FakeVault(AUTHORITY) as vault,
        FakeVault(AUTHORITY, host="elsewhere.example") as elsewhere,
    ):
        for server, authorities in (
            (vault, OTHER.pem),
            (vault, None),
            (elsewhere, AUTHORITY.pem),
        ):
            with pytest.raises(CloisterError) as e:
                anybody(server.port, authorities=authorities)
            assert e.value.code == "identity.tls"
            assert server.heads == []
        with pytest.raises(CloisterError) as e:
            anybody(vault.port, authorities=b"")
        assert e.value.code == "certificate.malformed"
