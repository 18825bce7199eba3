"""Rows of sources and of values that are wanted from them, and the records they stand for. Pure."""

from __future__ import annotations

from typing import Final

from cloister.keyservice.policy.secret_rules import ExternalForm
from cloister.keyservice.source_records import SourceRecord, Wanted
from cloister.wire import Fields, encode

__all__ = [
    "SOURCES_TABLE",
    "WANTED_TABLE",
    "source_from_row",
    "source_key",
    "source_to_row",
    "wanted_from_row",
    "wanted_to_row",
]

SOURCES_TABLE: Final = "sources"
WANTED_TABLE: Final = "wanted-secrets"
_MAX_ROW: Final = 1 << 16


def source_key(namespace: str, name: str) -> bytes:
    """Return the key of a source's row."""
    return encode([namespace, name])


def source_to_row(record: SourceRecord) -> bytes:
    """Return a source's row: secret until the record that holds it is sealed."""
    return encode(
        {
            "namespace": record.namespace,
            "name": record.name,
            "address": record.address,
            "ca": record.ca,
            "token": record.token,
            "at": record.at,
        }
    )


def source_from_row(data: bytes) -> SourceRecord:
    """Read a source's row."""
    fields = Fields.decode(data, what="source row", max_bytes=_MAX_ROW)
    record = SourceRecord(
        namespace=fields.text("namespace"),
        name=fields.text("name"),
        address=fields.text("address"),
        ca=fields.octets("ca"),
        token=fields.octets("token"),
        at=fields.integer("at"),
    )
    fields.end()
    return record


def wanted_to_row(wanted: Wanted) -> bytes:
    """Return the row of a value that is wanted; its key is that of the secret's row."""
    return encode(
        {
            "namespace": wanted.namespace,
            "policy": wanted.policy,
            "name": wanted.name,
            "epoch": wanted.epoch,
            "source": wanted.form.source,
            "path": wanted.form.path,
            "field": wanted.form.field,
            "max_bytes": wanted.form.max_bytes,
        }
    )


def wanted_from_row(data: bytes) -> Wanted:
    """Read the row."""
    fields = Fields.decode(data, what="wanted secret row", max_bytes=_MAX_ROW)
    wanted = Wanted(
        namespace=fields.text("namespace"),
        policy=fields.text("policy"),
        name=fields.text("name"),
        epoch=fields.integer("epoch"),
        form=ExternalForm(
            source=fields.text("source"),
            path=fields.text("path"),
            field=fields.text("field"),
            max_bytes=fields.integer("max_bytes"),
        ),
    )
    fields.end()
    return wanted
