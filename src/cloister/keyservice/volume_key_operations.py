"""The owner's operations on volumes' keys: make a newer one, destroy old ones. No answer has a key.

Spec: key-release-v1, clauses KR-142 and KR-144.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES
from cloister.crypto.kdf import random_bytes
from cloister.crypto.keyring import FIRST_KEY_EPOCH, MAX_KEY_EPOCH
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.bundle import KEY_BYTES
from cloister.keyservice.clock import Moment
from cloister.keyservice.ownership import OwnerRequest
from cloister.keyservice.records import VolumeRecord
from cloister.keyservice.scope import Scope
from cloister.keyservice.secret_operations import Note
from cloister.keyservice.store import Store
from cloister.keyservice.volume_rotation import retire, rotate
from cloister.wire import Fields, Value

__all__ = ["VolumeKeyOperations"]

_NO_DIGEST: Final = bytes(DIGEST_BYTES)


@dataclass(frozen=True, slots=True)
class VolumeKeyOperations:
    """`volume.rotate` and `volume.retire` over one store."""

    store: Store
    scope: Scope
    note: Note

    def table(self) -> dict[str, Callable[[Fields, OwnerRequest, Moment], dict[str, Value]]]:
        """Return the operations by name."""
        return {"volume.rotate": self._rotate, "volume.retire": self._retire}

    def _rotate(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        record = self._volume(fields, request)
        epoch = fields.integer("epoch", minimum=FIRST_KEY_EPOCH + 1, maximum=MAX_KEY_EPOCH)
        fields.end()
        self._put(rotate(record, epoch, random_bytes(KEY_BYTES)), request, moment)
        return {"key_epoch": epoch}

    def _retire(self, fields: Fields, request: OwnerRequest, moment: Moment) -> dict[str, Value]:
        record = self._volume(fields, request)
        before = fields.integer("before", minimum=FIRST_KEY_EPOCH, maximum=MAX_KEY_EPOCH)
        fields.end()
        changed = retire(record, before)
        self._put(changed, request, moment)
        return {"oldest_key": (changed or record).keys.oldest}

    def _put(self, changed: VolumeRecord | None, request: OwnerRequest, moment: Moment) -> None:
        if changed is None:
            return
        with self.store.transaction():
            self.store.put_volume(changed)
            self.note(request, moment, subject=changed.label, policy=_NO_DIGEST, code="")

    def _volume(self, fields: Fields, request: OwnerRequest) -> VolumeRecord:
        record = self.scope.held_volume(fields, request.owner)
        if record is None:
            raise ReleaseDeniedError(
                "the key service has no key for this volume", code="release.volume-unknown"
            )
        return record
