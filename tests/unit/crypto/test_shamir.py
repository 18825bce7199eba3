"""Shares: enough give the secret, fewer and others give an error."""

from __future__ import annotations

import pytest
from shamir_mnemonic import generate_mnemonics

from cloister.crypto.shamir import combine_shares, split_secret, threshold_of
from cloister.errors import CallerError, ReleaseDeniedError

SECRET = bytes(range(32))


def error() -> ReleaseDeniedError:
    """What the caller wants raised."""
    return ReleaseDeniedError("no", code="recovery.share")


def refused(shares: list[str]) -> None:
    """Expect the caller's error."""
    with pytest.raises(ReleaseDeniedError) as e:
        combine_shares(shares, error=error())
    assert e.value.code == "recovery.share"


@pytest.mark.spec("BR-22")
@pytest.mark.parametrize(("threshold", "count"), [(2, 2), (2, 3), (3, 5), (16, 16)])
def test_any_that_are_enough_give_the_secret(threshold: int, count: int) -> None:
    """And each says how many are needed."""
    shares = split_secret(SECRET, threshold=threshold, count=count)
    assert len(set(shares)) == count
    assert combine_shares(shares[:threshold], error=error()) == SECRET
    assert combine_shares(shares[-threshold:], error=error()) == SECRET
    assert threshold_of(shares[0], error=error()) == threshold


@pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 3), (4, 3), (2, 17), (0, 2)])
def test_what_cannot_be_split_is_refused(threshold: int, count: int) -> None:
    """One share alone would be the secret."""
    with pytest.raises(CallerError):
        split_secret(SECRET, threshold=threshold, count=count)


@pytest.mark.spec("BR-28")
def test_too_few_mixed_and_changed_shares_give_nothing() -> None:
    """Whatever else is given."""
    shares = split_secret(SECRET, threshold=3, count=5)
    other = split_secret(SECRET, threshold=3, count=5)
    words = shares[0].split()
    words[10], words[11] = words[11], words[10]
    refused(shares[:2])
    refused([shares[0], shares[0], shares[1]])
    refused([*shares[:2], other[2]])
    refused([*shares[1:3], " ".join(words)])
    refused([])
    refused(["no share at all"])
    refused([""])


@pytest.mark.spec("BR-29")
def test_a_share_that_asks_for_work_is_refused_before_it() -> None:
    """As are groups, which nobody here makes."""
    [slow] = generate_mnemonics(1, [(2, 2)], SECRET, iteration_exponent=1)
    refused(list(slow))
    groups = generate_mnemonics(2, [(2, 2), (2, 2)], SECRET, iteration_exponent=0)
    refused([share for group in groups for share in group])
