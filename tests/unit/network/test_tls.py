"""Handshakes in memory: who is let in, who is not, and that nothing moves before."""

import ssl
import time
from pathlib import Path

import pytest

from cloister.crypto.x509 import Identity
from cloister.errors import (
    CloisterError,
    ConfigError,
    IdentityError,
    LocalProtocolError,
    MalformedError,
)
from cloister.network.tls import (
    AnyClient,
    Credential,
    client_context,
    peer_of,
    replace_credential,
    server_context,
    transfer_error,
)
from cloister.testing.certificates import FakeDomain

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)
OTHER = FakeDomain("clinic.example", at=NOW)  # another key under the same name
SERVER = DOMAIN.credential("serve")
CLIENT = DOMAIN.credential("client")
OPEN = AnyClient("a test that asks for nobody")


def clock() -> int:
    return NOW


def client_settings(
    *, expected: Identity | None = None, credential: Credential | None = None, at: int = NOW
) -> ssl.SSLContext:
    return client_context(
        ca_pem=DOMAIN.ca_pem,
        expected=expected or DOMAIN.identity("serve"),
        credential=credential,
        clock=lambda: at,
    )


def server_settings(
    credential: Credential = SERVER, *, clients: tuple[Identity, ...] | AnyClient = OPEN
) -> ssl.SSLContext:
    return server_context(credential, ca_pem=DOMAIN.ca_pem, clients=clients, clock=clock)


def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Run a handshake until both sides are done; raise what either side raises."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(up, down, server_side=True),
        client.wrap_bio(down, up, server_side=False),
    ]
    open_sides = list(sides)
    for _ in range(10):
        for side in list(open_sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_sides.remove(side)
        if not open_sides:
            break
    assert not open_sides
    return sides[0], sides[1]


def refusal(server: ssl.SSLContext, client: ssl.SSLContext) -> CloisterError:
    """Return the error of ours that refused."""
    with pytest.raises(ssl.SSLCertVerificationError) as caught:
        shake(server, client)
    cause = caught.value.__cause__
    assert isinstance(cause, CloisterError)
    return cause


@pytest.mark.spec("SRV-30", "SRV-31")
def test_a_client_sees_what_the_server_proved() -> None:
    """Identity, policy and root of trust are there after the handshake, over TLS 1.3."""
    server, client = shake(server_settings(), client_settings())
    peer = peer_of(client)
    assert peer is not None
    assert peer.identity == DOMAIN.identity("serve", instance="i-1")
    assert peer.policy_hash == bytes(range(32))
    assert peer.hardware_rooted is False
    assert client.version() == "TLSv1.3"
    assert client.selected_alpn_protocol() == "http/1.1"
    assert peer_of(server) is None
    client.write(b"question")
    assert server.read(100) == b"question"


@pytest.mark.spec("SRV-30")
def test_a_server_sees_which_client_came() -> None:
    """Several identities may be accepted, by any instance."""
    clients = (DOMAIN.identity("auditor"), DOMAIN.identity("client"))
    server, _ = shake(server_settings(clients=clients), client_settings(credential=CLIENT))
    peer = peer_of(server)
    assert peer is not None
    assert peer.identity.role == "client"


@pytest.mark.spec("SRV-31")
@pytest.mark.parametrize(
    "expected",
    [
        DOMAIN.identity("train"),
        DOMAIN.identity("serve", instance="i-2"),
        Identity("other.example", "clinic", "digits", "serve", "*"),
        Identity("clinic.example", "clinic", "letters", "serve", "*"),
        Identity("clinic.example", "lab", "digits", "serve", "*"),
    ],
)
def test_a_server_of_another_identity_is_refused(expected: Identity) -> None:
    """Role, instance, policy, namespace and trust domain must all be the ones asked for."""
    error = refusal(server_settings(), client_settings(expected=expected))
    assert (type(error), error.code) == (IdentityError, "identity.peer")


@pytest.mark.spec("SRV-31")
def test_a_server_of_another_authority_is_refused() -> None:
    """An authority of the same name with another key vouches for nobody."""
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server_settings(OTHER.credential("serve")), client_settings())


@pytest.mark.spec("SRV-31")
@pytest.mark.parametrize("shift", [-100_000, 100_000])
def test_a_clock_outside_the_certificates_life_is_refused(shift: int) -> None:
    """The caller's clock is asked as well as the machine's."""
    error = refusal(server_settings(), client_settings(at=NOW + shift))
    assert error.code == "identity.clock"


@pytest.mark.spec("SRV-31")
def test_an_expired_certificate_is_refused() -> None:
    """OpenSSL notices first."""
    expired = DOMAIN.credential("serve", at=NOW - 50_000, lifetime_s=1000)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(server_settings(expired), client_settings(at=NOW - 50_000))


