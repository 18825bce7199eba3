"""The documents of the repository, found once for all tests of this folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

__all__ = ["PAGES", "ROOT", "anchors", "fenced_blocks"]

ROOT: Final = Path(__file__).parents[2]
_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_NOT_OURS: Final = (".venv", "build", "dist", "examples/foreign", ".git")

PAGES: Final = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not str(path.relative_to(ROOT)).startswith(_NOT_OURS) and "changelog.d" not in path.parts
)


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """Return language and content of each fenced block."""
    return _FENCE.findall(text)


def anchors(text: str) -> set[str]:
    """Return the fragment names that a page's headings make, as forges compute them."""
    plain = _FENCE.sub("", text)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(plain))
    return {each.strip().replace(" ", "-") for each in words}
