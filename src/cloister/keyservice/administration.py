"""Carry out what owners signed. That a known key signed, for this service, is settled before.

Each operation reads its own arguments strictly, and each that changes state or hands out a secret
appends its log entry in the same transaction.

Spec: key-release-v1, clauses KR-70 to KR-79.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, same_bytes
from cloister.crypto.hpke import HPKEPrivateKey, HPKEPublicKey
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import Identity
from cloister.errors import ConfigError, MalformedError, RefusedError, ReleaseDeniedError
from cloister.keyservice.authorities import Authorities
from cloister.keyservice.bundle import KEY_BYTES
from cloister.keyservice.clock import Moment
from cloister.keyservice.external_secrets import ExternalSecrets
from cloister.keyservice.leases import LeaseTable, take
from cloister.keyservice.limits import Limits
from cloister.keyservice.log import Checkpoint, LogEntry
from cloister.keyservice.member_operations import MemberOperations
from cloister.keyservice.messages import VOLUME_ID_BYTES, require_name
from cloister.keyservice.namespace_log import NamespaceLog
from cloister.keyservice.ownership import OwnerRequest, volume_key_info
from cloister.keyservice.records import Holder, VolumeRecord, volume_handle
from cloister.keyservice.refusals import Refusals
from cloister.keyservice.scope import Scope, namespace_argument
from cloister.keyservice.secret_operations import SecretOperations
from cloister.keyservice.secret_store import SecretStore
from cloister.keyservice.source_operations import SourceOperations
from cloister.keyservice.store import Store
from cloister.keyservice.tenancy import CLIENTS_SEGMENT, Tenancy
from cloister.keyservice.view_operations import ViewOperations
from cloister.keyservice.volume_key_operations import VolumeKeyOperations
from cloister.keyservice.volume_rotation import key_facts
from cloister.wire import Fields, Value

__all__ = ["CERTIFICATE_LIFETIME_S", "CLIENTS_SEGMENT", "Administration"]

CERTIFICATE_LIFETIME_S: Final = 86400
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
        authorities: Authorities,
        leases: LeaseTable,
        scope: Scope,
        limits: Limits,
        founder: bytes,
        members: MemberOperations,
        external: ExternalSecrets,
        refusals: Refusals,
        trust_domain: str,
        origin: str,
    ) -> None:
        """Share the service's parts."""
        self._store = store
        self._key = key
        self._hpke = hpke
        self._authorities = authorities
        self._leases = leases
        self._scope = scope
        self._limits = limits
        self._trust_domain = trust_domain
        self._origin = origin
        kept = SecretStore(store)
        secrets = SecretOperations(kept, hpke=hpke, service=key.public.raw, note=self.note)
        sources = SourceOperations(
            kept,
            external,
            scope=scope,
            hpke=hpke,
            service=key.public.raw,
            note=self.note,
        )
        self.cosigned = ""
        """The newest checkpoint that witnesses have signed as well, if there are any."""
        tenancy = Tenancy(
            store=store,
            secrets=kept,
            scope=scope,
            authorities=authorities,
            service=key.public.raw,
            founder=founder,
            trust_domain=trust_domain,
            note=self.note,
        )
        self._operations: Final[dict[str, _Operation]] = {
            **tenancy.operations,
            "volume.register": self._register_volume,
            "volume.key": self._volume_key,
            "lease.take": self._take_lease,
            "lease.break": self._break_lease,
            "client.enroll": self._enroll_client,
            "status": self._status,
            "log.read": self._read_log,
            **secrets.table(),
            **sources.table(),
            **refusals.table(),
            **ViewOperations(store, scope, note=self.note).table(),
            **NamespaceLog(store, self._newest_note).table(),
            **VolumeKeyOperations(store, scope, self.note).table(),
            **members.table(),
        }

    def carry_out(self, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        """Do what the request says and return its answer.

        Raises:
            ReleaseDeniedError: The signer has no authority for it, by the operation's rule.
            UnavailableError: Its charter or key asks too often (`keyservice.busy`).
            CloisterError: By the operation; then nothing has changed.
        """
        try:
            target = self._scope.require(request)
        except (RefusedError, MalformedError):
            self._limits.refusal(request, moment)
            raise
        self._limits.operation(request, target, moment)
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
        """Return the log's newest durable checkpoint as a signed note."""
        store = self._store
        return Checkpoint(self._origin, store.durable_size, store.durable_root()).to_note(self._key)

    def _register_volume(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        volume_id = fields.octets("id", length=VOLUME_ID_BYTES)
        sealed = fields.octets("sealed_key", max_length=_MAX_SEALED_KEY)
        kind = fields.text("kind", max_length=32)
        version = fields.integer("version")
        root = fields.octets("root", length=DIGEST_BYTES)
        namespace = namespace_argument(fields)
        fields.end()
        info = volume_key_info(
            service=self._key.public.raw,
            volume=volume_id,
            namespace=namespace,
            owner=request.owner,
        )
        wrong = MalformedError("the volume's key does not open", code="message.malformed")
        key = self._hpke.open(sealed, info=info, error=wrong)
        if len(key) != KEY_BYTES or _KIND.fullmatch(kind) is None:
            raise MalformedError("not a volume's key and kind", code="message.malformed")
        tenant = self._store.governor(namespace)
        # The handle may be taken by what a charter below has governed since.
        present = self._store.volume_in(volume_id, tenant) or self._store.volume(
            volume_handle(volume_id, tenant)
        )
        if present is not None:
            said = (version, root, kind, namespace)
            known = (present.version, present.root, present.kind, present.namespace)
            if said != known or not same_bytes(present.key, key):
                raise ConfigError(
                    f"volume {volume_id.hex()} is registered already", code="config.exists"
                )
            return {}
        record = VolumeRecord(
            volume_id,
            key,
            kind,
            version,
            root,
            state_epoch=0,
            epoch=0,
            holder=None,
            namespace=namespace,
            registrant=request.owner,
            tenant=tenant,
        )
        with self._store.transaction():
            self._scope.require_room(
                namespace, "volumes", lambda: (known.namespace for known in self._store.volumes())
            )
            self._store.put_volume(record)
            self.note(request, moment, subject=record.label, policy=_NO_DIGEST, code="")
        return {}

    def _volume_key(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        record = self._volume(fields, request)
        with self._store.transaction():
            self.note(request, moment, subject=record.label, policy=_NO_DIGEST, code="")
        return {**record.keys.to_value(), **_state(record)}

    def _take_lease(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        record = self._volume(fields, request)
        holder = Holder(HPKEPublicKey(request.reply_key).identity, random_bytes(KEY_BYTES))
        taken = take(record, holder, self._leases, uptime=moment.uptime)
        with self._store.transaction():
            self._store.put_volume(taken)
            self.note(request, moment, subject=record.label, policy=_NO_DIGEST, code="")
        self._leases.extend(record.handle, uptime=moment.uptime)
        lease: dict[str, Value] = {
            "epoch": taken.epoch,
            "secret": holder.secret,
            "ttl_s": self._leases.ttl_s,
        }
        return {"lease": lease, **record.keys.to_value(), **_state(record)}

    def _break_lease(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        record = self._volume(fields, request)
        if record.holder is not None:
            with self._store.transaction():
                self._store.put_volume(replace(record, holder=None))
                self.note(request, moment, subject=record.label, policy=_NO_DIGEST, code="")
        return {}

    def _enroll_client(
        self, fields: Fields, request: OwnerRequest, moment: Moment
    ) -> dict[str, Value]:
        namespace = namespace_argument(fields)
        identity = Identity(
            self._trust_domain,
            namespace,
            CLIENTS_SEGMENT,
            require_name(fields.text("name", max_length=64)),
            require_name(fields.text("instance", max_length=64)),
        )
        csr = fields.octets("certificate_request", max_length=_MAX_CSR)
        fields.end()
        authority = self._authorities.of(namespace)
        certificate = authority.issue(
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
            "ca": authority.certificate_pem,
        }

    def _status(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        fields.end()
        sees = cache(partial(self._scope.sees, request.owner))
        policies: list[Value] = [
            {
                "hash": record.hash,
                "namespace": record.namespace,
                "name": record.name,
                "current": record.current,
                "at": record.at,
            }
            for record in self._store.policies()
            if sees(record.namespace) or self._scope.sees_policy(request.owner, record)
        ]
        volumes: list[Value] = [
            {
                "id": record.id,
                "kind": record.kind,
                "namespace": record.namespace,
                "lease_epoch": record.epoch,
                "leased": record.holder is not None
                and self._leases.remaining(record.handle, uptime=moment.uptime) > 0,
                **_state(record),
                **key_facts(record),
            }
            for record in self._store.volumes()
            if sees(record.namespace)
        ]
        return {"policies": policies, "volumes": volumes, "checkpoint": self.checkpoint()}

    def _read_log(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        del request, moment
        first = fields.integer("first")
        count = fields.integer("count", maximum=_MAX_ENTRIES)
        size = self._store.durable_size
        old_size = fields.integer("old_size", maximum=size)
        fields.end()
        proof: list[Value] = []
        if old_size:
            proof = list(self._store.proofs.consistency(old_size, size))
        entries: list[Value] = list(self._store.entries(first, count))
        return {"entries": entries, "checkpoint": self._newest_note(), "consistency": proof}

    def _newest_note(self) -> str:
        """Return the newest checkpoint, with witnesses' lines where there are any."""
        note = self.checkpoint()
        return self.cosigned if self.cosigned.startswith(note) else note

    def _volume(self, fields: Fields, request: OwnerRequest) -> VolumeRecord:
        record = self._scope.held_volume(fields, request.owner)
        fields.end()
        if record is None:
            raise ReleaseDeniedError(
                "the key service has no key for this volume", code="release.volume-unknown"
            )
        return record


def _state(record: VolumeRecord) -> dict[str, Value]:
    return {"version": record.version, "root": record.root, "epoch": record.state_epoch}
