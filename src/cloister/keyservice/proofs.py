"""Proofs about any part of the log, in O(log n) after the first.

The tree's complete nodes lie in one array in memory, 64 bytes an entry, in the order of `nodes`.
It is filled from the store's durable leaves when somebody first asks, and grows with the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cloister.crypto.digest import DIGEST_BYTES
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.merkle import append
from cloister.keyservice.nodes import (
    new_nodes,
    node_position,
    prove_consistency,
    prove_inclusion,
    root_of,
)

__all__ = ["Proofs"]

_BATCH = 1000
Leaves = Callable[[int, int], Sequence[bytes]]


class Proofs:
    """Proves over a log that only grows."""

    def __init__(self, leaves: Leaves) -> None:
        """Take a function of (first, count) that returns durable leaf hashes in their order."""
        self._leaves = leaves
        self._nodes = bytearray()
        self._peaks: tuple[bytes, ...] = ()
        self._size = 0

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` leaves."""
        self._require(size)
        return root_of(size, self._node)

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the proof that leaf `index` is in the tree of the first `size`.

        Raises:
            ReleaseDeniedError: The log has no such leaf or tree (`log.unknown`).
        """
        if not 0 <= index < size:
            raise _unknown()
        self._require(size)
        return prove_inclusion(index, size, self._node)

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """Return the proof that the tree of `old` leaves is a prefix of that of `new`.

        Raises:
            ReleaseDeniedError: The log has no such trees (`log.unknown`).
        """
        if not 0 < old <= new:
            raise _unknown()
        self._require(new)
        return prove_consistency(old, new, self._node)

    def _require(self, size: int) -> None:
        while self._size < size:
            found = self._leaves(self._size, _BATCH)
            if not found:
                raise _unknown()
            for leaf in found:
                for node in new_nodes(self._size, leaf, self._peaks):
                    self._nodes += node.hash
                self._peaks = append(self._peaks, self._size, leaf)
                self._size += 1

    def _node(self, level: int, index: int) -> bytes:
        at = node_position(level, index) * DIGEST_BYTES
        return bytes(self._nodes[at : at + DIGEST_BYTES])


def _unknown() -> ReleaseDeniedError:
    return ReleaseDeniedError("the log has no such entry or size", code="log.unknown")
