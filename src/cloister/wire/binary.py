"""Bytes taken from the front of a binary structure, never beyond its end.

A format derives its own reader, which adds the parts that it is made of; the error is the format's.
"""

from __future__ import annotations

from collections.abc import Callable

from cloister.errors import CloisterError

__all__ = ["BinaryReader"]


class BinaryReader:
    """A place in untrusted bytes."""

    __slots__ = ("_at", "_cut_off", "_data")

    def __init__(self, data: bytes, *, cut_off: Callable[[], CloisterError]) -> None:
        """Begin at the front.

        Args:
            data: Untrusted.
            cut_off: Makes the error for a part that goes on behind the end.
        """
        self._data = data
        self._at = 0
        self._cut_off = cut_off

    def take(self, size: int) -> bytes:
        """Take so many bytes; `size` may be any number that the bytes themselves said."""
        if size > self.left:
            raise self._cut_off()
        self._at += size
        return self._data[self._at - size : self._at]

    @property
    def at(self) -> int:
        """How many bytes were taken."""
        return self._at

    @property
    def left(self) -> int:
        """How many bytes follow."""
        return len(self._data) - self._at

    def rest(self) -> bytes:
        """Return what follows, without taking it."""
        return self._data[self._at :]
