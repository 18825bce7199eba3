"""Every key of a volume, derived from those that the owner or the key service gives.

Invariants:
    1. No key and no nonce derives from anything the host can roll back alone: each writer
       session and each index entry has its own key, from 32 fresh random bytes.
    2. Under one session key the nonce is a counter that never repeats; before
       `SESSION_BLOCKS` blocks a new session begins.
    3. What is sealed is sealed under the newest volume key. Older ones open what was sealed before.
    4. Blocks that stay readable have a key of their own in each session: a tag made for one form
       of block never passes for the other.
"""

from __future__ import annotations

from typing import Final

from cloister.crypto.aead import AEADKey
from cloister.crypto.digest import require_equal
from cloister.crypto.kdf import derive_key, random_bytes
from cloister.crypto.keyring import FIRST_KEY_EPOCH, KeyRing
from cloister.errors import CallerError, ReleaseDeniedError, TamperedError
from cloister.volume.format import Superblock, VolumeKind, malformed
from cloister.volume.sessions import MAX_SESSIONS, Session, Sessions

__all__ = [
    "SALT_BYTES",
    "SESSION_BLOCKS",
    "SessionKeys",
    "VolumeKeys",
    "make_superblock",
    "session_of",
]

SALT_BYTES: Final = 32
SESSION_BLOCKS: Final = 2**32
_COUNTER_BITS: Final = 40
_COUNTER_MASK: Final = 2**_COUNTER_BITS - 1
_VOLUME_KEY_BYTES: Final = 32
_SUPERBLOCK_LABEL: Final = b"cloister volume v1 superblock"
_INDEX_LABEL: Final = b"cloister volume v1 index"
_ENTRY_LABEL: Final = b"cloister volume v1 entry"
_DATA_LABEL: Final = b"cloister volume v1 data"
_SESSION_LABEL: Final = b"cloister volume v1 session"
_AUTHENTICATED_LABEL: Final = b"cloister volume v1 authenticated"


def make_superblock(
    volume_key: bytes, *, kind: VolumeKind, block_bytes: int, volume_id: bytes
) -> Superblock:
    """Return the superblock of a new volume, which also commits to its key."""
    _require_key(volume_key)
    fields = Superblock.fields(kind, block_bytes, volume_id)
    mac = derive_key(volume_key, label=_SUPERBLOCK_LABEL + fields, salt=volume_id)
    return Superblock(kind, block_bytes, volume_id, mac)


class VolumeKeys:
    """The keys of one volume. The volume keys themselves are not kept.

    While the first volume key is there, the superblock is compared with it. Once it is retired,
    the anchored root alone vouches for the superblock, as it does for every byte of the index.
    """

    __slots__ = ("_data_keys", "_index_keys", "epoch")

    def __init__(self, volume_key: KeyRing | bytes, superblock: Superblock) -> None:
        """Derive the keys; a volume key by itself is the first one.

        Raises:
            TamperedError: Code `volume.foreign`: the superblock is another volume's, was
                changed, or the key is another volume's.
        """
        if isinstance(volume_key, bytes):
            _require_key(volume_key)
            volume_key = KeyRing.first(volume_key)
        first = volume_key.key(FIRST_KEY_EPOCH)
        if first is not None:
            _require_own(superblock, first)
        salt = superblock.volume_id
        self._index_keys: dict[int, bytes] = {}
        self._data_keys: dict[int, bytes] = {}
        for epoch, key in enumerate(volume_key.keys, start=volume_key.oldest):
            self._index_keys[epoch] = derive_key(key, label=_INDEX_LABEL, salt=salt)
            self._data_keys[epoch] = derive_key(key, label=_DATA_LABEL, salt=salt)
        self.epoch: Final = volume_key.epoch
        """The epoch of the newest volume key, under which everything is sealed."""

    def entry_key(self, salt: bytes, key_epoch: int) -> AEADKey:
        """Return the key of the index entry with this random salt.

        Raises:
            ReleaseDeniedError: Code `release.key-missing`: that volume key is not here.
        """
        return AEADKey(derive_key(_of(self._index_keys, key_epoch), label=_ENTRY_LABEL, salt=salt))

    def session_key(self, session: Session, *, readable: bool = False) -> AEADKey:
        """Return the key of the blocks that one writer session sealed; as `entry_key`.

        Args:
            session: The session.
            readable: The key for blocks that are authenticated and not encrypted.
        """
        data_key = _of(self._data_keys, session.key_epoch)
        label = _AUTHENTICATED_LABEL if readable else _SESSION_LABEL
        return AEADKey(derive_key(data_key, label=label, salt=session.salt))


class SessionKeys:
    """The block keys of all writer sessions so far, and the stamps of the one that writes now.

    `sessions` is the index's own: a session begun here is added to it, and the next commit stores
    it.
    """

    def __init__(self, keys: VolumeKeys, sessions: Sessions) -> None:
        """Begin no session yet: that happens with the first block sealed."""
        self._keys = keys
        self._sessions = sessions
        self._opened: tuple[dict[int, AEADKey], dict[int, AEADKey]] = ({}, {})
        self._counter = _COUNTER_MASK
        self._session = -1
        self._limit = SESSION_BLOCKS

    def opening(self, stamp: int, *, readable: bool = False) -> tuple[AEADKey, bytes]:
        """Return the key and nonce under which the block with this stamp was sealed.

        Args:
            stamp: From its pointer.
            readable: For a block that is authenticated and not encrypted.

        Raises:
            MalformedError: The stamp names a session that the index does not have.
        """
        session = session_of(stamp)
        key = self._opened[readable].get(session) or self._key(session, readable=readable)
        return key, (stamp & _COUNTER_MASK).to_bytes(12, "big")

    def sealing(self, *, readable: bool = False) -> tuple[AEADKey, bytes, int]:
        """Return key, nonce and stamp for one block to be sealed; never the same twice."""
        if self._counter >= self._limit:
            self._begin()
        counter = self._counter
        self._counter = counter + 1
        session = self._session
        key = self._opened[readable].get(session) or self._key(session, readable=readable)
        return key, counter.to_bytes(12, "big"), session << _COUNTER_BITS | counter

    def _key(self, session: int, *, readable: bool) -> AEADKey:
        found = self._sessions.get(session)
        if found is None:
            raise malformed("a pointer names an unknown session", clause="VOL-13")
        key = self._opened[readable][session] = self._keys.session_key(found, readable=readable)
        return key

    def _begin(self) -> None:
        if self._sessions.end >= MAX_SESSIONS:
            raise CallerError("the volume has no writer session left", code="caller.misuse")
        session = Session(random_bytes(SALT_BYTES), self._keys.epoch)
        self._session = self._sessions.end
        self._sessions.add(session)
        self._counter = 0


def session_of(stamp: int) -> int:
    """Return the number of the session that sealed the block with this stamp."""
    return stamp >> _COUNTER_BITS


def _require_key(volume_key: bytes) -> None:
    if len(volume_key) != _VOLUME_KEY_BYTES:
        raise CallerError("a volume key has 32 bytes", code="caller.misuse")


def _require_own(superblock: Superblock, first: bytes) -> None:
    genuine = make_superblock(
        first,
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


def _of(keys: dict[int, bytes], key_epoch: int) -> bytes:
    key = keys.get(key_epoch)
    if key is None:
        raise ReleaseDeniedError(
            f"the volume is sealed under its key of epoch {key_epoch}, which was not released here",
            code="release.key-missing",
            hint="ask for the volume's keys again",
        )
    return key
