"""Carry out what the owner signed. Who signed, for which service and when is settled before.

Each operation reads its own arguments strictly, and each that changes state or hands out a secret
appends its log entry in the same transaction.

Spec: key-release-v1, clauses KR-70 to KR-79.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, digest_to_text, same_bytes
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import CertificateAuthority, Identity
from cloister.errors import ConfigError, MalformedError, ReleaseDeniedError
from cloister.keyservice import merkle
from cloister.keyservice.bundle import KEY_BYTES
from cloister.keyservice.clock import Moment
from cloister.keyservice.leases import LeaseTable, take
from cloister.keyservice.log import Checkpoint, LogEntry
from cloister.keyservice.member_operations import MemberOperations
from cloister.keyservice.messages import VOLUME_ID_BYTES, require_name
from cloister.keyservice.ownership import OwnerRequest, volume_key_info
from cloister.keyservice.policy.canonical import (
    MAX_CANONICAL_BYTES,
    policy_from_canonical,
    policy_hash,
)
from cloister.keyservice.policy.lint import require_sound
from cloister.keyservice.records import Holder, PolicyRecord, VolumeRecord
from cloister.keyservice.store import Store
from cloister.wire import Fields, Value

__all__ = ["CERTIFICATE_LIFETIME_S", "CLIENTS_SEGMENT", "Administration"]

CERTIFICATE_LIFETIME_S: Final = 86400
CLIENTS_SEGMENT: Final = "clients"
_MAX_SEALED_KEY: Final = 4096
_MAX_CSR: Final = 8192
_MAX_ENTRIES: Final = 1000
_NO_DIGEST: Final = bytes(DIGEST_BYTES)
_KIND: Final = re.compile(r"[a-z][a-z-]{0,31}")

_Operation = Callable[[Fields, OwnerRequest, Moment], dict[str, Value]]


class Administration:
    """The owner's operations over one store."""

    def __init__(
        self,
        *,
        store: Store,
        key: SigningKey,
        hpke: HPKEPrivateKey,
        authority: CertificateAuthority,
        leases: LeaseTable,
        members: MemberOperations,
        trust_domain: str,
        origin: str,
    ) -> None:
        """Share the service's parts."""
        self._store = store
        self._key = key
        self._hpke = hpke
        self._authority = authority
        self._leases = leases
        self._trust_domain = trust_domain
        self._origin = origin
        self._operations: Final[dict[str, _Operation]] = {
            "policy.apply": self._apply_policy,
            "policy.read": self._read_policy,
            "volume.register": self._register_volume,
            "volume.key": self._volume_key,
            "lease.take": self._take_lease,
            "lease.break": self._break_lease,
            "client.enroll": self._enroll_client,
            "status": self._status,
            "log.read": self._read_log,
            **members.table(),
        }

    def carry_out(self, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        """Do what the request says and return its answer.

        Raises:
            CloisterError: By the operation; then nothing has changed.
        """
        arguments = Fields(request.arguments, what=request.operation)
        return self._operations[request.operation](arguments, request, moment)

    def note(
        self, request: OwnerRequest, moment: Moment, *, subject: str, policy: bytes, code: str
    ) -> None:
        """Append the entry of one decision; inside a transaction."""
        self._store.append(
            LogEntry(
                at=moment.at,
                operation=request.operation,
                code=code,
                policy=policy,
                subject=subject,
                instance="",
                evidence=_NO_DIGEST,
                requester=HPKEPublicKey(request.reply_key).identity,
            ).to_bytes()
        )

    def checkpoint(self) -> str:
        """Return the log's newest checkpoint as a signed note."""
        store = self._store
        return Checkpoint(self._origin, store.log_size, store.log_root()).to_note(self._key)

    def _apply_policy(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        canonical = fields.octets("canonical", max_length=MAX_CANONICAL_BYTES)
        fields.end()
        policy = policy_from_canonical(canonical)
        require_sound(policy)
        digest = policy_hash(policy)
        present = self._store.current_policy(policy.namespace, policy.name)
        if present is None or not same_bytes(present.hash, digest):
            expected = "none" if present is None else digest_to_text(present.hash)
            if policy.predecessor != expected:
                raise ReleaseDeniedError(
                    f"the policy names predecessor {policy.predecessor}, and the one applied is "
                    f"{expected}",
                    code="release.predecessor",
                    hint=f"if you mean to replace that one, write predecessor: {expected}",
                )
            record = PolicyRecord(
                digest, canonical, policy.namespace, policy.name, current=True, at=moment.at
            )
            with self._store.transaction():
                self._store.put_policy(record)
                self.note(request, moment, subject=policy.name, policy=digest, code="")
        return {"hash": digest}

    def _read_policy(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        del request, moment
        digest = fields.octets("hash", length=DIGEST_BYTES)
        fields.end()
        record = self._store.policy(digest)
        if record is None:
            raise ReleaseDeniedError(
                "the key service does not know this policy", code="release.policy-unknown"
            )
        return {"canonical": record.canonical, "current": record.current, "at": record.at}

    def _register_volume(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        volume_id = fields.octets("id", length=VOLUME_ID_BYTES)
        sealed = fields.octets("sealed_key", max_length=_MAX_SEALED_KEY)
        kind = fields.text("kind", max_length=32)
        version = fields.integer("version")
        root = fields.octets("root", length=DIGEST_BYTES)
        fields.end()
        info = volume_key_info(service=self._key.public.raw, volume=volume_id)
        wrong = MalformedError("the volume's key does not open", code="message.malformed")
        key = self._hpke.open(sealed, info=info, error=wrong)
        if len(key) != KEY_BYTES or _KIND.fullmatch(kind) is None:
            raise MalformedError("not a volume's key and kind", code="message.malformed")
        present = self._store.volume(volume_id)
        if present is not None:
            if (present.version, present.root, present.kind) != (version, root, kind) or not (
                same_bytes(present.key, key)
            ):
                raise ConfigError(
                    f"volume {volume_id.hex()} is registered already", code="config.exists"
                )
            return {}
        record = VolumeRecord(
            volume_id, key, kind, version, root, state_epoch=0, epoch=0, holder=None
        )
        with self._store.transaction():
            self._store.put_volume(record)
            self.note(request, moment, subject=volume_id.hex(), policy=_NO_DIGEST, code="")
        return {}

    def _volume_key(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        record = self._volume(fields)
        with self._store.transaction():
            self.note(request, moment, subject=record.id.hex(), policy=_NO_DIGEST, code="")
        return {"key": record.key, **_state(record)}

    def _take_lease(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        record = self._volume(fields)
        holder = Holder(HPKEPublicKey(request.reply_key).identity, random_bytes(KEY_BYTES))
        taken = take(record, holder, self._leases, uptime=moment.uptime)
        with self._store.transaction():
            self._store.put_volume(taken)
            self.note(request, moment, subject=record.id.hex(), policy=_NO_DIGEST, code="")
        self._leases.extend(record.id, uptime=moment.uptime)
        lease: dict[str, Value] = {
            "epoch": taken.epoch,
            "secret": holder.secret,
            "ttl_s": self._leases.ttl_s,
        }
        return {"lease": lease, "key": record.key, **_state(record)}

    def _break_lease(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        record = self._volume(fields)
        if record.holder is not None:
            freed = VolumeRecord(
                record.id,
                record.key,
                record.kind,
                record.version,
                record.root,
                record.state_epoch,
                record.epoch,
                holder=None,
            )
            with self._store.transaction():
                self._store.put_volume(freed)
                self.note(request, moment, subject=record.id.hex(), policy=_NO_DIGEST, code="")
        return {}

    def _enroll_client(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        identity = Identity(
            self._trust_domain,
            require_name(fields.text("namespace", max_length=64)),
            CLIENTS_SEGMENT,
            require_name(fields.text("name", max_length=64)),
            require_name(fields.text("instance", max_length=64)),
        )
        csr = fields.octets("certificate_request", max_length=_MAX_CSR)
        fields.end()
        certificate = self._authority.issue(
            csr,
            identity,
            policy_hash=_NO_DIGEST,
            hardware_rooted=False,
            at=moment.at,
            lifetime_s=CERTIFICATE_LIFETIME_S,
        )
        with self._store.transaction():
            self.note(request, moment, subject=identity.uri, policy=_NO_DIGEST, code="")
        return {
            "identity": identity.uri,
            "certificate": certificate,
            "ca": self._authority.certificate_pem,
        }

    def _status(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        del request
        fields.end()
        policies: list[Value] = [
            {
                "hash": record.hash,
                "namespace": record.namespace,
                "name": record.name,
                "current": record.current,
                "at": record.at,
            }
            for record in self._store.policies()
        ]
        volumes: list[Value] = [
            {
                "id": record.id,
                "kind": record.kind,
                "lease_epoch": record.epoch,
                "leased": record.holder is not None
                and self._leases.remaining(record.id, uptime=moment.uptime) > 0,
                **_state(record),
            }
            for record in self._store.volumes()
        ]
        return {"policies": policies, "volumes": volumes, "checkpoint": self.checkpoint()}

    def _read_log(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        del request, moment
        first = fields.integer("first")
        count = fields.integer("count", maximum=_MAX_ENTRIES)
        old_size = fields.integer("old_size", maximum=self._store.log_size)
        fields.end()
        proof: list[Value] = []
        if old_size:
            proof = list(merkle.consistency_proof(self._store.leaves(), old_size))
        entries: list[Value] = list(self._store.entries(first, count))
        return {"entries": entries, "checkpoint": self.checkpoint(), "consistency": proof}

    def _volume(self, fields: Fields) -> VolumeRecord:
        volume_id = fields.octets("id", length=VOLUME_ID_BYTES)
        fields.end()
        record = self._store.volume(volume_id)
        if record is None:
            raise ReleaseDeniedError(
                f"the key service has no key for volume {volume_id.hex()}",
                code="release.volume-unknown",
            )
        return record


def _state(record: VolumeRecord) -> dict[str, Value]:
    return {"version": record.version, "root": record.root, "epoch": record.state_epoch}
