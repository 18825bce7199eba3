"""Every promise of THREAT-MODEL.md names its tests, and every attack belongs to a promise."""

from __future__ import annotations

import re
from typing import Final

from docs.pages import ROOT

_ROW: Final = re.compile(r"^\| \*\*P(\d+)\*\* \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
PAGE: Final = (ROOT / "THREAT-MODEL.md").read_text("utf-8")


def test_promises_are_numbered_without_gaps() -> None:
    """Promises are P1, P2, ... in order."""
    assert [int(row[0]) for row in _ROW.findall(PAGE)] == list(range(1, PAGE.count("| **P") + 1))


def test_each_promise_names_tests_that_exist() -> None:
    """A promise links files below tests/, or says that it has none yet."""
    for number, _, _, shown in _ROW.findall(PAGE):
        files = re.findall(r"\]\((tests/[^)]+)\)", shown)
        assert files or shown == "no test yet", f"P{number} names no test"
        assert [file for file in files if not (ROOT / file).is_file()] == [], f"P{number}"


def test_each_attack_belongs_to_a_promise() -> None:
    """Each file of tests/attack is named by a promise."""
    attacks = [f"tests/attack/{path.name}" for path in (ROOT / "tests/attack").glob("test_*.py")]
    assert [file for file in attacks if file not in PAGE] == []
