"""Rows of the state's tables and the records they stand for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from cloister.crypto.keyring import FIRST_KEY_EPOCH
from cloister.errors import TamperedError
from cloister.keyservice.messages import VOLUME_ID_BYTES
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.records import Holder, PolicyRecord, VolumeRecord
from cloister.wire import Fields, Value, decode, encode

__all__ = [
    "ServiceSecrets",
    "name_key",
    "policy_from_row",
    "policy_to_row",
    "secrets_from_rows",
    "secrets_to_rows",
    "tenants_from_row",
    "tenants_to_row",
    "volume_from_row",
    "volume_to_row",
]

_MAX_ROW: Final = 1 << 21
_SECRETS: Final = (
    "signing_seed",
    "hpke_seed",
    "ca_key",
    "ca_certificate",
    "reader_secret",
    "owner",
)


@dataclass(frozen=True, slots=True, repr=False)
class ServiceSecrets:
    """What makes the service itself; born when it is founded and never leaving its state.

    Attributes:
        signing_seed: The service's Ed25519 seed: its identity.
        hpke_seed: The key that owners seal volume keys to.
        ca_key: DER of the certificate authority's key.
        ca_certificate: DER of its certificate.
        reader_secret: From which readers' anchor secrets derive.
        owner: The owner's Ed25519 public key.
        trust_domain: Its name.
    """

    signing_seed: bytes
    hpke_seed: bytes
    ca_key: bytes
    ca_certificate: bytes
    reader_secret: bytes
    owner: bytes
    trust_domain: str


def secrets_to_rows(secrets: ServiceSecrets) -> dict[str, bytes]:
    """Return one row for each secret."""
    return {name: getattr(secrets, name) for name in _SECRETS} | {
        "trust_domain": secrets.trust_domain.encode()
    }


def secrets_from_rows(found: Mapping[bytes, bytes]) -> ServiceSecrets:
    """Read them back.

    Raises:
        TamperedError: One is missing (`state.tampered`).
    """
    try:
        octets = {name: found[name.encode()] for name in _SECRETS}
        trust_domain = found[b"trust_domain"].decode()
    except KeyError as e:
        raise TamperedError(
            "the key service's state lacks a part", code="state.tampered", detail=str(e)
        ) from e
    return ServiceSecrets(**octets, trust_domain=trust_domain)


def name_key(namespace: str, name: str) -> bytes:
    """Return the key of a row that belongs to a name in a namespace."""
    return encode([namespace, name])


def policy_to_row(record: PolicyRecord) -> bytes:
    """Return a policy's row; whether it is current stands in a table of its own."""
    return encode(
        {
            "canonical": record.canonical,
            "namespace": record.namespace,
            "name": record.name,
            "at": record.at,
        }
    )


def policy_from_row(digest: bytes, data: bytes, *, current: bool) -> PolicyRecord:
    """Read a policy's row."""
    fields = Fields.decode(data, what="policy row", max_bytes=_MAX_ROW)
    record = PolicyRecord(
        digest,
        fields.octets("canonical", max_length=_MAX_ROW),
        fields.text("namespace"),
        fields.text("name"),
        current=current,
        at=fields.integer("at"),
    )
    fields.end()
    return record


def volume_to_row(record: VolumeRecord) -> bytes:
    """Return a volume's row."""
    value: dict[str, Value] = {
        "key": record.key,
        "kind": record.kind,
        "version": record.version,
        "root": record.root,
        "state_epoch": record.state_epoch,
        "epoch": record.epoch,
    }
    if record.namespace != ROOT:
        value["namespace"] = record.namespace
    if record.registrant:
        value["registrant"] = record.registrant
    if record.key_epoch > FIRST_KEY_EPOCH:
        value["key_epoch"] = record.key_epoch
        value["older_keys"] = list(record.older_keys)
        value["oldest_key"] = record.oldest_key
    if record.holder is not None:
        value["holder"] = record.holder.key_digest
        value["secret"] = record.holder.secret
    return encode(value)


def tenants_to_row(tenants: Iterable[str]) -> bytes:
    """Return the row of the tenants, beside the root, that registered one identity."""
    return encode(list(tenants))


def tenants_from_row(data: bytes) -> list[str]:
    """Read the row."""
    found = decode(data, max_bytes=_MAX_ROW)
    return [str(name) for name in found] if isinstance(found, list) else []


def volume_from_row(handle: bytes, data: bytes) -> VolumeRecord:
    """Read a volume's row; its key says whose it is."""
    fields = Fields.decode(data, what="volume row", max_bytes=_MAX_ROW)
    holder = None
    if fields.has("holder"):
        holder = Holder(fields.octets("holder"), fields.octets("secret"))
    record = VolumeRecord(
        handle[:VOLUME_ID_BYTES],
        fields.octets("key"),
        fields.text("kind"),
        fields.integer("version"),
        fields.octets("root"),
        fields.integer("state_epoch"),
        fields.integer("epoch"),
        holder,
        fields.text("namespace") if fields.has("namespace") else ROOT,
        fields.octets("registrant") if fields.has("registrant") else b"",
        handle[VOLUME_ID_BYTES:].decode() or ROOT,
    )
    if fields.has("key_epoch"):
        record = replace(
            record,
            key_epoch=fields.integer("key_epoch"),
            older_keys=tuple(k for k in fields.array("older_keys") if isinstance(k, bytes)),
            oldest_key=fields.integer("oldest_key"),
        )
    fields.end()
    return record
