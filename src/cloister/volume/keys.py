"""Every key of a volume, derived from the one that the owner or the key service gives.

Invariants:
    1. No key and no nonce derives from anything the host can roll back alone: each writer
       session and each index entry has its own key, from 32 fresh random bytes.
    2. Under one session key the nonce is a counter that never repeats; before
       `SESSION_BLOCKS` blocks a new session begins.
"""

from __future__ import annotations

from typing import Final

from cloister.crypto.aead import AEADKey
from cloister.crypto.digest import require_equal
from cloister.crypto.kdf import derive_key, random_bytes
from cloister.errors import CallerError, TamperedError
from cloister.volume.format import Superblock, VolumeKind, malformed

__all__ = ["SALT_BYTES", "SESSION_BLOCKS", "SessionKeys", "VolumeKeys", "make_superblock"]

SALT_BYTES: Final = 32
SESSION_BLOCKS: Final = 2**32
_COUNTER_BITS: Final = 40
_COUNTER_MASK: Final = 2**_COUNTER_BITS - 1
_MAX_SESSIONS: Final = 2**24
_VOLUME_KEY_BYTES: Final = 32
_SUPERBLOCK_LABEL: Final = b"cloister volume v1 superblock"
_INDEX_LABEL: Final = b"cloister volume v1 index"
_ENTRY_LABEL: Final = b"cloister volume v1 entry"
_DATA_LABEL: Final = b"cloister volume v1 data"
_SESSION_LABEL: Final = b"cloister volume v1 session"


def make_superblock(
    volume_key: bytes, *, kind: VolumeKind, block_bytes: int, volume_id: bytes
) -> Superblock:
    """Return the superblock of a new volume, which also commits to its key."""
    _require_key(volume_key)
    fields = Superblock.fields(kind, block_bytes, volume_id)
    mac = derive_key(volume_key, label=_SUPERBLOCK_LABEL + fields, salt=volume_id)
    return Superblock(kind, block_bytes, volume_id, mac)


class VolumeKeys:
    """The keys of one volume whose superblock this key made. The volume key is not kept."""

    __slots__ = ("_data_key", "_index_key")

    def __init__(self, volume_key: bytes, superblock: Superblock) -> None:
        """Derive the keys.

        Raises:
            TamperedError: Code `volume.foreign`: the superblock is another volume's, was
                changed, or the key is another volume's.
        """
        genuine = make_superblock(
            volume_key,
            kind=superblock.kind,
            block_bytes=superblock.block_bytes,
            volume_id=superblock.volume_id,
        )
        require_equal(
            genuine.mac,
            superblock.mac,
            error=TamperedError(
                "this directory is not the volume that the key belongs to", code="volume.foreign"
            ),
        )
        salt = superblock.volume_id
        self._index_key = derive_key(volume_key, label=_INDEX_LABEL, salt=salt)
        self._data_key = derive_key(volume_key, label=_DATA_LABEL, salt=salt)

    def entry_key(self, salt: bytes) -> AEADKey:
        """Return the key of the index entry with this random salt."""
        return AEADKey(derive_key(self._index_key, label=_ENTRY_LABEL, salt=salt))

    def session_key(self, salt: bytes) -> AEADKey:
        """Return the key of the blocks that one writer session sealed."""
        return AEADKey(derive_key(self._data_key, label=_SESSION_LABEL, salt=salt))


class SessionKeys:
    """The block keys of all writer sessions so far, and the stamps of the one that writes now.

    `salts` is the index's own list: a session begun here is appended to it, and the next commit
    stores it.
    """

    def __init__(self, keys: VolumeKeys, salts: list[bytes]) -> None:
        """Begin no session yet: that happens with the first block sealed."""
        self._keys = keys
        self._salts = salts
        self._opened: dict[int, AEADKey] = {}
        self._counter = _COUNTER_MASK
        self._session = -1
        self._limit = SESSION_BLOCKS

    def opening(self, stamp: int) -> tuple[AEADKey, bytes]:
        """Return the key and nonce under which the block with this stamp was sealed.

        Raises:
            MalformedError: The stamp names a session that the index does not have.
        """
        session = stamp >> _COUNTER_BITS
        key = self._opened.get(session)
        if key is None:
            if session >= len(self._salts):
                raise malformed("a pointer names an unknown session", clause="VOL-13")
            key = self._opened[session] = self._keys.session_key(self._salts[session])
        return key, (stamp & _COUNTER_MASK).to_bytes(12, "big")

    def sealing(self) -> tuple[AEADKey, bytes, int]:
        """Return key, nonce and stamp for one block to be sealed; never the same twice."""
        if self._counter >= self._limit:
            self._begin()
        counter = self._counter
        self._counter = counter + 1
        key = self._opened[self._session]
        return key, counter.to_bytes(12, "big"), self._session << _COUNTER_BITS | counter

    def _begin(self) -> None:
        if len(self._salts) >= _MAX_SESSIONS:
            raise CallerError("the volume has no writer session left", code="caller.misuse")
        salt = random_bytes(SALT_BYTES)
        self._session = len(self._salts)
        self._salts.append(salt)
        self._opened[self._session] = self._keys.session_key(salt)
        self._counter = 0


def _require_key(volume_key: bytes) -> None:
    if len(volume_key) != _VOLUME_KEY_BYTES:
        raise CallerError("a volume key has 32 bytes", code="caller.misuse")
