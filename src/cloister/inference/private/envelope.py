"""Encapsulated requests and responses of Oblivious HTTP (RFC 9458), without the HTTP inside.

A request is sealed to a key configuration; whoever opens it gets the way to seal one response,
which nobody but the sender of that request can open. What is sealed is bytes here: the purpose says
of what kind, and keeps formats apart (RFC 9458, section 4.6).

Invariants:
    1. A response opens for the request that it answers, and for no other: its key comes from that
       request's context and a fresh nonce.
    2. Everything that does not open is one and the same error.

Spec: private-query-v1, clauses PQ-10 to PQ-16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.crypto.hpke_context import (
    AES_256_GCM,
    HKDF_SHA256,
    NONCE_BYTES,
    Context,
    Suite,
    open_once,
    seal_once,
)
from cloister.crypto.kdf import random_bytes
from cloister.crypto.kem import XWING, Encapsulated, KEMPrivateKey, XWingKey
from cloister.crypto.labelled import expand, extract
from cloister.errors import MalformedError, TamperedError
from cloister.wire.binary import BinaryReader

__all__ = [
    "BHTTP",
    "OVERHEAD_BYTES",
    "PRIVATE",
    "SUITE",
    "KeyConfiguration",
    "OpenedRequest",
    "Purpose",
    "SealedRequest",
    "encapsulate",
    "open_request",
    "read_header",
    "seal_request",
]

SUITE: Final = Suite(XWING, HKDF_SHA256, AES_256_GCM)
HEADER_BYTES: Final = 7
_TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = HEADER_BYTES + XWingKey.enc_bytes + _TAG_BYTES
"""How much longer a request of `SUITE` is than what it seals."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What is sealed: the two strings that requests and responses are bound to."""

    request: bytes
    response: bytes


BHTTP: Final = Purpose(b"message/bhttp request", b"message/bhttp response")
PRIVATE: Final = Purpose(
    b"cloister/private-query/v1 request", b"cloister/private-query/v1 response"
)


