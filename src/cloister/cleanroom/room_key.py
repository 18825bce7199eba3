"""The room's own key: what is for nobody outside it is sealed with it before it goes to a volume.

The key service makes it when the policy comes into force and gives it to the room's server and
query roles alone. The owner who registered the model's volume can read that volume, and finds
only bytes of this key in it. Older bytes under the same name are the volume's to notice.

Spec: cleanroom-terms-v1, clauses CT-64 to CT-66.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from cloister.cleanroom.agreement import read_bounded
from cloister.crypto.aead import KEY_BYTES, AEADKey
from cloister.crypto.digest import framed
from cloister.crypto.kdf import derive_key, random_bytes
from cloister.errors import MalformedError, TamperedError

__all__ = ["RoomKey"]

_LABEL: Final = b"cloister/cleanroom-room-key/v1"
_AAD_LABEL: Final = b"cloister/cleanroom-sealed/v1"
_SALT_BYTES: Final = 32
_NONCE: Final = bytes(12)
_HEX: Final = re.compile(rb"[0-9a-f]{64}")


class RoomKey:
    """Seals and opens what stays in the room. Its `repr` shows nothing."""

    __slots__ = ("_key", "_room")

    def __init__(self, key: bytes, *, room: bytes) -> None:
        """Take 32 secret bytes, and the digest of the room's terms."""
        if len(key) != KEY_BYTES:
            raise MalformedError("a room's key has 32 bytes", code="wire.malformed")
        self._key = key
        self._room = room

    @classmethod
    def load(cls, path: Path, *, room: bytes) -> RoomKey:
        """Read the file that the launcher made for a role that has the key.

        Raises:
            ConfigError: It cannot be read (`config.file`).
            MalformedError: It holds no key.
        """
        text = read_bounded(path, 2 * KEY_BYTES)
        if _HEX.fullmatch(text) is None:
            raise MalformedError("the file holds no room's key", code="wire.malformed")
        return cls(bytes.fromhex(text.decode("ascii")), room=room)

    def seal(self, name: str, data: bytes) -> bytes:
        """Return `data` sealed under a fresh key of its own, for this name in this room alone."""
        salt = random_bytes(_SALT_BYTES)
        return salt + self._fresh(salt).seal(_NONCE, data, self._aad(name))

    def open(self, name: str, sealed: bytes) -> bytes:
        """Return what `seal` was given under this name.

        Raises:
            TamperedError: The bytes are another room's, another name's, or changed
                (`volume.tampered`).
        """
        error = TamperedError(f"{name} is not what this room sealed", code="volume.tampered")
        salt, rest = sealed[:_SALT_BYTES], sealed[_SALT_BYTES:]
        if len(salt) != _SALT_BYTES:
            raise error
        return self._fresh(salt).open(_NONCE, rest, self._aad(name), error=error)

    def _fresh(self, salt: bytes) -> AEADKey:
        return AEADKey(derive_key(self._key, label=_LABEL, salt=salt))

    def _aad(self, name: str) -> bytes:
        return framed(_AAD_LABEL, self._room, name.encode("utf-8", "surrogatepass"))
