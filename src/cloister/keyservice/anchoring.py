"""Anchor operations: ask for, move, renew, release and take over one volume's anchor.

A request carries a code (HMAC) made with the lease's secret; replies are signed by the service
over the request, whose nonce the client chose. Repeating a recorded request changes nothing that
matters: `advance` is a compare-and-swap, and `takeover` needs a challenge of the service.

Spec: key-release-v1, clauses KR-50 to KR-56.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.attestation.binding import NONCE_BYTES, SERVICE_BYTES
from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.kdf import derive_key
from cloister.crypto.keyring import FIRST_KEY_EPOCH, MAX_KEY_EPOCH
from cloister.crypto.mac import MAC_BYTES, make_mac, require_mac
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.leases import AnchorMove
from cloister.keyservice.messages import PROTOCOL_VERSION, VOLUME_ID_BYTES
from cloister.wire import Fields, Value, encode

__all__ = [
    "ANCHOR_LABEL",
    "AnchorReply",
    "AnchorRequest",
    "SealedAnchorRequest",
    "reader_secret",
]

ANCHOR_LABEL: Final = b"cloister/key-release/v1/anchor"
READER_LABEL: Final = b"cloister/key-release/v1/reader"
OPERATIONS: Final = ("state", "advance", "renew", "release", "takeover")
_MAX_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class AnchorRequest:
    """One operation on one volume's anchor by the holder of one epoch.

    Attributes:
        service: The key service that is meant.
        nonce: The client's; for `takeover`, the service's challenge.
        volume: The volume's identity.
        epoch: Of the lease; 0 for a reader, who may only ask for the state.
        operation: `state`, `advance`, `renew`, `release` or `takeover`.
        move: For `advance` only.
    """

    service: bytes
    nonce: bytes
    volume: bytes
    epoch: int
    operation: str
    move: AnchorMove | None

    def __post_init__(self) -> None:
        """Exact lengths; a move exactly for `advance`, and forwards."""
        lengths = (len(self.service), len(self.nonce), len(self.volume))
        if lengths != (SERVICE_BYTES, NONCE_BYTES, VOLUME_ID_BYTES):
            raise MalformedError("an anchor request has fixed lengths", code="message.malformed")
        if self.operation not in OPERATIONS or (self.operation == "advance") != (
            self.move is not None
        ):
            raise MalformedError("not an anchor operation", code="message.malformed")
        if self.epoch == 0 and self.operation != "state":
            raise MalformedError("a reader asks for the state only", code="message.malformed")
        if self.move is not None:
            _require_forwards(self.move)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that the code covers."""
        value: dict[str, Value] = {
            "version": PROTOCOL_VERSION,
            "service": self.service,
            "nonce": self.nonce,
            "volume": self.volume,
            "epoch": self.epoch,
            "operation": self.operation,
        }
        if self.move is not None:
            value["from"] = {"version": self.move.version, "root": self.move.root}
            new: dict[str, Value] = {
                "version": self.move.new_version,
                "root": self.move.new_root,
            }
            if self.move.oldest_key > FIRST_KEY_EPOCH:
                new["oldest_key"] = self.move.oldest_key
            value["to"] = new
        return encode(value)

    @classmethod
    def from_bytes(cls, data: bytes) -> AnchorRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="anchor request", max_bytes=_MAX_BYTES)
        fields.constant("version", PROTOCOL_VERSION)
        operation = fields.text("operation", max_length=16)
        move = None
        if operation == "advance":
            version, root = _read_state(fields.submap("from"))
            new = fields.submap("to")
            oldest_key = _read_oldest_key(new)
            move = AnchorMove(version, root, *_read_state(new), oldest_key)
        request = cls(
            service=fields.octets("service", length=SERVICE_BYTES),
            nonce=fields.octets("nonce", length=NONCE_BYTES),
            volume=fields.octets("volume", length=VOLUME_ID_BYTES),
            epoch=fields.integer("epoch"),
            operation=operation,
            move=move,
        )
        fields.end()
        return request

    def sealed(self, secret: bytes) -> SealedAnchorRequest:
        """Add the code that proves the lease."""
        body = self.to_bytes()
        return SealedAnchorRequest(body, make_mac(secret, ANCHOR_LABEL, body))


@dataclass(frozen=True, slots=True)
class SealedAnchorRequest:
    """An anchor request's bytes and the code over them; nobody has checked it yet."""

    body: bytes
    mac: bytes

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode({"body": self.body, "mac": self.mac})

    @classmethod
    def from_bytes(cls, data: bytes) -> SealedAnchorRequest:
        """Read from untrusted bytes."""
        fields = Fields.decode(data, what="sealed anchor request", max_bytes=2 * _MAX_BYTES)
        sealed = cls(
            fields.octets("body", max_length=_MAX_BYTES), fields.octets("mac", length=MAC_BYTES)
        )
        fields.end()
        return sealed

    def require(self, secret: bytes) -> None:
        """Raise `release.fenced` unless the sender knows the secret."""
        require_mac(
            secret,
            ANCHOR_LABEL,
            self.body,
            self.mac,
            error=ReleaseDeniedError(
                "the lease that this request names is not the sender's", code="release.fenced"
            ),
        )


@dataclass(frozen=True, slots=True)
class AnchorReply:
    """The anchored state, and the newest epoch of the asker."""

    epoch: int
    version: int
    root: bytes
    state_epoch: int

    def to_bytes(self) -> bytes:
        """Return the canonical bytes."""
        return encode(
            {
                "version": PROTOCOL_VERSION,
                "epoch": self.epoch,
                "state": {"version": self.version, "root": self.root},
                "state_epoch": self.state_epoch,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> AnchorReply:
        """Read from bytes that the service signed."""
        fields = Fields.decode(data, what="anchor reply", max_bytes=_MAX_BYTES)
        fields.constant("version", PROTOCOL_VERSION)
        epoch = fields.integer("epoch")
        version, root = _read_state(fields.submap("state"))
        reply = cls(epoch, version, root, fields.integer("state_epoch"))
        fields.end()
        return reply


def reader_secret(service_secret: bytes, volume: bytes) -> bytes:
    """Derive the secret that lets a reader ask for one volume's state."""
    return derive_key(service_secret, label=READER_LABEL, salt=volume)


def _read_state(fields: Fields) -> tuple[int, bytes]:
    version, root = fields.integer("version"), fields.octets("root", length=DIGEST_BYTES)
    fields.end()
    return version, root


def _read_oldest_key(fields: Fields) -> int:
    """Take the lowest key epoch; the first is spelled by leaving it out, and not otherwise."""
    if not fields.has("oldest_key"):
        return FIRST_KEY_EPOCH
    return fields.integer("oldest_key", minimum=FIRST_KEY_EPOCH + 1, maximum=MAX_KEY_EPOCH)


def _require_forwards(move: AnchorMove) -> None:
    good = len(move.root) == DIGEST_BYTES and len(move.new_root) == DIGEST_BYTES
    if not good or not 0 <= move.version < move.new_version:
        raise MalformedError("an anchor moves forwards", code="message.malformed")
