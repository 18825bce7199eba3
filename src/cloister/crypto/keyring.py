"""Keys of one thing by epoch: what is sealed anew goes under the newest, older ones only open.

Invariant: epochs count from 1 without gaps; a ring may have lost its oldest keys, never its newest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloister.errors import MalformedError
from cloister.wire import Fields, Value

__all__ = ["FIRST_KEY_EPOCH", "MAX_KEYS", "MAX_KEY_EPOCH", "KeyRing"]

FIRST_KEY_EPOCH: Final = 1
MAX_KEY_EPOCH: Final = 2**24
MAX_KEYS: Final = 64
_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """The keys that are still there.

    Attributes:
        epoch: Of the newest.
        keys: Oldest first, 32 secret bytes each; the last has `epoch`.
    """

    epoch: int
    keys: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Exact lengths; no more keys than there were epochs."""
        good = all(len(key) == _KEY_BYTES for key in self.keys)
        if not good or not 1 <= len(self.keys) <= min(self.epoch, MAX_KEYS):
            raise MalformedError("not a ring of keys", code="message.malformed")
        if self.epoch > MAX_KEY_EPOCH:
            raise MalformedError("a key epoch beyond the last", code="message.malformed")

    def __repr__(self) -> str:
        """Show no secret."""
        return f"KeyRing(oldest={self.oldest}, epoch={self.epoch})"

    @classmethod
    def first(cls, key: bytes) -> KeyRing:
        """Return the ring of something whose key was never replaced."""
        return cls(FIRST_KEY_EPOCH, (key,))

    @property
    def newest(self) -> bytes:
        """The key to seal under."""
        return self.keys[-1]

    @property
    def oldest(self) -> int:
        """The epoch of the oldest key."""
        return self.epoch - len(self.keys) + 1

    def key(self, epoch: int) -> bytes | None:
        """Return one key, if it is here."""
        return self.keys[epoch - self.oldest] if self.oldest <= epoch <= self.epoch else None

    def rotated(self, key: bytes) -> KeyRing:
        """Return the ring with a newer key."""
        return KeyRing(self.epoch + 1, (*self.keys, key))

    def since(self, epoch: int) -> KeyRing:
        """Return the ring without the keys of earlier epochs; the newest always stays."""
        return KeyRing(
            self.epoch, self.keys[min(max(0, epoch - self.oldest), len(self.keys) - 1) :]
        )

    def to_value(self) -> dict[str, Value]:
        """Return its fields in a larger message; of a first key, the key alone."""
        value: dict[str, Value] = {"key": self.newest}
        if self.epoch > FIRST_KEY_EPOCH:
            value["key_epoch"] = self.epoch
        if len(self.keys) > 1:
            value["older_keys"] = list(self.keys[:-1])
        return value

    @classmethod
    def from_fields(cls, fields: Fields) -> KeyRing:
        """Take its fields out of a larger message, which stays the caller's to end."""
        key = fields.octets("key", length=_KEY_BYTES)
        epoch = FIRST_KEY_EPOCH
        if fields.has("key_epoch"):
            epoch = fields.integer("key_epoch", minimum=FIRST_KEY_EPOCH + 1, maximum=MAX_KEY_EPOCH)
        older: list[bytes] = []
        if fields.has("older_keys"):
            items = fields.array("older_keys", max_items=MAX_KEYS - 1)
            older = [item for item in items if isinstance(item, bytes)]
            if not items or len(older) != len(items):
                raise MalformedError("older keys are byte strings", code="message.malformed")
        return cls(epoch, (*older, key))
