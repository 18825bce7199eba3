"""TLS 1.3 between workloads and their clients, with the certificates of design D3.

Invariants:
    1. No byte of the application moves in either direction before the peer's certificate has been
       judged: chain, clock and SPIFFE ID. A handshake that somebody skips is an error.
    2. The chain is checked twice, by OpenSSL and by `read_peer_certificate`, so that no setting of
       this module can weaken it. Names are SPIFFE IDs; host names prove nothing and are not sent.
    3. TLS 1.3 only, no tickets, no resumption, no key log.

Private keys arrive as bytes and reach OpenSSL through an anonymous file in memory.

Spec: serving-v1.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from cloister.crypto.x509 import Identity, PeerCertificate, read_peer_certificate
from cloister.errors import (
    CloisterError,
    ConfigError,
    IdentityError,
    LocalProtocolError,
    MalformedError,
    UnavailableError,
)

__all__ = [
    "ALPN",
    "AnyClient",
    "Connection",
    "Credential",
    "TLSContext",
    "client_context",
    "connect",
    "peer_of",
    "peers_context",
    "replace_credential",
    "server_context",
    "transfer_error",
]

ALPN: Final = "http/1.1"
MAX_PEM_BYTES: Final = 65536
_NOT_YET_VALID, _EXPIRED = 9, 10  # OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
_LOG: Final = logging.getLogger(__name__)

Clock = Callable[[], int]
TLSContext = ssl.SSLContext  # a name for those who may not import `ssl`
_Judge = Callable[[bytes | None], PeerCertificate]


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate with its private key, both PEM; the key shows in no `repr`."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AnyClient:
    """Says that a server asks for no client certificate, and why."""

    reason: str

    def __post_init__(self) -> None:
        """A reason is a sentence, not a shrug."""
        if len(self.reason.strip()) < 8:  # noqa: PLR2004  # as in release-policy-v1
            raise ConfigError(
                "a server that takes any client needs a reason of 8 characters or more",
                code="config.value",
            )


class _Judged:
    """What both faces of a TLS connection share: no data before the peer has been judged."""

    context: Any
    _peer: PeerCertificate | None = None
    _ready: bool = False

    def _judge(self, leaf: bytes | None) -> None:
        judge: _Judge | None = self.context.judge
        if judge is not None:
            self._peer = judge(leaf)
        self._ready = True

    def _require_ready(self) -> None:
        if not self._ready:
            raise LocalProtocolError("TLS handshake not done", code="protocol.local")


class Connection(_Judged, ssl.SSLSocket):
    """A TLS socket whose peer has been judged by the time that a handshake returns."""

    @property
    def peer(self) -> PeerCertificate:
        """What the peer's certificate says: identity, policy hash, whether hardware vouches."""
        if self._peer is None:
            raise LocalProtocolError("no peer certificate was asked for", code="protocol.local")
        return self._peer

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # inherited
        """Shake hands and judge the peer; on refusal the socket is closed."""
        super().do_handshake(block)
        try:
            self._judge(self.getpeercert(binary_form=True))
        except CloisterError:
            self.close()
            raise

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Read, after the handshake only."""
        self._require_ready()
        return super().read(*args, **kwargs)

    def write(self, data: Any) -> int:
        """Write, after the handshake only."""
        self._require_ready()
        return super().write(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send, after the handshake only."""
        self._require_ready()
        return super().send(data, flags)


class _MemoryConnection(_Judged, ssl.SSLObject):
    """The same for asyncio, which moves the bytes itself."""

    def do_handshake(self) -> None:
        super().do_handshake()
        try:
            self._judge(self.getpeercert(binary_form=True))
        except CloisterError as e:
            _LOG.info("peer refused code=%s", e.code)
            # asyncio closes the transport quietly for an SSLError only
            raise ssl.SSLCertVerificationError(e.public) from e

    def read(self, *args: Any, **kwargs: Any) -> Any:
        self._require_ready()
        return super().read(*args, **kwargs)

    def write(self, data: Any) -> int:
        self._require_ready()
        return super().write(data)


class _Context(ssl.SSLContext):
    judge: _Judge | None = None


_Context.sslsocket_class = Connection
_Context.sslobject_class = _MemoryConnection


