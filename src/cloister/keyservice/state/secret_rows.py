"""Rows of secrets and of their epochs, and the records they stand for. Pure."""

from __future__ import annotations

from typing import Final

from cloister.keyservice.secret_records import EpochMark, SecretRecord
from cloister.wire import Fields, Value, encode

__all__ = [
    "mark_from_row",
    "mark_key",
    "mark_to_row",
    "secret_from_row",
    "secret_key",
    "secret_to_row",
]

_MAX_ROW: Final = 1 << 18
_MAX_PART: Final = 1 << 17


def secret_key(namespace: str, policy: str, name: str, epoch: int) -> bytes:
    """Return the key of a secret's row."""
    return encode([namespace, policy, name, epoch])


def secret_to_row(record: SecretRecord) -> bytes:
    """Return a secret's row: secret until the record that holds it is sealed."""
    row: dict[str, Value] = {
        "namespace": record.namespace,
        "policy": record.policy,
        "name": record.name,
        "epoch": record.epoch,
        "kind": record.kind,
        "parts": dict(record.parts),
        "at": record.at,
    }
    return encode({**row, "until": record.until} if record.until else row)


def secret_from_row(data: bytes) -> SecretRecord:
    """Read a secret's row."""
    fields = Fields.decode(data, what="secret row", max_bytes=_MAX_ROW)
    parts = fields.submap("parts")
    record = SecretRecord(
        namespace=fields.text("namespace"),
        policy=fields.text("policy"),
        name=fields.text("name"),
        epoch=fields.integer("epoch"),
        kind=fields.text("kind"),
        parts={
            name: parts.octets(name, max_length=_MAX_PART)
            for name in parts.keys()  # noqa: SIM118  # a method of Fields, no mapping
        },
        at=fields.integer("at"),
        until=fields.integer("until", minimum=1) if fields.has("until") else 0,
    )
    fields.end()
    return record


def mark_key(namespace: str, policy: str, name: str) -> bytes:
    """Return the key of the row that remembers a secret's newest epoch."""
    return encode([namespace, policy, name])


def mark_to_row(mark: EpochMark) -> bytes:
    """Return the row."""
    return encode({"epoch": mark.epoch, "form": mark.form})


def mark_from_row(data: bytes) -> EpochMark:
    """Read the row."""
    fields = Fields.decode(data, what="secret epoch row", max_bytes=1024)
    mark = EpochMark(fields.integer("epoch"), fields.octets("form", max_length=32))
    fields.end()
    return mark
