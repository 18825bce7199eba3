"""Words about budgets as they are typed."""

from __future__ import annotations

import pytest

from cloister.cli.draft_budgets import budgets_from_words
from cloister.errors import ConfigError
from cloister.keyservice.policy.budget_rules import BudgetRule

ROLES = ("query", "train")


def test_words_become_budgets() -> None:
    """For the workloads that are named, or for all."""
    assert budgets_from_words((), ROLES) is None
    assert budgets_from_words(
        ("queries=1000/alice,spiffe://x/y", "query:more=7/any", "query,train:last=1/bob"), ROLES
    ) == {
        "queries": BudgetRule(limit=1000, principals=("alice", "spiffe://x/y"), roles=ROLES),
        "more": BudgetRule(limit=7, principals="any", roles=("query",)),
        "last": BudgetRule(limit=1, principals=("bob",), roles=ROLES),
    }


@pytest.mark.parametrize(
    "words",
    [
        ("queries",),
        ("queries=10",),
        ("queries=/alice",),
        ("queries=ten/alice",),
        ("queries=-1/alice",),
        ("queries=\u0661/alice",),
        ("queries=" + "1" * 19 + "/alice",),
        ("=1/alice",),
        ("query:=1/alice",),
        ("queries=1/alice", "query:queries=2/bob"),
    ],
)
def test_words_that_cannot_be_read_are_refused(words: tuple[str, ...]) -> None:
    """With what to write."""
    with pytest.raises(ConfigError) as e:
        budgets_from_words(words, ROLES)
    assert e.value.code == "config.value"
    assert "alice,bob" in (e.value.hint or "")
