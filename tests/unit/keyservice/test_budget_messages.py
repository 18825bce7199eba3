"""Demands and outcomes as they are sealed."""

from __future__ import annotations

import pytest

from cloister.errors import CloisterError, MalformedError, ReleaseDeniedError
from cloister.keyservice import budget_messages as messages
from cloister.keyservice.budget_messages import (
    DEMAND_BYTES,
    MAX_AMOUNT,
    SEALED_DEMAND_BYTES,
    SEALED_OUTCOME_BYTES,
    SpendDemand,
    SpendOutcome,
    padded,
    unpadded,
)
from cloister.wire import encode

SECRET, NONCE = b"s" * 32, b"n" * 32


@pytest.mark.spec("MEM-70", "MEM-71")
@pytest.mark.parametrize(
    "demand",
    [
        SpendDemand(1, "queries", "alice", 1),
        SpendDemand(2**53, "q" * 64, "a" * 255, MAX_AMOUNT),
        SpendDemand(7, "q", "spiffe://x/a:b@c+d", 0),
    ],
)
def test_a_demand_has_one_size_whatever_it_says(demand: SpendDemand) -> None:
    """And comes back as it was."""
    sealed = demand.sealed(SECRET, NONCE)
    assert len(sealed) == SEALED_DEMAND_BYTES
    assert SpendDemand.opened(sealed, SECRET, NONCE) == demand
    assert demand.principal.encode() not in sealed


@pytest.mark.spec("MEM-71")
@pytest.mark.parametrize(
    ("number", "budget", "principal", "amount"),
    [
        (0, "q", "a", 1),
        (1, "", "a", 1),
        (1, "a/b", "a", 1),
        (1, "q", "", 1),
        (1, "q", "a b", 1),
        (1, "q", "a\n", 1),
        (1, "q", "-a", 1),
        (1, "q", "ä", 1),
        (1, "q", "a" * 256, 1),
        (1, "q", "a", -1),
        (1, "q", "a", MAX_AMOUNT + 1),
    ],
)
def test_what_cannot_be_meant_is_no_demand(
    number: int, budget: str, principal: str, amount: int
) -> None:
    """Names are plain, and amounts within bounds."""
    with pytest.raises(MalformedError):
        SpendDemand(number, budget, principal, amount)


@pytest.mark.spec("MEM-70", "MEM-72")
def test_another_membership_request_or_direction_opens_nothing() -> None:
    """Each has its own key."""
    sealed = SpendDemand(1, "q", "a", 1).sealed(SECRET, NONCE)
    flipped = bytes((sealed[0] ^ 1,)) + sealed[1:]
    for data, secret, nonce in (
        (sealed, b"t" * 32, NONCE),
        (sealed, SECRET, b"m" * 32),
        (flipped, SECRET, NONCE),
        (sealed[:-1], SECRET, NONCE),
        (b"", SECRET, NONCE),
    ):
        with pytest.raises(MalformedError):
            SpendDemand.opened(data, secret, nonce)
    answer = SpendOutcome(3).sealed(SECRET, NONCE)
    with pytest.raises(MalformedError):
        SpendDemand.opened(answer, SECRET, NONCE)
    with pytest.raises(MalformedError):
        SpendOutcome.opened(sealed, SECRET, NONCE)
    with pytest.raises(MalformedError):
        SpendOutcome.opened(answer, SECRET, b"m" * 32)


@pytest.mark.spec("MEM-72", "MEM-73")
@pytest.mark.parametrize(
    "outcome", [SpendOutcome(0), SpendOutcome(MAX_AMOUNT), SpendOutcome(3, "budget.spent")]
)
def test_an_outcome_has_one_size_yes_or_no(outcome: SpendOutcome) -> None:
    """So who watches cannot tell them apart."""
    sealed = outcome.sealed(SECRET, NONCE)
    assert len(sealed) == SEALED_OUTCOME_BYTES
    assert SpendOutcome.opened(sealed, SECRET, NONCE) == outcome


@pytest.mark.spec("MEM-73")
@pytest.mark.parametrize(
    "code", ["budget.spent", "budget.unknown", "budget.principal", "budget.order"]
)
def test_a_refusal_is_raised_by_its_code(code: str) -> None:
    """What was spent tells what is left."""
    assert SpendOutcome(4).require_spent() == 4
    with pytest.raises(ReleaseDeniedError) as e:
        SpendOutcome(4, code).require_spent()
    assert e.value.code == code
    assert len(e.value.public) > 20


def test_an_outcome_that_cannot_be_is_none() -> None:
    """Less than nothing, and a code that there is not."""
    for left, code in ((-1, ""), (0, "budget.who-knows")):
        with pytest.raises(CloisterError):
            SpendOutcome(left, code)


@pytest.mark.spec("MEM-70")
def test_filling_up_is_exact() -> None:
    """One form for each content: a length, the content, zeros."""
    assert padded(b"ab", 6) == b"\0\x02ab\0\0"
    assert unpadded(padded(b"ab", 6), 6) == b"ab"
    assert unpadded(padded(b"", 2), 2) == b""
    with pytest.raises(MalformedError):
        padded(b"abcde", 6)
    for wrong in (b"", b"\0", b"\0\x02ab\0", b"\0\x02ab\0\0\0", b"\0\x02ab\0\x01", b"\0\x09ab\0\0"):
        with pytest.raises(MalformedError):
            unpadded(wrong, 6)


@pytest.mark.spec("MEM-70", "MEM-71")
def test_what_is_sealed_is_read_strictly() -> None:
    """A member that seals something else is refused like any other sender."""
    good = {"number": 1, "budget": "q", "principal": "a", "amount": 1}
    key = messages._key(SECRET, NONCE, messages.DEMAND_LABEL)
    for value in (
        good | {"more": 1},
        {name: value for name, value in good.items() if name != "amount"},
        good | {"amount": "1"},
        good | {"number": 0},
        good | {"principal": "a b"},
    ):
        sealed = key.seal_random(padded(encode(value), DEMAND_BYTES), messages.DEMAND_LABEL)
        with pytest.raises(MalformedError):
            SpendDemand.opened(sealed, SECRET, NONCE)
