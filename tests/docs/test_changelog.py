"""Changelog fragments have names that the release understands, and say something."""

from __future__ import annotations

import re
from typing import Final

from docs.pages import ROOT

_NAME: Final = re.compile(
    r"[a-z0-9]+(-[a-z0-9]+)*\.(security|format|added|changed|fixed|removed)\.md"
)


def test_fragments_have_valid_names() -> None:
    """A fragment is `<words-with-dashes>.<kind>.md`."""
    folder = ROOT / "changelog.d"
    wrong = [
        path.name
        for path in folder.iterdir()
        if path.name != ".gitignore" and not _NAME.fullmatch(path.name)
    ]
    assert wrong == []


def test_fragments_are_sentences() -> None:
    """A fragment begins with a capital or code, and ends with a full stop."""
    texts = {
        path.name: path.read_text("utf-8").strip() for path in (ROOT / "changelog.d").glob("*.md")
    }
    wrong = [
        name
        for name, text in texts.items()
        if not text.endswith(".") or not re.match(r"[A-Z`]", text)
    ]
    assert wrong == []
