"""Read a decoded map field by field; whatever is not read is an error.

A message's `from_bytes` reads like its table in the specification::

    fields = Fields.decode(data, what="challenge", max_bytes=4096)
    nonce = fields.octets("nonce", length=32)
    service = fields.text("service", max_length=255)
    fields.end()
"""

from __future__ import annotations

from cloister.errors import MalformedError
from cloister.wire.cbor import Value, decode

__all__ = ["Fields"]


class Fields:
    """A map whose keys must all be asked for, each with its type and bounds."""

    def __init__(self, value: Value, *, what: str, code: str = "message.malformed") -> None:
        """Take a decoded value that must be a map; `what` and `code` name it in errors."""
        self._what = what
        self._code = code
        if not isinstance(value, dict):
            raise self._error("is not a map")
        self._left: dict[str, Value] = dict(value)

    @classmethod
    def decode(
        cls, data: bytes, *, what: str, max_bytes: int, code: str = "message.malformed"
    ) -> Fields:
        """Decode untrusted bytes that must hold one canonical map."""
        return cls(decode(data, max_bytes=max_bytes), what=what, code=code)

    def octets(self, name: str, *, length: int | None = None, max_length: int = 65536) -> bytes:
        """Take a byte string of exactly `length`, or at most `max_length` bytes."""
        value = self._take(name)
        if not isinstance(value, bytes):
            raise self._error(f"field {name} is not a byte string")
        if length is not None and len(value) != length:
            raise self._error(f"field {name} has {len(value)} bytes instead of {length}")
        if len(value) > max_length:
            raise self._error(f"field {name} is longer than {max_length} bytes")
        return value

    def text(self, name: str, *, max_length: int = 1024) -> str:
        """Take a text of at most `max_length` characters."""
        value = self._take(name)
        if not isinstance(value, str) or len(value) > max_length:
            raise self._error(f"field {name} is not a text of at most {max_length} characters")
        return value

    def integer(self, name: str, *, minimum: int = 0, maximum: int = 2**63 - 1) -> int:
        """Take an integer within bounds."""
        value = self._take(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._error(f"field {name} is not an integer")
        if not minimum <= value <= maximum:
            raise self._error(f"field {name} is outside {minimum} to {maximum}")
        return value

    def boolean(self, name: str) -> bool:
        """Take true or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            raise self._error(f"field {name} is not true or false")
        return value

    def submap(self, name: str) -> Fields:
        """Take a nested map, to be read with its own `end`."""
        return Fields(self._take(name), what=f"{self._what}.{name}", code=self._code)

    def array(self, name: str, *, max_items: int = 1024) -> list[Value]:
        """Take an array of at most `max_items` values."""
        value = self._take(name)
        if not isinstance(value, list | tuple) or len(value) > max_items:
            raise self._error(f"field {name} is not an array of at most {max_items} items")
        return list(value)

    def texts(self, name: str, *, max_items: int = 1024, max_length: int = 4096) -> list[str]:
        """Take an array of texts."""
        found = self.array(name, max_items=max_items)
        texts = [item for item in found if isinstance(item, str) and len(item) <= max_length]
        if len(texts) != len(found):
            raise self._error(f"field {name} holds something other than texts")
        return texts

    def has(self, name: str) -> bool:
        """Tell whether an optional field, so marked in its specification, is there."""
        return name in self._left

    def keys(self) -> list[str]:
        """Return the names not yet read, for maps whose keys are data."""
        return list(self._left)

    def anything(self, name: str) -> Value:
        """Take a value whose form is data; the caller bounds it."""
        return self._take(name)

    def constant(self, name: str, expected: str | int) -> None:
        """Take a field that can have one value only, such as a type or version."""
        value = self._take(name)
        if type(value) is not type(expected) or value != expected:
            raise self._error(f"field {name} is not {expected!r}")

    def end(self) -> None:
        """Refuse keys that nobody asked for."""
        if self._left:
            raise self._error(f"unknown field {_shown(sorted(self._left)[0])}")

    def _take(self, name: str) -> Value:
        if name not in self._left:
            raise self._error(f"field {name} is missing")
        return self._left.pop(name)

    def _error(self, problem: str) -> MalformedError:
        return MalformedError(f"{self._what}: {problem}", code=self._code)


def _shown(name: str) -> str:
    """A name that somebody else chose, as a terminal may show it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name[:64])