@dataclass(frozen=True, slots=True)
class KeyConfiguration:
    """A public key with its number and algorithms (RFC 9458, section 3)."""

    key_id: int
    kem: int
    public: bytes
    symmetric: tuple[tuple[int, int], ...]

    def to_bytes(self) -> bytes:
        """Return its only spelling."""
        algorithms = b"".join(_two(kdf) + _two(aead) for kdf, aead in self.symmetric)
        head = bytes([self.key_id]) + _two(self.kem) + self.public
        return head + _two(len(algorithms)) + algorithms

    @classmethod
    def from_bytes(cls, data: bytes, *, public_bytes: Mapping[int, int]) -> KeyConfiguration:
        """Read an untrusted configuration.

        Args:
            data: One configuration, and nothing else.
            public_bytes: Length of a public key for each KEM that is known here.

        Raises:
            MalformedError: It is none, or of another KEM.
        """
        reader = BinaryReader(data, cut_off=_not_a_configuration)
        key_id, kem = reader.take(1)[0], _number(reader)
        if kem not in public_bytes:
            raise _not_a_configuration()
        public = reader.take(public_bytes[kem])
        size = _number(reader)
        if size == 0 or size % 4 or size != reader.left:
            raise _not_a_configuration()
        pairs = tuple((_number(reader), _number(reader)) for _ in range(size // 4))
        return cls(key_id, kem, public, pairs)


@dataclass(frozen=True, slots=True, repr=False)
class _Exchange:
    """What both sides have of a request after it was sealed or opened: the way back."""

    suite: Suite
    enc: bytes
    secret: bytes

    def cipher(self, nonce: bytes) -> tuple[bytes, bytes]:
        """Return key and nonce of the response that `nonce` begins."""
        random = extract(self.enc + nonce, self.secret)
        key = expand(random, b"key", self.suite.key_bytes)
        return key, expand(random, b"nonce", NONCE_BYTES)


class SealedRequest:
    """A request on its way, and what opens its response."""

    __slots__ = ("_exchange", "data")

    def __init__(self, data: bytes, exchange: _Exchange) -> None:
        """Keep the bytes to be sent."""
        self.data: Final = data
        self._exchange = exchange

    def open_response(self, sealed: bytes) -> bytes:
        """Return what an untrusted response to this request holds.

        Raises:
            TamperedError: It is none, or another's (`private.answer`).
        """
        exchange = self._exchange
        size = _response_nonce_bytes(exchange.suite)
        error = TamperedError(
            "what came back is not the answer that was sealed for this query",
            code="private.answer",
        )
        if len(sealed) < size + _TAG_BYTES:
            raise error
        key, nonce = exchange.cipher(sealed[:size])
        return open_once(exchange.suite, key, nonce, sealed[size:], error=error)


class OpenedRequest:
    """A request that was opened, and the way to answer it."""

    __slots__ = ("_exchange", "plaintext")

    def __init__(self, plaintext: bytes, exchange: _Exchange) -> None:
        """Keep what was inside."""
        self.plaintext: Final = plaintext
        self._exchange = exchange

    @property
    def enc(self) -> bytes:
        """The encapsulated key that the request began with."""
        return self._exchange.enc

    def seal_response(self, plaintext: bytes, *, nonce: bytes | None = None) -> bytes:
        """Seal a response; with None, the nonce is drawn. One nonce seals one response."""
        exchange = self._exchange
        size = _response_nonce_bytes(exchange.suite)
        drawn = random_bytes(size) if nonce is None else nonce
        key, iv = exchange.cipher(drawn)
        return drawn + seal_once(exchange.suite, key, iv, plaintext)


def read_header(data: bytes) -> tuple[int, Suite]:
    """Return which key an untrusted request is sealed to, and by which algorithms.

    Raises:
        MalformedError: It is too short to say.
    """
    reader = BinaryReader(data[:HEADER_BYTES], cut_off=_not_a_request)
    key_id = reader.take(1)[0]
    return key_id, Suite(_number(reader), _number(reader), _number(reader))


def seal_request(
    plaintext: bytes,
    *,
    key_id: int,
    suite: Suite,
    encapsulated: Encapsulated,
    purpose: Purpose,
) -> SealedRequest:
    """Seal a request.

    Args:
        plaintext: What only the server shall read.
        key_id: The number of the key in its configuration.
        suite: Algorithms, of the configuration.
        encapsulated: Fresh, for the configuration's key: it is never used twice.
        purpose: What `plaintext` is.
    """
    header = bytes([key_id]) + suite.to_bytes()
    context = Context(suite, encapsulated.secret, info=purpose.request + b"\0" + header)
    sealed = context.seal(plaintext)
    exchange = _exchange(context, suite, encapsulated.enc, purpose)
    return SealedRequest(header + encapsulated.enc + sealed, exchange)


def open_request(
    data: bytes, key: KEMPrivateKey, *, suite: Suite, purpose: Purpose
) -> OpenedRequest:
    """Open an untrusted request whose header named this key.

    Raises:
        MalformedError: It was not sealed to this key, for this purpose, in this form; or changed.
    """
    header, enc = data[:HEADER_BYTES], data[HEADER_BYTES : HEADER_BYTES + key.enc_bytes]
    if header[1:] != suite.to_bytes() or len(enc) != key.enc_bytes:
        raise _not_a_request()
    secret = key.decapsulate(enc)
    context = Context(suite, secret, info=purpose.request + b"\0" + header)
    plaintext = context.open(data[HEADER_BYTES + key.enc_bytes :], error=_not_a_request())
    return OpenedRequest(plaintext, _exchange(context, suite, enc, purpose))


def encapsulate(configuration: KeyConfiguration) -> Encapsulated:
    """Make a fresh secret for a configuration of `SUITE`."""
    return XWingKey.encapsulate(configuration.public)


def _exchange(context: Context, suite: Suite, enc: bytes, purpose: Purpose) -> _Exchange:
    return _Exchange(suite, enc, context.export(purpose.response, _response_nonce_bytes(suite)))


def _response_nonce_bytes(suite: Suite) -> int:
    return max(suite.key_bytes, NONCE_BYTES)


def _number(reader: BinaryReader) -> int:
    return int.from_bytes(reader.take(2), "big")


def _two(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _not_a_configuration() -> MalformedError:
    return MalformedError("not a key configuration", code="message.malformed")


def _not_a_request() -> MalformedError:
    return MalformedError("not a request that was sealed to this key", code="message.malformed")
