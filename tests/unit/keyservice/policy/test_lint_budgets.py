"""What lint finds in budgets."""

from __future__ import annotations

import pytest

from cloister.keyservice.policy.lint import lint_text
from cloister.testing.policies import sample_text


def found(principals: str) -> list[tuple[str, str]]:
    """What lint says about a budget of these principals."""
    rule = f"{{limit: 1, principals: {principals}, roles: [serve]}}"
    data = f"{sample_text()}\nbudgets:\n  queries: {rule}\n".encode()
    findings = lint_text(data, source="p.yaml")
    assert all(finding.line > 1 for finding in findings)
    return [(f.severity, f.path) for f in findings if f.code == "lint.budget-any"]


@pytest.mark.spec("POL-72")
def test_principals_that_nobody_named_are_a_warning() -> None:
    """Several names have the limit several times."""
    assert found("any") == [("warning", "budgets.queries.principals")]
    assert found("[alice]") == []
