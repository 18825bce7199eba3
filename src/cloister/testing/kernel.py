"""A kernel's attestation files in memory: they behave like the interfaces, faults included."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["FakeRegisters", "FakeTsm"]

_INBLOB_BYTES = 64


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@dataclass
class _Entry:
    attributes: dict[str, bytes] = field(default_factory=dict)
    generation: int = 0


@dataclass
class FakeTsm:
    """configfs-tsm with one provider.

    Attributes:
        root: Where it is.
        provider: Who makes reports.
        make: Turns the 64 bytes into a report.
        auxblob: What comes beside it; None where the kernel does not know the attribute.
        options: Attributes that may be written.
        busy: How often it is busy before it answers.
        meddling: Writes of somebody else while a report is made.
        entries: What is there now.
        fail: Raised for an attribute that is read or written.
    """

    root: Path
    provider: str
    make: Callable[[bytes], bytes]
    auxblob: bytes | None = None
    options: frozenset[str] = frozenset({"privlevel"})
    busy: int = 0
    meddling: int = 0
    entries: dict[str, _Entry] = field(default_factory=dict)
    fail: dict[str, int] = field(default_factory=dict)

    def make_directory(self, path: Path) -> None:
        """Begin a report."""
        if path.parent != self.root:
            raise _error(errno.ENOENT, path)
        if path.name in self.entries:
            raise _error(errno.EEXIST, path)
        self.entries[path.name] = _Entry()

    def remove_directory(self, path: Path) -> None:
        """End it."""
        del self.entries[path.name]

    def read(self, path: Path, *, max_bytes: int) -> bytes:
        """Answer an attribute."""
        entry = self._entry(path)
        data = self._value(entry, path)
        if len(data) > max_bytes:
            raise _error(errno.EFBIG, path)
        return data

    def write(self, path: Path, data: bytes) -> None:
        """Take an attribute; each write raises the generation."""
        entry = self._entry(path)
        if path.name != "inblob" and path.name not in self.options:
            raise _error(errno.ENOENT, path)
        if path.name == "inblob" and len(data) != _INBLOB_BYTES:
            raise _error(errno.EINVAL, path)
        entry.attributes[path.name] = data
        entry.generation += 1

    def _entry(self, path: Path) -> _Entry:
        entry = self.entries.get(path.parent.name)
        if entry is None or path.parent.parent != self.root:
            raise _error(errno.ENOENT, path)
        if path.name in self.fail:
            raise _error(self.fail[path.name], path)
        return entry

    def _value(self, entry: _Entry, path: Path) -> bytes:
        if path.name == "provider":
            return self.provider.encode() + b"\n"
        if path.name == "generation":
            return f"{entry.generation}\n".encode()
        if path.name == "auxblob" and self.auxblob is not None:
            return self.auxblob
        if path.name != "outblob":
            raise _error(errno.ENOENT, path)
        if self.busy:
            self.busy -= 1
            raise _error(errno.EBUSY, path)
        if "inblob" not in entry.attributes:
            raise _error(errno.EINVAL, path)
        entry.generation += self.meddling
        return self.make(entry.attributes["inblob"])


@dataclass
class FakeRegisters:
    """TDX's runtime registers in sysfs: a write of 48 bytes extends.

    Attributes:
        root: Where they are.
        values: Register to value.
        meddling: Whether somebody else extends after each of our writes.
    """

    root: Path
    values: dict[int, bytes] = field(default_factory=lambda: {n: bytes(48) for n in range(4)})
    meddling: bool = False

    def make_directory(self, path: Path) -> None:
        """Nothing can be made here."""
        raise _error(errno.EPERM, path)

    def remove_directory(self, path: Path) -> None:
        """Nor removed."""
        raise _error(errno.EPERM, path)

    def read(self, path: Path, *, max_bytes: int) -> bytes:
        """Return a register."""
        return self.values[self._number(path)][:max_bytes]

    def write(self, path: Path, data: bytes) -> None:
        """Extend a register; 0 and 1 are the firmware's."""
        number = self._number(path)
        if len(data) != 48:  # noqa: PLR2004  # SHA-384
            raise _error(errno.EINVAL, path)
        if number < 2:  # noqa: PLR2004  # read-only to the kernel's users
            raise _error(errno.EACCES, path)
        for _ in range(2 if self.meddling else 1):
            self.values[number] = hashlib.sha384(self.values[number] + data).digest()

    def _number(self, path: Path) -> int:
        name = path.name
        if path.parent != self.root or not name.startswith("rtmr") or not name[4:5].isdecimal():
            raise _error(errno.ENOENT, path)
        return int(name[4])
