"""Secrets in the owner's messages: the seal around a value that is put, and what a list tells.

Spec: secret-release-v1, clauses SEC-50 to SEC-54.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import framed
from cloister.wire import Fields, Value

__all__ = ["MAX_SECRET_BYTES", "SECRET_LABEL", "SecretFact", "secret_value_info"]

SECRET_LABEL: Final = b"cloister/secret-release/v1/value"
MAX_SECRET_BYTES: Final = 65_536
_MAX_PEM: Final = 16_384


def secret_value_info(
    *, service: bytes, namespace: str, policy: str, name: str, epoch: int
) -> bytes:
    """Return the HPKE `info` under which an owner seals a value to the service."""
    return framed(
        SECRET_LABEL,
        service,
        namespace.encode(),
        policy.encode(),
        name.encode(),
        epoch.to_bytes(8, "big"),
    )


@dataclass(frozen=True, slots=True)
class SecretFact:
    """What may be said of one epoch of a secret; nothing of it is secret.

    Attributes:
        name: In its policy.
        kind: Such as `password`.
        epoch: The epoch.
        current: Whether a template without an epoch means this one.
        present: False while its owner has not put the value.
        at: When the value was made or put; 0 if it is not there.
        public: Certificates and public keys by part, as PEM.
    """

    name: str
    kind: str
    epoch: int
    current: bool
    present: bool
    at: int
    public: Mapping[str, bytes]

    def to_value(self) -> dict[str, Value]:
        """Return it as part of a list."""
        return {
            "name": self.name,
            "kind": self.kind,
            "epoch": self.epoch,
            "current": self.current,
            "present": self.present,
            "at": self.at,
            "public": dict(self.public),
        }

    @classmethod
    def from_value(cls, value: Value) -> SecretFact:
        """Read it from a list."""
        fields = Fields(value, what="secret")
        public = fields.submap("public")
        fact = cls(
            name=fields.text("name", max_length=63),
            kind=fields.text("kind", max_length=32),
            epoch=fields.integer("epoch"),
            current=fields.boolean("current"),
            present=fields.boolean("present"),
            at=fields.integer("at"),
            public={
                name: public.octets(name, max_length=2 * _MAX_PEM)
                for name in public.keys()  # noqa: SIM118  # a method of Fields, no mapping
            },
        )
        fields.end()
        return fact
