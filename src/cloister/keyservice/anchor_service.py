"""Decide about volumes' anchors: read them, move them, take them over, give them back.

Spec: key-release-v1, the clauses on anchors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from cloister.crypto.signature import VerifyingKey
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.anchoring import (
    AnchorReply,
    AnchorRequest,
    SealedAnchorRequest,
    reader_secret,
)
from cloister.keyservice.challenges import Challenges
from cloister.keyservice.clock import Moment
from cloister.keyservice.leases import LeaseTable, advance, require_epoch
from cloister.keyservice.records import VolumeRecord
from cloister.keyservice.session import require_service
from cloister.keyservice.store import Store

__all__ = ["AnchorService"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorService:
    """Anchors' operations over one store.

    Attributes:
        store: The state.
        identity: The service's, which a request must name.
        reader_secret: What readers' secrets derive from.
        challenges: What a takeover spends.
        leases: Who may write a volume.
    """

    store: Store
    identity: VerifyingKey
    reader_secret: bytes
    challenges: Challenges
    leases: LeaseTable

    def answer(self, body: bytes, moment: Moment) -> Callable[[], bytes]:
        """Read a request; return what decides it."""
        sealed = SealedAnchorRequest.from_bytes(body)
        request = AnchorRequest.from_bytes(sealed.body)
        require_service(request.service, self.identity.raw)
        return partial(self._decide, request, sealed, moment)

    def _decide(self, request: AnchorRequest, sealed: SealedAnchorRequest, moment: Moment) -> bytes:
        if request.operation == "takeover":
            self.challenges.spend(request.nonce, moment)
        record = self._authenticated(request, sealed)
        if request.epoch == 0:
            return _anchor_reply(record, epoch=0)
        record = self._move(record, request, moment)
        return _anchor_reply(record, epoch=record.epoch)

    def _authenticated(self, request: AnchorRequest, sealed: SealedAnchorRequest) -> VolumeRecord:
        """Return the volume whose secret the sender knows, of all tenants' that have this identity.

        Raises:
            ReleaseDeniedError: There is none (`release.fenced`); which volumes there are is not
                told to whoever knows no secret.
        """
        for record in self.store.volumes_named(request.volume):
            secret = self._secret(record, request)
            if secret is not None:
                with contextlib.suppress(ReleaseDeniedError):
                    sealed.require(secret)
                    return record
        raise ReleaseDeniedError(
            f"volume {request.volume.hex()}: the lease that this request names is over, because "
            "another writer has the volume, or was never the sender's",
            code="release.fenced",
        )

    def _secret(self, record: VolumeRecord, request: AnchorRequest) -> bytes | None:
        if request.epoch == 0:
            return reader_secret(self.reader_secret, record.handle)
        return None if record.holder is None else record.holder.secret

    def _move(
        self,
        record: VolumeRecord,
        request: AnchorRequest,
        moment: Moment,
    ) -> VolumeRecord:
        if request.operation == "takeover":
            return self._take_over(record, request, moment)
        require_epoch(record, request.epoch)
        if request.operation == "state":
            return record
        changed: VolumeRecord | None = None
        if request.operation == "release":
            changed = replace(record, holder=None)
        elif request.move is not None:
            changed = advance(record, request.move)
        if changed is not None:
            with self.store.transaction():
                self.store.put_volume(changed)
        self.leases.extend(record.handle, uptime=moment.uptime)
        return changed or record

    def _take_over(
        self,
        record: VolumeRecord,
        request: AnchorRequest,
        moment: Moment,
    ) -> VolumeRecord:
        if request.epoch > record.epoch:
            raise ReleaseDeniedError(
                f"the lease of volume {record.id.hex()} is over", code="release.fenced"
            )
        changed = replace(record, epoch=record.epoch + 1)
        with self.store.transaction():
            self.store.put_volume(changed)
        self.leases.extend(record.handle, uptime=moment.uptime)
        return changed


def _anchor_reply(record: VolumeRecord, *, epoch: int) -> bytes:
    return AnchorReply(epoch, record.version, record.root, record.state_epoch).to_bytes()
