"""Proofs from stored nodes: any leaf, any two sizes, in O(log n) reads. Pure.

A node is *complete* when all leaves below it are there; then its hash never changes again. Node
`(level, index)` is the root over leaves `index << level` up to `(index + 1) << level`; level 0 is
the leaves. Whoever keeps a log keeps its complete nodes: an append adds those that it completes,
two of them on average, and `node_position` says where each lies in a file to which they are
appended.

Example::

    for node in new_nodes(size, leaf, peaks):
        file.write(node.hash)  # lies at node_position(node.level, node.index)
    proof = prove_inclusion(index, size, read)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloister.errors import LocalProtocolError
from cloister.keyservice.merkle import EMPTY_ROOT, node_hash, split_point

__all__ = [
    "Node",
    "NodeReader",
    "new_nodes",
    "node_count",
    "node_position",
    "peaks_of",
    "prove_consistency",
    "prove_inclusion",
    "root_of",
]

NodeReader = Callable[[int, int], bytes]
"""Returns the hash of the complete node at (level, index)."""


@dataclass(frozen=True, slots=True)
class Node:
    """A complete node and its place."""

    level: int
    index: int
    hash: bytes


def new_nodes(size: int, leaf: bytes, peaks: Sequence[bytes]) -> tuple[Node, ...]:
    """Return the nodes that become complete when a tree of `size` leaves gets one more.

    Args:
        size: Of the tree before.
        leaf: The new leaf's hash.
        peaks: Of the tree before, as `merkle.append` and `peaks_of` give them.

    Returns:
        The leaf's own node first, then upwards: in the order of `node_position`.
    """
    if len(peaks) != size.bit_count():
        raise LocalProtocolError("peaks do not fit the tree's size", code="protocol.local")
    found, level, index, stack = [Node(0, size, leaf)], 0, size, list(peaks)
    while index & 1:
        level, index = level + 1, index >> 1
        found.append(Node(level, index, node_hash(stack.pop(), found[-1].hash)))
    return tuple(found)


def node_count(size: int) -> int:
    """Return how many complete nodes a tree of `size` leaves has."""
    return 2 * size - size.bit_count()


def node_position(level: int, index: int) -> int:
    """Return how many nodes were appended before this one, in the order of `new_nodes`."""
    last_leaf = ((index + 1) << level) - 1
    return node_count(last_leaf) + level


def peaks_of(size: int, node: NodeReader) -> tuple[bytes, ...]:
    """Return the peaks of the tree of the first `size` leaves, largest first."""
    peaks, first = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            peaks.append(node(level, first >> level))
            first += 1 << level
    return tuple(peaks)


def root_of(size: int, node: NodeReader) -> bytes:
    """Return the root of the tree of the first `size` leaves."""
    return _range_root(0, size, node) if size else EMPTY_ROOT


def prove_inclusion(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """Return the audit path of leaf `index` in the tree of `size` leaves (RFC 9162, 2.1.3.1)."""
    if not 0 <= index < size:
        raise LocalProtocolError("no such leaf", code="protocol.local")
    path, first, end = [], 0, size
    while end - first > 1:
        middle = first + split_point(end - first)
        if index < middle:
            path.append(_range_root(middle, end, node))
            end = middle
        else:
            path.append(_range_root(first, middle, node))
            first = middle
    return tuple(reversed(path))


def prove_consistency(old: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """Return the proof that the tree of `old` leaves is a prefix (RFC 9162, 2.1.4.1)."""
    if not 0 < old <= size:
        raise LocalProtocolError("no such tree", code="protocol.local")
    path, first, end = [], 0, size
    while end != old:
        middle = first + split_point(end - first)
        if old <= middle:
            path.append(_range_root(middle, end, node))
            end = middle
        else:
            path.append(_range_root(first, middle, node))
            first = middle
    if first:
        path.append(_range_root(first, end, node))
    return tuple(reversed(path))


def _range_root(first: int, end: int, node: NodeReader) -> bytes:
    """Return the root over leaves `first` up to `end`, a subtree of the recursion that splits."""
    count = end - first
    level = count.bit_length() - 1
    if count == 1 << level:
        return node(level, first >> level)
    middle = first + split_point(count)
    return node_hash(_range_root(first, middle, node), _range_root(middle, end, node))
