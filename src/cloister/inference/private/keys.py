"""Which key a private query is sealed to, what it serves, and who says so.

A server makes a key when it starts and again while it runs, and signs each with the key of its
certificate. A client believes a key only with that signature, and that certificate only under the
authority, identity and policy that it pinned.

Spec: private-query-v1, clauses PQ-1 to PQ-9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.crypto.certificate_signature import (
    MAX_SIGNATURE_BYTES,
    CertificateKey,
    verify_by_certificate,
)
from cloister.crypto.digest import DIGEST_BYTES, same_bytes, sha256
from cloister.crypto.kem import XWING, XWingKey
from cloister.crypto.x509 import Identity, PeerCertificate, read_peer_certificate
from cloister.errors import ConfigError, IdentityError, MalformedError
from cloister.inference.private.envelope import SUITE, KeyConfiguration
from cloister.wire import Fields, Value, encode

__all__ = [
    "LABEL",
    "MAX_BYTES",
    "MAX_LIFETIME_S",
    "AnyPolicy",
    "PrivateKeys",
    "Sizes",
    "read_keys",
    "sign_keys",
    "verify_keys",
]

FORMAT: Final = "cloister/private-keys/v1"
LABEL: Final = b"cloister/private-keys/v1"
MAX_BYTES: Final = 65536
MAX_LIFETIME_S: Final = 86400
_MAX_CERTIFICATE_BYTES: Final = 16384
_MAX_MODELS: Final = 256
_LEAST_ANSWER: Final = 1024
_MOST_ANSWER: Final = 2**28
_MOST_REQUEST: Final = 2**30
_MAX_WINDOW_S: Final = 3600
_PUBLIC_BYTES: Final = {XWING: XWingKey.public_bytes}
_SKEW_S: Final = 120  # how far a client's clock may be behind the server's


@dataclass(frozen=True, slots=True)
class AnyPolicy:
    """Says that a client takes any policy of the identity that it names, and why."""

    reason: str

    def __post_init__(self) -> None:
        """A reason is a sentence, not a shrug."""
        if len(self.reason.strip()) < 8:  # noqa: PLR2004  # as in release-policy-v1
            raise ConfigError(
                "a client that takes any policy needs a reason of 8 characters or more",
                code="config.value",
            )


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long answers are, whatever they say.

    Attributes:
        models: Bytes of every answer about a model, by its name.
        other: Bytes of every other answer.
    """

    models: Mapping[str, int]
    other: int

    def of(self, target: str) -> int:
        """Return how long the answer to a request for `target` is."""
        parts = target.partition("?")[0].split("/")
        if len(parts) > _NAME_PLACE and parts[2] == "models":
            return self.about(parts[_NAME_PLACE].partition(":")[0])
        return self.other

    def about(self, model: str) -> int:
        """Return how long the answer to a request about a model is."""
        return self.models.get(model, self.other)


_NAME_PLACE: Final = 3


