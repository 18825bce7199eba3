"""Who asks: a signature inside the envelope, over the key, the time and the whole request.

What is sealed begins with this part, of a fixed form, and the inner request follows. It is judged
before a byte of the inner request is read.

Spec: private-query-v1, clauses PQ-20 to PQ-26.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cloister.crypto.certificate_signature import (
    MAX_SIGNATURE_BYTES,
    CertificateKey,
    verify_by_certificate,
)
from cloister.crypto.digest import sha256
from cloister.crypto.signature import SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.crypto.x509 import Identity, read_peer_certificate
from cloister.errors import CloisterError, ConfigError, IdentityError, MalformedError
from cloister.network.tls import Credential

__all__ = [
    "LABEL",
    "NONCE_BYTES",
    "ROOM_BYTES",
    "Asker",
    "Askers",
    "Binding",
    "Member",
    "Principal",
    "SignedRequest",
]

LABEL: Final = b"cloister/private-query/v1"
NONCE_BYTES: Final = 16
ROOM_BYTES: Final = 2048
"""For what comes before the inner request, whoever asks; certificates of ours fit."""

_MAGIC: Final = b"CPQ1"
_HEAD: Final = struct.Struct(">4sB3xQ16sHH")
_BY_KEY, _BY_CERTIFICATE = 1, 2
_MAX_ASKER: Final = 16384
_DER_BYTES: Final = 71  # every second signature by a certificate; others have one more, or fewer
_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")


@dataclass(frozen=True, slots=True)
class Binding:
    """What a request is made for.

    Attributes:
        keys: Digest of the signed key configuration, with everything in it.
        key_id: The number of its key.
        enc: The encapsulated key that the request begins with.
    """

    keys: bytes
    key_id: int
    enc: bytes


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """An inner request with who signed it.

    Attributes:
        kind: By a principal's key, or by a certificate.
        asker: The principal's name, or the certificate as DER.
        time: By the asker's clock, in seconds since the epoch.
        nonce: Drawn for this request.
        signature: Over all of it and a `Binding`.
        inner: The request itself, which nobody has looked at.
    """

    kind: int
    asker: bytes
    time: int
    nonce: bytes
    signature: bytes
    inner: bytes

    def signed(self, binding: Binding) -> bytes:
        """Return what the signature is over: parts of fixed sizes."""
        head = bytes([binding.key_id, self.kind]) + self.time.to_bytes(8, "big") + self.nonce
        digests = (binding.keys, sha256(binding.enc), sha256(self.asker), sha256(self.inner))
        return head + b"".join(digests)

    def to_bytes(self) -> bytes:
        """Return what is sealed."""
        head = _HEAD.pack(
            _MAGIC, self.kind, self.time, self.nonce, len(self.asker), len(self.signature)
        )
        return head + self.asker + self.signature + self.inner

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedRequest:
        """Read untrusted bytes; the inner request is not looked at.

        Raises:
            MalformedError: Not of this form (`message.malformed`).
        """
        if len(data) < _HEAD.size:
            raise _malformed()
        magic, kind, time, nonce, asker_bytes, signature_bytes = _HEAD.unpack_from(data)
        middle = _HEAD.size + asker_bytes
        end = middle + signature_bytes
        good = magic == _MAGIC and data[5:8] == bytes(3) and kind in {_BY_KEY, _BY_CERTIFICATE}
        good = good and 0 < asker_bytes <= _MAX_ASKER and end <= len(data)
        if not good or signature_bytes > MAX_SIGNATURE_BYTES:
            raise _malformed()
        return cls(kind, data[_HEAD.size : middle], time, nonce, data[middle:end], data[end:])


class Asker(Protocol):
    """Somebody who may sign requests."""

    @property
    def before_bytes(self) -> int:
        """How much comes before each inner request, always the same."""

    def sign(self, inner: bytes, binding: Binding, *, time: int, nonce: bytes) -> SignedRequest:
        """Sign an inner request for one key configuration and one encapsulated key."""


class Principal:
    """An asker by name and key."""

    def __init__(self, name: str, key: SigningKey) -> None:
        """Take the name that the server knows the key by.

        Raises:
            ConfigError: No name of a principal (`config.value`).
        """
        require_principal(name)
        self.name: Final = name
        self._key = key

    @property
    def before_bytes(self) -> int:
        """How much comes before each inner request."""
        return _HEAD.size + len(self.name) + SIGNATURE_BYTES

    def sign(self, inner: bytes, binding: Binding, *, time: int, nonce: bytes) -> SignedRequest:
        """Sign an inner request."""
        bare = SignedRequest(_BY_KEY, self.name.encode("ascii"), time, nonce, b"", inner)
        return _with(bare, self._key.sign(LABEL, bare.signed(binding)))


class Member:
    """An asker by a certificate of the trust domain, whose identity the server's policy names."""

    def __init__(self, credential: Credential) -> None:
        """Take certificate and key.

        Raises:
            MalformedError: They are none (`certificate.malformed`).
        """
        self._key = CertificateKey(credential.certificate_pem, credential.key_pem)

    @property
    def before_bytes(self) -> int:
        """How much comes before each inner request."""
        return _HEAD.size + len(self._key.certificate_der) + _DER_BYTES

    def sign(self, inner: bytes, binding: Binding, *, time: int, nonce: bytes) -> SignedRequest:
        """Sign an inner request, again until the signature has the usual length."""
        der = self._key.certificate_der
        bare = SignedRequest(_BY_CERTIFICATE, der, time, nonce, b"", inner)
        message = bare.signed(binding)
        signature = self._key.sign(LABEL, message)
        while len(signature) != _DER_BYTES:
            signature = self._key.sign(LABEL, message)
        return _with(bare, signature)