def server_context(
    credential: Credential,
    *,
    ca_pem: bytes,
    clients: tuple[Identity, ...] | AnyClient,
    clock: Clock,
    alpn: str = ALPN,
) -> ssl.SSLContext:
    """Return the settings of a server that shows `credential`.

    Args:
        credential: From the key service's bundle.
        ca_pem: The trust domain's CA, trusted.
        clients: Whose certificates are accepted; or the reason why none is asked for.
        clock: Seconds since the epoch, asked at every handshake.
        alpn: The protocol spoken inside.

    Raises:
        ConfigError: No client could ever be accepted.
        MalformedError: PEM that does not parse, or a key that is not the certificate's.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, alpn)
    _load_credential(context, credential)
    context.num_tickets = 0
    if isinstance(clients, AnyClient):
        context.verify_mode = ssl.CERT_NONE
        return context
    if not clients:
        raise ConfigError("a server without clients serves nobody", code="config.value")
    context.verify_mode = ssl.CERT_REQUIRED
    _load_ca(context, ca_pem)
    context.judge = _judge_by(ca_pem, clients, clock)
    return context


def peers_context(
    credential: Credential,
    *,
    ca_pem: bytes,
    admit: Callable[[PeerCertificate], object],
    clock: Clock,
    alpn: str,
    opens: bool,
) -> ssl.SSLContext:
    """Return the settings of one side of a connection between equals, which both show certificates.

    Args:
        credential: Our own.
        ca_pem: The trust domain's CA, pinned.
        admit: Raises an error of ours unless this peer may be talked to; asked at every handshake,
            with a certificate that has been verified.
        clock: Seconds since the epoch, asked at every handshake.
        alpn: The protocol spoken inside; `selected_alpn_protocol` is the caller's to compare.
        opens: Whether this side opens connections, or accepts them.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT if opens else ssl.PROTOCOL_TLS_SERVER, alpn)
    context.check_hostname = False  # names are SPIFFE IDs, which `admit` judges
    context.verify_mode = ssl.CERT_REQUIRED
    if not opens:
        context.num_tickets = 0
    _load_credential(context, credential)
    _load_ca(context, ca_pem)

    def judge(leaf: bytes | None) -> PeerCertificate:
        found = _verified(leaf, ca_pem, clock)
        admit(found)
        return found

    context.judge = judge
    return context


def replace_credential(context: ssl.SSLContext, credential: Credential) -> None:
    """Show another certificate in handshakes from now on; open connections go on as they are.

    Raises:
        MalformedError: PEM that does not parse, or a key that is not the certificate's; then the
            context shows what it showed before.
    """
    _load_credential(_context(ssl.PROTOCOL_TLS_SERVER), credential)
    _load_credential(context, credential)


