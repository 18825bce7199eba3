"""What a policy says of budgets, and who may spend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.keyservice.policy import canonical_bytes, parse_policy, policy_from_canonical
from cloister.keyservice.policy.budget_rules import BudgetRule
from cloister.keyservice.policy.budgets import may_spend
from cloister.keyservice.policy.description import describe
from cloister.keyservice.policy.difference import compare
from cloister.keyservice.policy.draft import draft_policy
from cloister.keyservice.policy.model import Policy
from cloister.keyservice.policy.reader import diagnose
from cloister.testing.policies import sample_draft, sample_policy, sample_text

QUERIES = "{limit: 100, principals: [alice, bob], roles: [serve]}"


def text(budgets: str) -> str:
    """The sample with budgets."""
    return f"{sample_text()}\nbudgets:\n{budgets}"


def policy(*rules: str) -> Policy:
    """The sample with budgets `queries`, `second` ..."""
    names = ("queries", "second", "third")
    lines = [f"  {name}: {rule}\n" for name, rule in zip(names, rules, strict=False)]
    return parse_policy(text("".join(lines)).encode(), source="p.yaml")


@pytest.mark.spec("POL-87", "POL-42")
def test_the_words_are_read_from_text_and_from_canonical_bytes() -> None:
    """Both forms give the same rules, and without the word nothing is there."""
    found = policy(QUERIES, "{limit: 7, principals: any, roles: [serve, train]}")
    assert policy_from_canonical(canonical_bytes(found)).budgets == found.budgets
    assert found.budgets == {
        "queries": BudgetRule(limit=100, principals=("alice", "bob"), roles=("serve",)),
        "second": BudgetRule(limit=7, principals="any", roles=("serve", "train")),
    }
    assert b"budgets" not in canonical_bytes(sample_policy())


@pytest.mark.spec("POL-87")
def test_who_is_named_may_spend() -> None:
    """By any budget; nobody where there is none."""
    found = policy(QUERIES)
    assert may_spend(found, "serve")
    assert not may_spend(found, "train")
    assert not may_spend(sample_policy(), "serve")


@pytest.mark.spec("POL-87")
@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("{limit: 0, principals: any, roles: [serve]}", "limit"),
        ("{limit: 1000000000000001, principals: any, roles: [serve]}", "limit"),
        ("{limit: {unchecked: there is no end}, principals: any, roles: [serve]}", "limit"),
        ("{limit: 1, principals: [], roles: [serve]}", "principals"),
        ("{limit: 1, principals: all, roles: [serve]}", "principals"),
        ("{limit: 1, principals: [alice, alice], roles: [serve]}", "principals[1]"),
        ("{limit: 1, principals: [a b], roles: [serve]}", "principals[0]"),
        ("{limit: 1, principals: [-a], roles: [serve]}", "principals[0]"),
        ("{limit: 1, principals: any, roles: []}", "roles"),
        ("{limit: 1, principals: any, roles: [nobody]}", "roles[0]"),
        ("{limit: 1, principals: any}", ""),
        ("{limit: 1, roles: [serve]}", ""),
        ("{principals: any, roles: [serve]}", ""),
        ("{limit: 1, principals: any, roles: [serve], each: day}", "each"),
    ],
)
def test_what_is_no_budget_is_refused(rule: str, path: str) -> None:
    """With its place."""
    problems = diagnose(text(f"  queries: {rule}\n").encode(), source="p.yaml").problems
    assert problems[0].path == ("budgets.queries" + (f".{path}" if path else ""))


@pytest.mark.spec("POL-87")
def test_no_budgets_are_left_out() -> None:
    """An empty map is refused."""
    problems = diagnose(f"{sample_text()}\nbudgets: {{}}\n".encode(), source="p.yaml").problems
    assert [problem.path for problem in problems] == ["budgets"]


@pytest.mark.spec("POL-88")
def test_a_listener_of_who_spends_is_not_called_desk() -> None:
    """The descriptor by which it spends is; elsewhere the name is free."""
    named = text(f"  queries: {QUERIES}\n").replace('"rest":', "desk:").replace("rest:", "desk:")
    assert "desk:" in named
    problems = diagnose(named.encode(), source="p.yaml").problems
    assert [problem.path for problem in problems] == ["workloads.serve.listen.desk"]
    free = named.replace("roles: [serve]", "roles: [train]")
    assert diagnose(free.encode(), source="p.yaml").policy is not None


@pytest.mark.spec("POL-89")
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (QUERIES, QUERIES.replace("100", "101"), {"limit": "weaker"}),
        (QUERIES, QUERIES.replace("100", "99"), {"limit": "stricter"}),
        (QUERIES, QUERIES.replace("[serve]", "[serve, train]"), {"roles[train]": "weaker"}),
        (QUERIES, QUERIES.replace("bob", "bob, eve"), {"principals[eve]": "weaker"}),
        (QUERIES.replace("bob", "bob, eve"), QUERIES, {"principals[eve]": "stricter"}),
        (
            QUERIES,
            QUERIES.replace("[alice, bob]", "any"),
            {
                "principals": "weaker",
                "principals[alice]": "weaker",
                "principals[bob]": "weaker",
            },
        ),
        (
            QUERIES.replace("[alice, bob]", "any"),
            QUERIES,
            {
                "principals": "stricter",
                "principals[alice]": "stricter",
                "principals[bob]": "stricter",
            },
        ),
    ],
)
def test_more_to_spend_is_weaker(old: str, new: str, expected: dict[str, str]) -> None:
    """Whoever approves sees which way a change goes."""
    found = compare(policy(old), policy(new))
    assert {change.path: change.effect for change in found} == {
        f"budgets.queries.{path}": effect for path, effect in expected.items()
    }


@pytest.mark.spec("POL-89")
def test_another_name_for_a_budget_is_weaker() -> None:
    """It would be a counter that begins again, so it cannot pass for nothing."""
    other = parse_policy(text(f"  questions: {QUERIES}\n").encode(), source="p.yaml")
    found = {change.path: change.effect for change in compare(policy(QUERIES), other)}
    assert found["budgets.questions.limit"] == "weaker"
    assert found["budgets.queries.limit"] == "stricter"
    added = {change.effect for change in compare(sample_policy(), policy(QUERIES))}
    assert added == {"weaker"}


@pytest.mark.spec("POL-74")
def test_a_draft_says_its_budgets() -> None:
    """What was written is read again."""
    rules = {
        "queries": BudgetRule(limit=100, principals=("alice", "ed25519:00"), roles=("serve",)),
        "more.of-it": BudgetRule(limit=1, principals="any", roles=("train",)),
    }
    written = draft_policy(replace(sample_draft(), budgets=rules))
    assert parse_policy(written.encode(), source="draft").budgets == rules


def test_a_description_says_who_may_spend_what() -> None:
    """And marks what is open."""
    sections = describe(policy(QUERIES, "{limit: 7, principals: any, roles: [serve, train]}"))
    (section,) = (each for each in sections if each.title == "Budgets")
    assert [(row.label, row.value, row.open_end) for row in section.rows] == [
        ("queries", "at most 100 in each of alice, bob, ever; spent by serve", False),
        ("second", "at most 7 in any name, ever; spent by serve, train", True),
    ]
    assert "Budgets" not in {each.title for each in describe(sample_policy())}
