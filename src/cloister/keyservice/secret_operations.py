"""The owner's operations on secrets: put a value, list what there is. No answer has a value.

Spec: secret-release-v1, clauses SEC-50 to SEC-54.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from cloister.crypto.digest import same_bytes
from cloister.crypto.hpke import HPKEPrivateKey
from cloister.errors import ConfigError, MalformedError, ReleaseDeniedError
from cloister.keyservice.clock import Moment
from cloister.keyservice.ownership import OwnerRequest
from cloister.keyservice.policy.canonical import policy_from_canonical
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.secret_messages import (
    MAX_SECRET_BYTES,
    SecretFact,
    secret_value_info,
)
from cloister.keyservice.secret_records import SecretRecord
from cloister.keyservice.secret_store import SecretStore
from cloister.keyservice.secret_values import public_parts
from cloister.wire import Fields, Value

__all__ = ["SecretOperations"]

_MAX_SEALED: Final = MAX_SECRET_BYTES + 4096


class Note(Protocol):
    """Appends the log entry of a decision, inside a transaction."""

    def __call__(
        self, request: OwnerRequest, moment: Moment, *, subject: str, policy: bytes, code: str
    ) -> None:
        """Append it."""
        ...


class SecretOperations:
    """`secret.put` and `secret.list` over one store."""

    def __init__(
        self, secrets: SecretStore, *, hpke: HPKEPrivateKey, service: bytes, note: Note
    ) -> None:
        """Share the service's parts."""
        self._secrets = secrets
        self._hpke = hpke
        self._service = service
        self._note = note

    def table(self) -> dict[str, Callable[[Fields, OwnerRequest, Moment], dict[str, Value]]]:
        """Return the operations by name."""
        return {"secret.put": self._put, "secret.list": self._list}

    def _put(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        record, policy = self._policy(fields)
        name, epoch = fields.text("name", max_length=63), fields.integer("epoch")
        sealed = fields.octets("sealed_value", max_length=_MAX_SEALED)
        fields.end()
        rule = (policy.secrets or {}).get(name)
        if rule is None or rule.opaque is None:
            raise ReleaseDeniedError(
                f"policy {policy.namespace}/{policy.name} has no opaque secret {name}",
                code="release.secret-missing",
                hint="declare it in the policy, and apply that first",
            )
        if epoch != rule.current:
            raise ReleaseDeniedError(
                f"secret {name} has epoch {rule.current}, not {epoch}",
                code="release.secret-missing",
                hint="a value is put for the current epoch",
            )
        info = secret_value_info(
            service=self._service,
            namespace=policy.namespace,
            policy=policy.name,
            name=name,
            epoch=epoch,
        )
        wrong = MalformedError("the secret's value does not open", code="message.malformed")
        value = self._hpke.open(sealed, info=info, error=wrong)
        if not 1 <= len(value) <= rule.opaque.max_bytes:
            raise MalformedError(
                f"secret {name} takes 1 to {rule.opaque.max_bytes} bytes", code="message.malformed"
            )
        present = self._secrets.secret(policy.namespace, policy.name, name, epoch)
        if present is not None:
            if not same_bytes(present.parts["value"], value):
                raise ConfigError(
                    f"secret {name} has another value in epoch {epoch} already",
                    code="config.exists",
                    hint="raise its epoch in a new policy",
                )
            return {}
        parts = {"value": value}
        with self._secrets.store.transaction():
            self._secrets.put(
                SecretRecord(policy.namespace, policy.name, name, epoch, "opaque", parts, moment.at)
            )
            subject = f"{policy.namespace}/{policy.name}/{name}@{epoch}"
            self._note(request, moment, subject=subject, policy=record.hash, code="")
        return {}

    def _list(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        del request
        _, policy = self._policy(fields)
        fields.end()
        facts: list[Value] = [
            self._fact(policy, name, epoch, moment).to_value()
            for name, rule in sorted((policy.secrets or {}).items())
            for epoch in rule.epochs
        ]
        return {"secrets": facts}

    def _fact(self, policy: Policy, name: str, epoch: int, moment: Moment) -> SecretFact:
        rule = (policy.secrets or {})[name]
        record = self._secrets.secret(policy.namespace, policy.name, name, epoch)
        return SecretFact(
            name=name,
            kind=rule.kind if record is None else record.kind,
            epoch=epoch,
            current=epoch == rule.current,
            present=record is not None and record.usable(moment.at),
            at=0 if record is None else record.at,
            public={} if record is None else public_parts(record),
        )

    def _policy(self, fields: Fields) -> tuple[PolicyRecord, Policy]:
        namespace, name = (
            fields.text("namespace", max_length=255),
            fields.text("policy", max_length=63),
        )
        record = self._secrets.current_policy(namespace, name)
        if record is None:
            raise ReleaseDeniedError(
                f"the key service has no policy {namespace}/{name}",
                code="release.policy-unknown",
                hint="cloister policy apply",
            )
        return record, policy_from_canonical(record.canonical)
