"""Proofs from stored nodes are the ordinary proofs, and read few nodes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloister.errors import LocalProtocolError
from cloister.keyservice import merkle
from cloister.keyservice.nodes import (
    new_nodes,
    node_count,
    node_position,
    peaks_of,
    prove_consistency,
    prove_inclusion,
    root_of,
)


class NodeFile:
    """The nodes of a growing log in one append-only sequence, counting what is read."""

    def __init__(self, leaves: Sequence[bytes] = ()) -> None:
        """Append `leaves` one after another."""
        self.nodes: list[bytes] = []
        self.size = 0
        self.reads = 0
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        """Add a leaf and what it completes, where `node_position` says."""
        for node in new_nodes(self.size, leaf, peaks_of(self.size, self.read)):
            assert node_position(node.level, node.index) == len(self.nodes)
            self.nodes.append(node.hash)
        self.size += 1

    def read(self, level: int, index: int) -> bytes:
        """Return a node that is there."""
        self.reads += 1
        return self.nodes[node_position(level, index)]


def leaves_of(count: int) -> list[bytes]:
    """Leaf hashes that all differ."""
    return [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


LEAVES = leaves_of(70)


@pytest.mark.spec("RL-7")
@pytest.mark.parametrize("size", range(1, 35))
def test_every_proof_is_the_one_from_all_leaves(size: int) -> None:
    """Root, peaks, each leaf and each earlier size, of each tree that a longer file holds."""
    file = NodeFile(LEAVES[:40])
    leaves = LEAVES[:size]
    assert root_of(size, file.read) == merkle.root_of_leaves(leaves)
    assert merkle.root_of_peaks(peaks_of(size, file.read)) == merkle.root_of_leaves(leaves)
    for number in range(size):
        assert prove_inclusion(number, size, file.read) == merkle.inclusion_proof(leaves, number)
        old = number + 1
        assert prove_consistency(old, size, file.read) == merkle.consistency_proof(leaves, old)


@settings(max_examples=40)
@given(st.integers(1, 5000), st.data())
def test_proofs_read_a_logarithm_of_nodes(size: int, data: st.DataObject) -> None:
    """However large the log; and the proofs hold."""
    leaves = leaves_of(size)
    file = NodeFile(leaves)
    assert len(file.nodes) == node_count(size) < 2 * size
    root = root_of(size, file.read)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    limit = 2 * size.bit_length()
    file.reads = 0
    proof = prove_inclusion(index, size, file.read)
    assert file.reads <= limit
    merkle.verify_inclusion(leaf=leaves[index], index=index, size=size, proof=proof, root=root)
    file.reads = 0
    proof = prove_consistency(old, size, file.read)
    assert file.reads <= limit
    merkle.verify_consistency(
        old_size=old, old_root=root_of(old, file.read), size=size, root=root, proof=proof
    )


@settings(max_examples=20)
@given(st.lists(st.integers(0, 2**32), min_size=1, max_size=300))
def test_peaks_are_those_of_appending(numbers: list[int]) -> None:
    """A store that opens finds the peaks that it had when it closed."""
    peaks: tuple[bytes, ...] = ()
    file = NodeFile()
    for size, number in enumerate(numbers):
        leaf = merkle.leaf_hash(number.to_bytes(5, "big"))
        peaks = merkle.append(peaks, size, leaf)
        file.append(leaf)
        assert peaks_of(size + 1, file.read) == peaks


def test_the_empty_tree_has_no_nodes() -> None:
    """Nothing is read for it."""
    file = NodeFile()
    assert node_count(0) == 0
    assert peaks_of(0, file.read) == ()
    assert root_of(0, file.read) == merkle.EMPTY_ROOT
    assert file.reads == 0


def test_impossible_questions_are_our_bug() -> None:
    """A leaf or tree that does not exist has no proof, and peaks fit their size."""
    file = NodeFile(LEAVES[:4])
    for attempt in (
        lambda: prove_inclusion(4, 4, file.read),
        lambda: prove_inclusion(-1, 4, file.read),
        lambda: prove_consistency(0, 4, file.read),
        lambda: prove_consistency(5, 4, file.read),
        lambda: new_nodes(4, LEAVES[4], ()),
    ):
        with pytest.raises(LocalProtocolError) as e:
            attempt()
        assert e.value.code == "protocol.local"
