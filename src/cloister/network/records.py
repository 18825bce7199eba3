"""TLS in memory, for many records at a time: bytes of the wire in, bytes of the wire out.

OpenSSL on a socket makes a system call or two for each record of 16 KiB. Here the caller reads and
writes as much as the socket has, and this seals or opens all of it in one go. Nothing is opened or
sealed before the peer has been judged (`tls`); `Connection`'s invariants hold.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from cloister.crypto.x509 import PeerCertificate
from cloister.errors import CloisterError, IdentityError, LocalProtocolError, RemoteProtocolError
from cloister.network.frames import Mark, Unframer
from cloister.network.tls import peer_of

__all__ = ["Records"]


class Records:
    """One side of a TLS connection."""

    __slots__ = ("_alpn", "_in", "_open", "_out", "_peer", "_pending", "_seal", "_tls")

    def __init__(self, context: ssl.SSLContext, *, opens: bool, alpn: str) -> None:
        """Begin.

        Args:
            context: From `peers_context`.
            opens: As there.
            alpn: As there; another one is refused.
        """
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=not opens)
        self._alpn = alpn
        self._peer: PeerCertificate | None = None
        self._open: Callable[[int, memoryview], int] = _not_yet
        self._seal: Callable[[memoryview], int] = _not_yet
        self._pending: Callable[[], int] = _not_yet

    @property
    def peer(self) -> PeerCertificate:
        """What the peer proved."""
        if self._peer is None:
            raise LocalProtocolError("TLS handshake not done", code="protocol.local")
        return self._peer

    def shake(self, data: memoryview) -> bool:
        """Take what came and go on with the handshake; afterwards send `waiting()`, error or not.

        Returns:
            Whether it is done, and the peer was admitted.

        Raises:
            IdentityError: The peer is none of ours, or does not speak TLS 1.3 and our protocol
                (`identity.tls`); or what `admit` raised.
        """
        self._in.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as e:
            if isinstance(e.__cause__, CloisterError):
                raise e.__cause__ from e
            raise IdentityError(
                "the peer does not speak TLS 1.3 with a certificate of the pinned authority",
                code="identity.tls",
                detail=str(e),
            ) from e
        if self._tls.selected_alpn_protocol() != self._alpn:
            raise IdentityError(f"the peer does not speak {self._alpn}", code="identity.tls")
        peer = peer_of(self._tls)
        if peer is None:
            raise LocalProtocolError("not a context for peers", code="protocol.local")
        self._peer = peer
        # Past the Python layers, which cost as much as a record does; the peer has been judged.
        inner: Any = self._tls._sslobj  # type: ignore[attr-defined]  # noqa: SLF001  # see above
        self._open, self._seal, self._pending = inner.read, inner.write, inner.pending
        return True

    def waiting(self) -> bytes:
        """Return what must be sent, once."""
        return self._out.read()

    def seal(self, data: memoryview) -> bytes:
        """Return what must be sent so that the peer gets `data`."""
        self._seal(data)
        return self._out.read()

    def take(self, data: memoryview) -> None:
        """Take what came."""
        self._in.write(data)

    def read(self, size: int) -> bytes:
        """Return at most so many bytes of the peer's; none where nothing is here.

        Raises:
            RemoteProtocolError: Changed on the way, or the peer has closed TLS.
        """
        if not self._in.pending and not self._pending():
            return b""
        room = memoryview(bytearray(size))
        try:
            got = self._open(size, room)
        except ssl.SSLWantReadError:
            return b""
        except ssl.SSLError as e:
            raise _broken(e) from e
        if got == 0:
            raise _closed()
        return bytes(room[:got])

    def open_frames(self, unframer: Unframer, into: memoryview) -> int:
        """Fill `into` with what the frames carry that are here, one behind the other.

        What is sent on begins where `into` does, however frames and records are cut: the kernel
        copies from there much faster than from any odd place.

        Args:
            unframer: Where the stream stands.
            into: Longer by a record than what was taken since all had been read.

        Returns:
            How many bytes were filled in. Then `waiting()` may have something to send.

        Raises:
            MalformedError: What came is not frames.
            RemoteProtocolError: Changed on the way, or the peer has closed TLS.
        """
        at = 0
        # Names of this function's own: what is done here is done for each record of 16 KiB.
        read, pending, wire = self._open, self._pending, self._in
        try:
            while wire.pending or pending():
                if unframer.left:
                    got = read(unframer.left, into[at:])
                    unframer.left -= got
                    at += got
                else:
                    word = memoryview(bytearray(unframer.wanted))
                    got = read(len(word), word)
                    unframer.head(bytes(word[:got]))
                    if unframer.mark is Mark.ABORTED:
                        return at
                if got == 0:  # TLS has ended, whatever follows
                    raise _closed()
        except ssl.SSLWantReadError:
            return at
        except ssl.SSLError as e:
            raise _broken(e) from e
        return at


def _closed() -> RemoteProtocolError:
    return RemoteProtocolError("the other relay closed TLS", code="protocol.remote")


def _broken(error: ssl.SSLError) -> RemoteProtocolError:
    return RemoteProtocolError(
        "the connection between relays was cut or changed",
        code="protocol.remote",
        detail=str(error),
    )


def _not_yet(*_: object) -> int:
    raise LocalProtocolError("TLS handshake not done", code="protocol.local")
