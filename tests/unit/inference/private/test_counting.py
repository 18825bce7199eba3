"""What a query costs."""

import pytest

from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.inference.private import counting
from cloister.inference.private.counting import BudgetCounter, RateCounter


@pytest.mark.spec("PQ-44")
def test_a_rate_for_each_asker() -> None:
    """As many at once as in a minute; then as time goes by, for that asker alone."""
    count = RateCounter(6)
    for _ in range(6):
        count("alice", 100)
    with pytest.raises(UnavailableError) as found:
        count("alice", 109)
    assert found.value.code == "server.busy"
    count("bob", 109)
    count("alice", 110)
    with pytest.raises(UnavailableError):
        count("alice", 110)
    with pytest.raises(UnavailableError):
        count("alice", 50)


def test_the_memory_of_rates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One asker too many waits until another has rested."""
    monkeypatch.setattr(counting, "_MOST_ASKERS", 2)
    count = RateCounter(1)
    count("alice", 100)
    count("bob", 130)
    with pytest.raises(UnavailableError):
        count("carol", 159)
    count("carol", 160)


@pytest.mark.spec("PQ-44")
def test_a_budget_is_spent_in_the_askers_name() -> None:
    """One unit each; a refusal of the key service is the answer."""
    spent: list[tuple[str, str, int]] = []

    def spend(budget: str, principal: str, amount: int) -> int:
        spent.append((budget, principal, amount))
        if len(spent) > 1:
            raise ReleaseDeniedError("none is left", code="budget.spent")
        return 0

    count = BudgetCounter("queries", spend)
    count("alice", 100)
    with pytest.raises(ReleaseDeniedError) as found:
        count("alice", 101)
    assert found.value.code == "budget.spent"
    assert spent == [("queries", "alice", 1)] * 2
