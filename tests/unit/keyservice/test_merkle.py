"""The Merkle tree agrees with RFC 9162 and with known values."""

import hashlib

import pytest

from cloister.errors import LocalProtocolError, TamperedError
from cloister.keyservice import merkle

# The eight leaves and the roots that implementations of RFC 6962 and 9162 are tested with.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


@pytest.mark.spec("KR-61", "RL-5", "RL-6")
@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_the_published_ones(size: int) -> None:
    """Eight trees that other implementations share."""
    assert merkle.root_of_leaves(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    """RFC 9162, 2.1.1."""
    assert merkle.root_of_peaks(()) == hashlib.sha256(b"").digest()


@pytest.mark.spec("KR-61", "RL-5", "RL-6")
@pytest.mark.parametrize("size", range(1, 18))
def test_every_inclusion_proof_holds_and_no_other_does(size: int) -> None:
    """Each leaf at its place, and only there."""
    leaves = [merkle.leaf_hash(bytes([i])) for i in range(size)]
    root = merkle.root_of_leaves(leaves)
    for index, leaf in enumerate(leaves):
        proof = merkle.inclusion_proof(leaves, index)
        merkle.verify_inclusion(leaf=leaf, index=index, size=size, proof=proof, root=root)
        for wrong in (
            {"index": (index + 1) % (size + 1)},
            {"leaf": b"x" * 32},
            {"root": b"y" * 32},
        ):
            facts = {"leaf": leaf, "index": index, "size": size, "proof": proof, "root": root}
            with pytest.raises(TamperedError) as e:
                merkle.verify_inclusion(**facts | wrong)
            assert e.value.code == "log.proof"
        for bad in ((*proof, b"z" * 32), proof[:-1] if proof else (b"z" * 32,), (b"short",)):
            with pytest.raises(TamperedError):
                merkle.verify_inclusion(leaf=leaf, index=index, size=size, proof=bad, root=root)


@pytest.mark.spec("KR-64", "RL-6")
@pytest.mark.parametrize("size", range(1, 18))
def test_every_consistency_proof_holds_and_no_other_does(size: int) -> None:
    """Each older tree is a prefix, and a changed one is not."""
    leaves = [merkle.leaf_hash(bytes([i])) for i in range(size)]
    root = merkle.root_of_leaves(leaves)
    for old in range(1, size + 1):
        facts = {
            "old_size": old,
            "old_root": merkle.root_of_leaves(leaves[:old]),
            "size": size,
            "root": root,
            "proof": merkle.consistency_proof(leaves, old),
        }
        merkle.verify_consistency(**facts)
        for wrong in (
            {"old_root": b"x" * 32},
            {"root": b"y" * 32},
            {"proof": (*facts["proof"], b"z" * 32)},
            {"old_size": 0},
            {"old_size": size + 1},
        ):
            with pytest.raises(TamperedError) as e:
                merkle.verify_consistency(**facts | wrong)
            assert e.value.code == "log.proof"


def test_the_newest_leafs_proof_needs_only_peaks() -> None:
    """What the service computes while appending is the ordinary proof."""
    peaks: tuple[bytes, ...] = ()
    leaves: list[bytes] = []
    for size in range(40):
        leaf = merkle.leaf_hash(bytes([size]))
        proof = merkle.newest_leaf_proof(peaks)
        peaks = merkle.append(peaks, size, leaf)
        leaves.append(leaf)
        assert proof == merkle.inclusion_proof(leaves, size)
        assert merkle.root_of_peaks(peaks) == merkle.root_of_leaves(leaves)


def test_impossible_questions_are_our_bug() -> None:
    """A leaf or tree that does not exist has no proof."""
    with pytest.raises(LocalProtocolError):
        merkle.inclusion_proof(LEAVES, 8)
    with pytest.raises(LocalProtocolError):
        merkle.consistency_proof(LEAVES, 0)
    with pytest.raises(LocalProtocolError):
        merkle.append((), 1, LEAVES[0])