class Askers:
    """Who may ask one server."""

    def __init__(
        self,
        *,
        keys: Mapping[str, VerifyingKey],
        clients: Sequence[Identity],
        ca_pem: bytes,
    ) -> None:
        """Take principals by name, and identities of the trust domain; one of them at least.

        Raises:
            ConfigError: Nobody may ask (`config.missing`), or a name is none (`config.value`).
        """
        if not keys and not clients:
            raise ConfigError(
                "private queries need somebody who may ask them",
                code="config.missing",
                hint="name clients in the policy's listener, or give --asker NAME=ed25519:…",
            )
        for name in keys:
            require_principal(name)
        self._keys = dict(keys)
        self._clients = tuple(clients)
        self._ca_pem = ca_pem

    def require(self, request: SignedRequest, binding: Binding, *, at: int) -> str:
        """Return the name of who signed this request for this binding.

        A principal's name, or the SPIFFE ID of a certificate, which begins with `spiffe://` as no
        principal's name does.

        Raises:
            IdentityError: Nobody who may ask did (`private.asker`); which check failed is not said.
        """
        error = IdentityError("not signed by somebody who may ask here", code="private.asker")
        message = request.signed(binding)
        if request.kind == _BY_KEY:
            name = request.asker.decode("ascii", "replace")
            key = self._keys.get(name)
            if key is None or len(request.signature) != SIGNATURE_BYTES:
                raise error
            key.verify(LABEL, message, request.signature, error=error)
            return name
        try:
            peer = read_peer_certificate(request.asker, ca_pem=self._ca_pem, at=at)
        except CloisterError as e:
            raise error from e
        if not any(_is(client, peer.identity) for client in self._clients):
            raise error
        verify_by_certificate(request.asker, LABEL, message, request.signature, error=error)
        return peer.identity.uri


def require_principal(name: str) -> None:
    """Raise unless this can be a principal's name (`config.value`)."""
    if _PRINCIPAL.fullmatch(name) is None:
        raise ConfigError(
            "a principal's name has up to 128 letters, digits and . _ @ + -, and begins with a "
            "letter or digit",
            code="config.value",
        )


def _with(bare: SignedRequest, signature: bytes) -> SignedRequest:
    return SignedRequest(bare.kind, bare.asker, bare.time, bare.nonce, signature, bare.inner)


def _is(wanted: Identity, found: Identity) -> bool:
    try:
        wanted.require_matches(found)
    except IdentityError:
        return False
    return True


def _malformed() -> MalformedError:
    return MalformedError("not a signed request", code="message.malformed")
