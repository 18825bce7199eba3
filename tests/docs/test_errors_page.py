"""docs/spec/errors.md and `cloister.errors.CODES` are one list."""

from __future__ import annotations

import re
from typing import Final

from cloister.errors import CODES, CloisterError
from docs.pages import ROOT

_ROW: Final = re.compile(r"^\| `([a-z0-9.-]+)` \| (\w+) \| (\d+) \| (.+) \|$", re.MULTILINE)
PAGE: Final = ROOT / "docs" / "spec" / "errors.md"


def test_the_page_lists_what_the_code_has() -> None:
    """Code, class and exit status agree, in the same order, and nothing is missing or extra."""
    listed = {
        code: (kind, int(status)) for code, kind, status, _ in _ROW.findall(PAGE.read_text("utf-8"))
    }
    known = {code: (kind.__name__, kind.exit_status) for code, kind in CODES.items()}
    lacking = [
        f"| `{code}` | {kind} | {status} | what it means. |"
        for code, (kind, status) in known.items()
        if code not in listed
    ]
    assert not lacking, "add to docs/spec/errors.md:\n" + "\n".join(lacking)
    assert listed == known


def test_every_code_is_explained() -> None:
    """Each code has a sentence."""
    short = [row[0] for row in _ROW.findall(PAGE.read_text("utf-8")) if not row[3].endswith(".")]
    assert short == []


def test_exit_statuses_tell_families_apart() -> None:
    """Exit statuses stay between 64 and 95, clear of the shell's own and of signals."""
    assert all(64 <= kind.exit_status <= 95 for kind in set(CODES.values()))
    assert CloisterError.exit_status == 70
