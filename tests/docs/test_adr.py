"""Decisions have one form, and their numbers have no gaps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from docs.pages import ROOT

RECORDS: Final = sorted((ROOT / "docs" / "adr").glob("*.md"))
HEADINGS: Final = [
    "Context",
    "Options",
    "Decision",
    "Consequences",
    "What an attacker gains or loses",
]


def test_numbers_have_no_gaps() -> None:
    """Records are numbered from 1 without gaps or doubles."""
    assert [path.name[:4] for path in RECORDS] == [f"{n:04}" for n in range(1, len(RECORDS) + 1)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_the_form(record: Path) -> None:
    """A record is short, titled with its number, and has the five headings in order."""
    text = record.read_text("utf-8")
    assert re.fullmatch(r"\d{4}(-[a-z0-9]+)+\.md", record.name)
    assert text.startswith(f"# {record.name[:4]}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert text.count("\n") < 80