def client_context(
    *,
    ca_pem: bytes,
    expected: Identity,
    credential: Credential | None,
    clock: Clock,
    alpn: str = ALPN,
) -> ssl.SSLContext:
    """Return the settings of a client that talks to `expected` and to nobody else.

    Args:
        ca_pem: The trust domain's CA, pinned.
        expected: Who the server must prove to be; its instance may be `*`.
        credential: The client's own, where it has one.
        clock: Seconds since the epoch, asked at every handshake.
        alpn: The protocol spoken inside.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, alpn)
    context.check_hostname = False  # names are SPIFFE IDs, which the judge compares
    context.verify_mode = ssl.CERT_REQUIRED
    _load_ca(context, ca_pem)
    if credential is not None:
        _load_credential(context, credential)
    context.judge = _judge_by(ca_pem, (expected,), clock)
    return context


def connect(
    address: tuple[str, int], *, context: ssl.SSLContext, timeout_s: float, alpn: str = ALPN
) -> Connection:
    """Connect, shake hands and judge the server, all within `timeout_s`.

    Args:
        address: Host and port; only a way to get there, nothing is believed about it.
        context: From `client_context`.
        timeout_s: For everything together; then it stays the timeout of each operation.
        alpn: The protocol spoken inside; a server that does not choose it is refused.

    Raises:
        IdentityError: The server is not the expected one: `identity.tls` for a chain or protocol
            that is not ours, `identity.clock`, `identity.peer`.
        UnavailableError: `server.unreachable`: nobody there, or too slow.
    """
    deadline = time.monotonic() + timeout_s
    where = f"{address[0]}:{address[1]}"
    try:
        plain = socket.create_connection(address, timeout=timeout_s)
    except OSError as e:
        raise UnavailableError(
            f"no server at {where}", code="server.unreachable", detail=str(e)
        ) from e
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(0)
        connection = context.wrap_socket(plain, do_handshake_on_connect=False)
    except OSError as e:
        plain.close()
        raise _unreachable(where, e) from e
    if not isinstance(connection, Connection):
        connection.close()
        raise LocalProtocolError("not a context of ours", code="protocol.local")
    try:
        _shake_hands(connection, where, deadline)
        if connection.selected_alpn_protocol() != alpn:
            raise IdentityError(f"the server at {where} does not speak {alpn}", code="identity.tls")
        connection.settimeout(timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def peer_of(transport_object: object) -> PeerCertificate | None:
    """Return what the peer of an asyncio connection proved, or None where none was asked for.

    Args:
        transport_object: What `writer.get_extra_info("ssl_object")` returns.
    """
    if not isinstance(transport_object, _MemoryConnection):
        raise LocalProtocolError("not a connection of ours", code="protocol.local")
    transport_object._require_ready()  # noqa: SLF001  # a class of this module
    return transport_object._peer  # noqa: SLF001  # our own class


def transfer_error(error: OSError, *, where: str) -> CloisterError:
    """Return what an error while reading or writing means; a refusal may arrive late in TLS 1.3."""
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return IdentityError(
            f"the server at {where} refused this client",
            code="identity.tls",
            detail=error.reason,
            hint="the policy's listener names the clients that it accepts",
        )
    return _unreachable(where, error)


def _context(protocol: int, alpn: str = ALPN) -> _Context:
    context = _Context(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols([alpn])
    return context


def _judge_by(ca_pem: bytes, accepted: tuple[Identity, ...], clock: Clock) -> _Judge:
    def judge(leaf: bytes | None) -> PeerCertificate:
        found = _verified(leaf, ca_pem, clock)
        for identity in accepted[:-1]:
            try:
                identity.require_matches(found.identity)
            except IdentityError:
                continue
            return found
        accepted[-1].require_matches(found.identity)
        return found

    return judge


def _verified(leaf: bytes | None, ca_pem: bytes, clock: Clock) -> PeerCertificate:
    if leaf is None:
        raise IdentityError("the peer showed no certificate", code="identity.tls")
    return read_peer_certificate(leaf, ca_pem=ca_pem, at=clock())


def _shake_hands(connection: Connection, where: str, deadline: float) -> None:
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            _wait(connection, where, deadline, reading=True)
        except ssl.SSLWantWriteError:
            _wait(connection, where, deadline, reading=False)
        except ssl.SSLCertVerificationError as e:
            raise _not_verified(where, e) from e
        except ssl.SSLError as e:
            raise IdentityError(
                f"the server at {where} does not speak TLS 1.3 with us",
                code="identity.tls",
                detail=str(e),
            ) from e
        except OSError as e:
            raise _unreachable(where, e) from e
        else:
            return


def _wait(connection: Connection, where: str, deadline: float, *, reading: bool) -> None:
    left = deadline - time.monotonic()
    poll = select.poll()
    poll.register(connection, select.POLLIN if reading else select.POLLOUT)
    if not poll.poll(max(left, 0) * 1000):
        raise UnavailableError(f"the server at {where} is too slow", code="server.unreachable")


def _not_verified(where: str, error: ssl.SSLCertVerificationError) -> IdentityError:
    if error.verify_code in {_NOT_YET_VALID, _EXPIRED}:
        return IdentityError(
            f"the certificate of the server at {where} is not valid at this machine's time",
            code="identity.clock",
            detail=error.verify_message,
            hint="compare this machine's clock with the key service's",
        )
    return IdentityError(
        f"the certificate of the server at {where} was not issued by the pinned authority",
        code="identity.tls",
        detail=error.verify_message,
    )


def _unreachable(where: str, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"the server at {where} closed the connection or does not answer",
        code="server.unreachable",
        detail=str(error),
    )


def _load_ca(context: ssl.SSLContext, ca_pem: bytes) -> None:
    try:
        if len(ca_pem) > MAX_PEM_BYTES:
            raise ValueError("too large")
        context.load_verify_locations(cadata=ca_pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as e:
        raise MalformedError("not a CA certificate in PEM", code="certificate.malformed") from e


def _load_credential(context: ssl.SSLContext, credential: Credential) -> None:
    pem = credential.key_pem + b"\n" + credential.certificate_pem
    if len(pem) > MAX_PEM_BYTES:
        raise MalformedError("certificate and key are too large", code="certificate.malformed")
    descriptor = os.memfd_create("credential", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
    except (ssl.SSLError, ValueError) as e:
        raise MalformedError(
            "not a certificate with its key in PEM", code="certificate.malformed"
        ) from e
    finally:
        os.close(descriptor)


def _no_password() -> bytes:
    raise ValueError("the key is encrypted")
