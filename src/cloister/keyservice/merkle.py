"""The Merkle tree of RFC 9162, section 2.1: hashes, proofs, and their verification. Pure.

A growing log keeps only its *peaks*: the roots of the complete subtrees that make up its size, from
the largest (leftmost) to the smallest. Appending, the root, and the inclusion proof of the newest
leaf need nothing else. Other proofs need the leaf hashes, or the stored nodes of `nodes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cloister.crypto.digest import DIGEST_BYTES, same_bytes, sha256
from cloister.errors import LocalProtocolError, TamperedError

__all__ = [
    "EMPTY_ROOT",
    "append",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "newest_leaf_proof",
    "node_hash",
    "root_of_leaves",
    "root_of_peaks",
    "split_point",
    "verify_consistency",
    "verify_inclusion",
]

EMPTY_ROOT: Final = sha256(b"")


def leaf_hash(entry: bytes) -> bytes:
    """Hash an entry as a leaf."""
    return sha256(b"\x00" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two neighbours as their parent."""
    return sha256(b"\x01" + left + right)


def split_point(count: int) -> int:
    """Return how many of `count` leaves, two at least, are left of the root."""
    return 1 << ((count - 1).bit_length() - 1)


def append(peaks: Sequence[bytes], size: int, leaf: bytes) -> tuple[bytes, ...]:
    """Return the peaks of the tree of `size` leaves and this one more."""
    if len(peaks) != size.bit_count():
        raise LocalProtocolError("peaks do not fit the tree's size", code="protocol.local")
    merged, stack = leaf, list(peaks)
    while size & 1:
        merged = node_hash(stack.pop(), merged)
        size >>= 1
    return (*stack, merged)


def root_of_peaks(peaks: Sequence[bytes]) -> bytes:
    """Return the root of the tree with these peaks."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def newest_leaf_proof(peaks_before: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the inclusion proof of a leaf that was just appended after these peaks."""
    return tuple(reversed(peaks_before))


def root_of_leaves(leaves: Sequence[bytes]) -> bytes:
    """Return the root over all leaf hashes."""
    peaks: tuple[bytes, ...] = ()
    for size, leaf in enumerate(leaves):
        peaks = append(peaks, size, leaf)
    return root_of_peaks(peaks)


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the audit path of leaf `index` in the tree of all `leaves` (RFC 9162, 2.1.3.1)."""
    if not 0 <= index < len(leaves):
        raise LocalProtocolError("no such leaf", code="protocol.local")
    if len(leaves) == 1:
        return ()
    split = split_point(len(leaves))
    if index < split:
        return (*inclusion_proof(leaves[:split], index), root_of_leaves(leaves[split:]))
    return (*inclusion_proof(leaves[split:], index - split), root_of_leaves(leaves[:split]))


def consistency_proof(leaves: Sequence[bytes], old: int) -> tuple[bytes, ...]:
    """Return the proof that the tree of `old` leaves is a prefix (RFC 9162, 2.1.4.1)."""
    if not 0 < old <= len(leaves):
        raise LocalProtocolError("no such tree", code="protocol.local")
    return _subproof(leaves, old, whole=True)


def verify_inclusion(
    *, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise unless `leaf` is number `index` in the tree of `size` leaves with this root.

    Raises:
        TamperedError: The proof does not hold (code `log.proof`). Spec: RFC 9162, 2.1.3.2.
    """
    error = _wrong_proof()
    if not 0 <= index < size or any(len(node) != DIGEST_BYTES for node in proof):
        raise error
    first, last, computed = index, size - 1, leaf
    for node in proof:
        if last == 0:
            raise error
        if first & 1 or first == last:
            computed = node_hash(node, computed)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            computed = node_hash(computed, node)
        first, last = first >> 1, last >> 1
    if last != 0 or not same_bytes(computed, root):
        raise error


def verify_consistency(
    *, old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise unless the tree with `old_root` is a prefix of the one with `root`.

    Raises:
        TamperedError: The proof does not hold (code `log.proof`). Spec: RFC 9162, 2.1.4.2.
    """
    error = _wrong_proof()
    if not 0 < old_size <= size or any(len(node) != DIGEST_BYTES for node in proof):
        raise error
    if old_size == size:
        if proof or not same_bytes(old_root, root):
            raise error
        return
    old_computed, new_computed = _climb(old_root, old_size, size, proof)
    if not same_bytes(old_computed, old_root) or not same_bytes(new_computed, root):
        raise error


def _climb(
    old_root: bytes, old_size: int, size: int, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise _wrong_proof()
    first, last = old_size - 1, size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old_computed = new_computed = path[0]
    for node in path[1:]:
        if last == 0:
            raise _wrong_proof()
        if first & 1 or first == last:
            old_computed, new_computed = (
                node_hash(node, old_computed),
                node_hash(node, new_computed),
            )
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            new_computed = node_hash(new_computed, node)
        first, last = first >> 1, last >> 1
    if last != 0:
        raise _wrong_proof()
    return old_computed, new_computed


def _subproof(leaves: Sequence[bytes], old: int, *, whole: bool) -> tuple[bytes, ...]:
    if old == len(leaves):
        return () if whole else (root_of_leaves(leaves),)
    split = split_point(len(leaves))
    if old <= split:
        return (*_subproof(leaves[:split], old, whole=whole), root_of_leaves(leaves[split:]))
    return (*_subproof(leaves[split:], old - split, whole=False), root_of_leaves(leaves[:split]))


def _wrong_proof() -> TamperedError:
    return TamperedError("the log's proof does not hold", code="log.proof")
