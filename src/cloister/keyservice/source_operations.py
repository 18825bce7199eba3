"""The owner's operations on sources: register, list, remove. No answer has a token.

Spec: external-secret-v1, clauses EXT-20 to EXT-28; secret-export-v1, clauses EXP-50 to EXP-54.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from cloister.crypto.digest import DIGEST_BYTES, same_bytes, sha256
from cloister.crypto.hpke import PUBLIC_BYTES as HPKE_PUBLIC_BYTES
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.signature import PUBLIC_BYTES, VerifyingKey
from cloister.crypto.x509 import require_authorities
from cloister.errors import ConfigError, MalformedError
from cloister.keyservice.clock import Moment
from cloister.keyservice.external_secrets import ExternalSecrets
from cloister.keyservice.namespaces import ROOT, require_namespace
from cloister.keyservice.ownership import OwnerRequest
from cloister.keyservice.scope import Scope
from cloister.keyservice.secret_store import SecretStore
from cloister.keyservice.source_messages import (
    MAX_CA_BYTES,
    MAX_TOKEN_BYTES,
    ServiceFact,
    SourceFact,
    read_address,
    reference_from_fields,
    require_source_name,
    require_token,
    require_trust_domain,
    source_token_info,
)
from cloister.keyservice.source_records import ServiceSource, SourceRecord
from cloister.keyservice.source_store import SourceStore
from cloister.wire import Fields, Value

__all__ = ["SourceOperations"]

_MAX_SEALED: Final = MAX_TOKEN_BYTES + 4096
_NO_DIGEST: Final = bytes(DIGEST_BYTES)


class Note(Protocol):
    """Appends the log entry of a decision, inside a transaction."""

    def __call__(
        self, request: OwnerRequest, moment: Moment, *, subject: str, policy: bytes, code: str
    ) -> None:
        """Append it."""
        ...


class SourceOperations:
    """`source.put`, `source.pin`, `source.list` and `source.remove` over one store."""

    def __init__(
        self,
        secrets: SecretStore,
        external: ExternalSecrets,
        *,
        scope: Scope,
        hpke: HPKEPrivateKey,
        service: bytes,
        note: Note,
    ) -> None:
        """Share the service's parts."""
        self._secrets = secrets
        self._sources = SourceStore(secrets.store)
        self._external = external
        self._scope = scope
        self._hpke = hpke
        self._service = service
        self._note = note

    def table(self) -> dict[str, Callable[[Fields, OwnerRequest, Moment], dict[str, Value]]]:
        """Return the operations by name."""
        return {
            "source.put": self._put,
            "source.pin": self._pin,
            "source.list": self._list,
            "source.remove": self._remove,
        }

    def _put(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        namespace, name = _place(fields)
        address = fields.text("address", max_length=300)
        ca = fields.octets("ca", max_length=MAX_CA_BYTES)
        sealed = fields.octets("sealed_token", max_length=_MAX_SEALED)
        fields.end()
        read_address(address)
        require_authorities(ca)
        info = source_token_info(
            service=self._service, namespace=namespace, name=name, address=address, ca=ca
        )
        wrong = MalformedError("the source's token does not open", code="message.malformed")
        token = require_token(self._hpke.open(sealed, info=info, error=wrong))
        present = self._sources.source(namespace, name)
        if present is not None:
            if (present.address, present.ca) != (address, ca) or not same_bytes(
                present.token, token
            ):
                raise _registered(name)
            return {}
        if self._sources.service(namespace, name) is not None:
            raise _registered(name)
        with self._secrets.store.transaction():
            self._sources.put(SourceRecord(namespace, name, address, ca, token, moment.at))
            self._scope.require_within(namespace, "secrets", self._secrets.namespaces)
            self._note_source(request, moment, namespace, name)
        return {}

    def _pin(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        """EXP-50. Register another key service."""
        namespace, name = _place(fields)
        address = fields.text("address", max_length=300)
        source = ServiceSource(
            namespace=namespace,
            name=name,
            address=address,
            service=VerifyingKey(fields.octets("service", length=PUBLIC_BYTES)),
            trust_domain=require_trust_domain(fields.text("trust_domain", max_length=62)),
            hpke_key=HPKEPublicKey(fields.octets("hpke_key", length=HPKE_PUBLIC_BYTES)).raw,
            reference=reference_from_fields(fields.submap("reference")),
            at=moment.at,
        )
        fields.end()
        read_address(address)
        if source.service.raw == self._service:
            raise MalformedError("a key service is no source of its own", code="message.malformed")
        present = self._sources.service(namespace, name)
        if present is not None and replace(present, at=moment.at) == source:
            return {}
        if present is not None or self._sources.source(namespace, name) is not None:
            raise _registered(name)
        with self._secrets.store.transaction():
            self._sources.put_service(source)
            self._scope.require_within(namespace, "secrets", self._secrets.namespaces)
            self._note_source(request, moment, namespace, name)
        return {}

    def _list(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        del request, moment
        namespace = _namespace(fields)
        fields.end()
        found: list[Value] = [
            SourceFact(
                record.name,
                record.address,
                sha256(record.ca),
                record.at,
                self._external.waiting(record),
            ).to_value()
            for record in self._sources.sources()
            if record.namespace == namespace
        ]
        services: list[Value] = [
            ServiceFact(
                record.name,
                record.address,
                record.service.raw,
                record.trust_domain,
                record.reference,
                record.at,
                self._external.waiting(record),
            ).to_value()
            for record in self._sources.services()
            if record.namespace == namespace
        ]
        return {"sources": found, "services": services}

    def _remove(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        namespace, name = _place(fields)
        fields.end()
        found = self._sources.source(namespace, name) or self._sources.service(namespace, name)
        if found is None:
            raise ConfigError(f"namespace {namespace} has no source {name}", code="config.missing")
        with self._secrets.store.transaction():
            self._sources.remove(namespace, name)
            self._note_source(request, moment, namespace, name)
        return {}

    def _note_source(
        self, request: OwnerRequest, moment: Moment, namespace: str, name: str
    ) -> None:
        self._note(request, moment, subject=f"{namespace}/{name}", policy=_NO_DIGEST, code="")


def _registered(name: str) -> ConfigError:
    return ConfigError(
        f"source {name} is registered already, with other facts",
        code="config.exists",
        hint="remove it first",
    )


def _place(fields: Fields) -> tuple[str, str]:
    return _namespace(fields), require_source_name(fields.text("name", max_length=63))


def _namespace(fields: Fields) -> str:
    """A policy has a namespace of its own, so a source of the root would be nobody's."""
    namespace = require_namespace(fields.text("namespace", max_length=255))
    if namespace == ROOT:
        raise MalformedError("a source belongs to a namespace", code="message.malformed")
    return namespace