@pytest.mark.spec("SRV-30")
def test_clients_that_were_not_named_are_refused() -> None:
    """No certificate, a foreign one, and one of another role get nowhere."""
    server = server_settings(clients=(DOMAIN.identity("client"),))
    error = refusal(server, client_settings(credential=DOMAIN.credential("train")))
    assert error.code == "identity.peer"
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake(server, client_settings())
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server, client_settings(credential=OTHER.credential("client")))


@pytest.mark.spec("SRV-30")
def test_older_protocols_are_refused() -> None:
    """A client that offers TLS 1.2 at most gets no handshake."""
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake(server_settings(), old)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake(old, client_settings())


@pytest.mark.spec("SRV-30")
def test_no_ticket_is_given_out() -> None:
    """A later connection starts from nothing."""
    server, client = shake(server_settings(), client_settings())
    server.write(b"x")
    assert client.read(1) == b"x"
    assert client.session is None or not client.session.has_ticket


@pytest.mark.spec("SRV-31")
def test_nothing_is_read_or_written_before_the_handshake() -> None:
    """OpenSSL would shake hands by itself, past the judge; here that is an error."""
    side = client_settings().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    for call in (lambda: side.read(1), lambda: side.write(b"x"), lambda: peer_of(side)):
        with pytest.raises(LocalProtocolError):
            call()


def test_a_server_for_nobody_is_a_mistake() -> None:
    """An empty list of clients refuses to start; so does asking for nobody without a reason."""
    with pytest.raises(ConfigError) as caught:
        server_settings(clients=())
    assert caught.value.code == "config.value"
    with pytest.raises(ConfigError) as caught:
        AnyClient("because")
    assert caught.value.code == "config.value"


@pytest.mark.parametrize(
    "credential",
    [
        Credential(b"", b""),
        Credential(b"x" * 100_000, b""),
        Credential(SERVER.certificate_pem, CLIENT.key_pem),
        Credential(SERVER.certificate_pem, b"-----BEGIN PRIVATE KEY-----\n"),
        Credential(b"", SERVER.key_pem),
    ],
)
def test_a_credential_that_is_none_is_malformed(credential: Credential) -> None:
    """Empty, huge, mismatched and cut PEM are refused before anything listens."""
    with pytest.raises(MalformedError) as caught:
        server_settings(credential)
    assert caught.value.code == "certificate.malformed"


@pytest.mark.parametrize("ca_pem", [b"", b"nonsense", b"\xff", b"x" * 100_000])
def test_an_authority_that_is_none_is_malformed(ca_pem: bytes) -> None:
    """A pinned certificate that does not parse pins nothing."""
    with pytest.raises(MalformedError) as caught:
        client_context(
            ca_pem=ca_pem, expected=DOMAIN.identity("serve"), credential=None, clock=clock
        )
    assert caught.value.code == "certificate.malformed"


def test_a_credential_shows_no_key() -> None:
    """The private key is in no `repr`, and in no file when it has been loaded."""
    assert b"PRIVATE" not in repr(SERVER).encode()
    server_settings()
    assert not [fd for fd in Path("/proc/self/fd").iterdir() if "credential" in str(fd.resolve())]


def test_a_late_refusal_is_told_from_a_lost_connection() -> None:
    """In TLS 1.3 the server judges the client after the client is done."""
    alert = ssl.SSLError(1, "alert")
    alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert transfer_error(alert, where="x").code == "identity.tls"
    assert transfer_error(ConnectionResetError(), where="x").code == "server.unreachable"
    assert transfer_error(TimeoutError(), where="x").code == "server.unreachable"


@pytest.mark.spec("SRV-36")
def test_a_new_certificate_is_shown_to_new_connections_only() -> None:
    """The open one goes on, and a later one sees the newer certificate."""
    settings = server_settings()
    old_server, old_client = shake(settings, client_settings())
    fresh = DOMAIN.credential("serve")
    replace_credential(settings, fresh)
    _, new_client = shake(settings, client_settings())
    old, new = peer_of(old_client), peer_of(new_client)
    assert old is not None
    assert new is not None
    assert old.spki_digest != new.spki_digest
    assert old.identity == new.identity
    old_client.write(b"still here")
    assert old_server.read(100) == b"still here"


@pytest.mark.spec("SRV-36")
def test_a_certificate_that_cannot_be_used_replaces_nothing() -> None:
    """Another key's, or no certificate at all: the context shows what it showed."""
    settings = server_settings()
    other = Credential(DOMAIN.credential("serve").certificate_pem, SERVER.key_pem)
    for bad in (other, Credential(b"nothing", SERVER.key_pem)):
        with pytest.raises(MalformedError) as caught:
            replace_credential(settings, bad)
        assert caught.value.code == "certificate.malformed"
    _, client = shake(settings, client_settings())
    peer = peer_of(client)
    before = peer_of(shake(server_settings(), client_settings())[1])
    assert peer is not None
    assert before is not None
    assert peer.spki_digest == before.spki_digest
