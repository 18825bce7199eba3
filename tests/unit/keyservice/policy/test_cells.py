"""The word that lets a workload make cells: what it changes, and who says it aloud."""

from __future__ import annotations

import pytest

from cloister.keyservice.policy.canonical import policy_hash
from cloister.keyservice.policy.description import describe
from cloister.keyservice.policy.difference import compare
from cloister.keyservice.policy.lint import lint_text
from cloister.keyservice.policy.reader import parse_policy
from cloister.testing.networks import networked_policy, networked_text

pytestmark = pytest.mark.spec("POL-95")
_PLACE = "    egress: {mlflow"
ALLOWED = (_PLACE, "    cells: allowed\n" + _PLACE)


def test_the_word_is_weaker_and_its_absence_stricter() -> None:
    """A workload with more of the kernel is more than there was; another hash as well."""
    without, allowed = networked_policy(), networked_policy(ALLOWED)
    assert {each.path: each.effect for each in compare(without, allowed)} == {
        "workloads.chief.cells": "weaker"
    }
    assert [each.effect for each in compare(allowed, without)] == ["stricter"]
    assert policy_hash(allowed) != policy_hash(without)
    assert without.workloads["chief"].cells is None
    assert allowed.workloads["worker"].cells is None


@pytest.mark.spec("POL-73")
def test_it_is_noted_and_described() -> None:
    """Lint notes it at its line, and the description marks it as an open end."""
    text = networked_text(ALLOWED)
    (finding,) = (f for f in lint_text(text.encode(), source="p") if f.code == "lint.cells")
    assert (finding.severity, finding.path) == ("note", "workloads.chief.cells")
    assert text.splitlines()[finding.line - 1].strip() == "cells: allowed"
    rows = [row for part in describe(parse_policy(text.encode(), source="p")) for row in part.rows]
    assert [row.open_end for row in rows if row.label == "cells"] == [True]