@dataclass(frozen=True, slots=True)
class PrivateKeys:
    """A key configuration and what goes with it.

    Attributes:
        configuration: The key, with its number.
        not_before: From when it is good, in seconds since the epoch.
        not_after: Until when.
        sizes: How long answers are.
        request_bytes: Longest request that is taken, sealed.
        window_s: How far a request's time may be from the server's.
        digest: SHA-256 of the signed statement; requests are signed for it.
    """

    configuration: KeyConfiguration
    not_before: int
    not_after: int
    sizes: Sizes
    request_bytes: int
    window_s: int
    digest: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the statement that is signed."""
        models: dict[str, Value] = dict(self.sizes.models)
        return encode(
            {
                "format": FORMAT,
                "configuration": self.configuration.to_bytes(),
                "not_before": self.not_before,
                "not_after": self.not_after,
                "models": models,
                "other": self.sizes.other,
                "request_bytes": self.request_bytes,
                "window": self.window_s,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> PrivateKeys:
        """Read an untrusted statement.

        Raises:
            MalformedError: It is none, or its key is of another kind (`message.malformed`).
        """
        fields = Fields.decode(data, what="key configuration", max_bytes=MAX_BYTES)
        fields.constant("format", FORMAT)
        configuration = KeyConfiguration.from_bytes(
            fields.octets("configuration", max_length=4096), public_bytes=_PUBLIC_BYTES
        )
        if configuration.symmetric != ((SUITE.kdf, SUITE.aead),):
            raise MalformedError("a key of other algorithms", code="message.malformed")
        keys = cls(
            configuration,
            fields.integer("not_before"),
            fields.integer("not_after"),
            Sizes(_models(fields.submap("models")), _size(fields, "other")),
            fields.integer("request_bytes", minimum=1, maximum=_MOST_REQUEST),
            fields.integer("window", minimum=1, maximum=_MAX_WINDOW_S),
            sha256(data),
        )
        fields.end()
        if not 0 < keys.not_after - keys.not_before <= MAX_LIFETIME_S:
            raise MalformedError("a key is good for a day at most", code="message.malformed")
        return keys


def sign_keys(keys: PrivateKeys, signer: CertificateKey) -> tuple[bytes, bytes]:
    """Return the document that clients get, and the digest of its statement."""
    statement = keys.to_bytes()
    document = encode(
        {
            "statement": statement,
            "certificate": signer.certificate_der,
            "signature": signer.sign(LABEL, statement),
        }
    )
    return document, sha256(statement)


def read_keys(document: bytes) -> tuple[bytes, bytes, bytes]:
    """Cut an untrusted document into statement, certificate and signature.

    Raises:
        MalformedError: It is none.
    """
    fields = Fields.decode(document, what="private keys", max_bytes=MAX_BYTES)
    parts = (
        fields.octets("statement", max_length=MAX_BYTES),
        fields.octets("certificate", max_length=_MAX_CERTIFICATE_BYTES),
        fields.octets("signature", max_length=MAX_SIGNATURE_BYTES),
    )
    fields.end()
    return parts


def verify_keys(
    document: bytes,
    *,
    ca_pem: bytes,
    expected: Identity,
    policy: bytes | AnyPolicy,
    at: int,
) -> tuple[PrivateKeys, PeerCertificate]:
    """Return what an untrusted document says, if who was asked for signed it.

    Args:
        document: From the server, by way of anybody.
        ca_pem: The trust domain's CA, pinned.
        expected: Who the server must be; its instance may be `*`.
        policy: Hash of the policy that the server must run under; or the reason why any will do.
        at: Now, by this machine's own clock, in seconds since the epoch.

    Raises:
        IdentityError: Another authority (`identity.tls`), time (`identity.clock`), identity
            (`identity.peer`), policy (`identity.policy`), or signature (`private.keys`).
        MalformedError: It is no such document.
    """
    statement, certificate, signature = read_keys(document)
    # 1. The certificate is of the pinned authority, and good now.
    peer = read_peer_certificate(certificate, ca_pem=ca_pem, at=at)
    # 2. It is of the one that was asked for, under the policy that was pinned.
    expected.require_matches(peer.identity)
    if not isinstance(policy, AnyPolicy):
        require_policy(peer, policy)
    # 3. Its key signed the statement: nothing of the statement is read before.
    forged = IdentityError(
        "the key configuration was not signed by the server's certificate", code="private.keys"
    )
    verify_by_certificate(certificate, LABEL, statement, signature, error=forged)
    keys = PrivateKeys.from_bytes(statement)
    # 4. The key is good now.
    if not keys.not_before - _SKEW_S <= at <= keys.not_after:
        raise IdentityError(
            "the key configuration is not good at this machine's time",
            code="private.keys",
            hint="somebody may keep an old one; or compare this machine's clock with the server's",
        )
    return keys, peer


def require_policy(peer: PeerCertificate, pinned: bytes) -> None:
    """Raise unless a peer runs under the policy whose hash was pinned (`identity.policy`)."""
    if len(pinned) != DIGEST_BYTES or not same_bytes(peer.policy_hash, pinned):
        raise IdentityError(
            f"the server runs under the policy sha256:{peer.policy_hash.hex()}, "
            "which is not the pinned one",
            code="identity.policy",
        )


def _models(fields: Fields) -> dict[str, int]:
    names = fields.keys()
    if len(names) > _MAX_MODELS:
        raise MalformedError("too many models", code="message.malformed")
    return {name: _size(fields, name) for name in names}


def _size(fields: Fields, name: str) -> int:
    return fields.integer(name, minimum=_LEAST_ANSWER, maximum=_MOST_ANSWER)
