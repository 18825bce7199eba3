"""Proofs from nodes in memory."""

from __future__ import annotations

import pytest

from cloister.errors import ReleaseDeniedError
from cloister.keyservice import proofs as module
from cloister.keyservice.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of_leaves,
)
from cloister.keyservice.proofs import Proofs

LEAVES = [leaf_hash(bytes([number])) for number in range(21)]


def test_proofs_are_those_of_the_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """For every size and every entry, however the leaves came in."""
    monkeypatch.setattr(module, "_BATCH", 4)
    proofs = Proofs(lambda first, count: LEAVES[first : first + count])
    for size in range(1, len(LEAVES) + 1):
        assert proofs.root(size) == root_of_leaves(LEAVES[:size])
        for index in range(size):
            assert proofs.inclusion(index, size) == inclusion_proof(LEAVES[:size], index)
            assert proofs.consistency(index + 1, size) == consistency_proof(
                LEAVES[:size], index + 1
            )


def test_leaves_are_read_once() -> None:
    """What was read is kept; what is added is read when it is needed."""
    asked: list[int] = []
    log = LEAVES[:5]

    def leaves(first: int, count: int) -> list[bytes]:
        asked.append(first)
        return log[first : first + count]

    proofs = Proofs(leaves)
    for _ in range(3):
        proofs.inclusion(0, 5)
    log.append(LEAVES[5])
    proofs.inclusion(0, 6)
    assert asked == [0, 5]


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5), (0, 6)])
def test_no_such_entry(index: int, size: int) -> None:
    """Outside the log."""
    with pytest.raises(ReleaseDeniedError) as e:
        Proofs(lambda first, count: LEAVES[:5][first : first + count]).inclusion(index, size)
    assert e.value.code == "log.unknown"


@pytest.mark.parametrize(("old", "new"), [(0, 5), (5, 4), (1, 6)])
def test_no_such_size(old: int, new: int) -> None:
    """A size that the log never had, or the wrong way round."""
    with pytest.raises(ReleaseDeniedError) as e:
        Proofs(lambda first, count: LEAVES[:5][first : first + count]).consistency(old, new)
    assert e.value.code == "log.unknown"
