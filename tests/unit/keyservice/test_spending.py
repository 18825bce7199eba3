"""Whether an amount may be spent."""

from __future__ import annotations

import pytest

from cloister.errors import ReleaseDeniedError
from cloister.keyservice.budget_messages import SpendDemand
from cloister.keyservice.policy.budget_rules import BudgetRule
from cloister.keyservice.spending import MAX_PRINCIPALS, left_after, require_rule

NAMED = BudgetRule(limit=10, principals=("alice", "bob"), roles=("serve",))
ANYBODY = BudgetRule(limit=10, principals="any", roles=("serve", "train"))
BUDGETS = {"queries": NAMED, "open": ANYBODY}


def demand(budget: str = "queries", principal: str = "alice", amount: int = 1) -> SpendDemand:
    """The first of a membership."""
    return SpendDemand(1, budget, principal, amount)


@pytest.mark.spec("MEM-77")
def test_the_policy_says_which_role_spends_what_in_whose_name() -> None:
    """By the budget's own lists."""
    assert require_rule(BUDGETS, demand(), role="serve") is NAMED
    assert require_rule(BUDGETS, demand("open", "eve"), role="train") is ANYBODY
    for wanted, role, code in (
        (demand("other"), "serve", "budget.unknown"),
        (demand(), "train", "budget.unknown"),
        (demand(principal="eve"), "train", "budget.unknown"),
        (demand(principal="eve"), "serve", "budget.principal"),
    ):
        with pytest.raises(ReleaseDeniedError) as e:
            require_rule(BUDGETS, wanted, role=role)
        assert e.value.code == code
    with pytest.raises(ReleaseDeniedError):
        require_rule(None, demand(), role="serve")


@pytest.mark.spec("MEM-77")
@pytest.mark.parametrize(
    ("spent", "amount", "left"),
    [(0, 0, 10), (0, 10, 0), (0, 1, 9), (9, 1, 0), (10, 0, 0), (0, 11, None),
     (9, 2, None), (10, 1, None), (11, 0, None), (99, 1, None)],
)  # fmt: skip
def test_the_limit_is_never_passed(spent: int, amount: int, left: int | None) -> None:
    """Also where a newer policy has lowered it below what was spent."""
    wanted = demand(amount=amount)
    if left is not None:
        assert left_after(NAMED, wanted, spent=spent, known=0) == left
        return
    with pytest.raises(ReleaseDeniedError) as e:
        left_after(NAMED, wanted, spent=spent, known=0)
    assert e.value.code == "budget.spent"


@pytest.mark.spec("MEM-78")
def test_so_many_names_are_counted() -> None:
    """One more is refused; those that are known go on."""
    assert left_after(ANYBODY, demand(), spent=0, known=MAX_PRINCIPALS - 1) == 9
    assert left_after(ANYBODY, demand(), spent=1, known=0) == 8
    with pytest.raises(ReleaseDeniedError) as e:
        left_after(ANYBODY, demand(), spent=0, known=MAX_PRINCIPALS)
    assert e.value.code == "budget.principal"
