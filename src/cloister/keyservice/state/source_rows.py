"""Rows of sources and of values that are wanted from them, and the records they stand for. Pure."""

from __future__ import annotations

from typing import Final

from cloister.crypto.signature import VerifyingKey
from cloister.keyservice.policy.secret_rules import ExternalForm, RemoteForm
from cloister.keyservice.source_messages import reference_from_fields, reference_to_value
from cloister.keyservice.source_records import ServiceSource, SourceRecord, Wanted
from cloister.wire import Fields, Value, encode

__all__ = [
    "SERVICE_SOURCES_TABLE",
    "SOURCES_TABLE",
    "WANTED_TABLE",
    "service_source_from_row",
    "service_source_to_row",
    "source_from_row",
    "source_key",
    "source_to_row",
    "wanted_from_row",
    "wanted_to_row",
]

SOURCES_TABLE: Final = "sources"
SERVICE_SOURCES_TABLE: Final = "service-sources"
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


def service_source_to_row(record: ServiceSource) -> bytes:
    """Return the row of a source that is a key service."""
    return encode(
        {
            "namespace": record.namespace,
            "name": record.name,
            "address": record.address,
            "service": record.service.raw,
            "trust_domain": record.trust_domain,
            "hpke_key": record.hpke_key,
            "reference": reference_to_value(record.reference),
            "at": record.at,
        }
    )


def service_source_from_row(data: bytes) -> ServiceSource:
    """Read the row."""
    fields = Fields.decode(data, what="service source row", max_bytes=_MAX_ROW)
    record = ServiceSource(
        namespace=fields.text("namespace"),
        name=fields.text("name"),
        address=fields.text("address"),
        service=VerifyingKey(fields.octets("service")),
        trust_domain=fields.text("trust_domain"),
        hpke_key=fields.octets("hpke_key"),
        reference=reference_from_fields(fields.submap("reference")),
        at=fields.integer("at"),
    )
    fields.end()
    return record


def wanted_to_row(wanted: Wanted) -> bytes:
    """Return the row of a value that is wanted; its key is that of the secret's row."""
    place: dict[str, Value] = {
        "namespace": wanted.namespace,
        "policy": wanted.policy,
        "name": wanted.name,
        "epoch": wanted.epoch,
        "source": wanted.form.source,
        "max_bytes": wanted.form.max_bytes,
    }
    if isinstance(wanted.form, ExternalForm):
        return encode({**place, "path": wanted.form.path, "field": wanted.form.field})
    far: dict[str, Value] = {
        "namespace": wanted.form.namespace,
        "policy": wanted.form.policy,
        "secret": wanted.form.secret,
        "epoch": wanted.form.epoch,
        "part": wanted.form.part or "",
    }
    return encode({**place, "remote": far})


def wanted_from_row(data: bytes) -> Wanted:
    """Read the row."""
    fields = Fields.decode(data, what="wanted secret row", max_bytes=_MAX_ROW)
    wanted = Wanted(
        namespace=fields.text("namespace"),
        policy=fields.text("policy"),
        name=fields.text("name"),
        epoch=fields.integer("epoch"),
        form=_form(fields),
    )
    fields.end()
    return wanted


def _form(fields: Fields) -> ExternalForm | RemoteForm:
    source, max_bytes = fields.text("source"), fields.integer("max_bytes")
    if not fields.has("remote"):
        return ExternalForm(
            source=source,
            path=fields.text("path"),
            field=fields.text("field"),
            max_bytes=max_bytes,
        )
    far = fields.submap("remote")
    part = far.text("part")
    form = RemoteForm(
        source=source,
        namespace=far.text("namespace"),
        policy=far.text("policy"),
        secret=far.text("secret"),
        epoch=far.integer("epoch"),
        part=part if part in {"private", "public", "certificate"} else None,  # type: ignore[arg-type]
        max_bytes=max_bytes,
    )
    far.end()
    return form
