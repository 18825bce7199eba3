"""Every link inside the repository leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from docs.pages import PAGES, ROOT, anchors

_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img[^>]*src=\"([^\"]+)\"")
_CODE: Final = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page names a file that exists, and a heading that it has."""
    missing = []
    for first, second in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        target, _, fragment = (first or second).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists():
            missing.append(target)
        elif fragment and fragment not in anchors(file.read_text(encoding="utf-8")):
            missing.append(f"{target}#{fragment}")
    assert missing == []


def test_every_page_for_people_can_be_reached() -> None:
    """Each page beside the specifications is linked from another page."""
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    lonely = [
        str(page.relative_to(ROOT))
        for page in PAGES
        if page.name != "README.md"
        and "spec" not in page.parts
        and "adr" not in page.parts
        and not any(page.name in text for other, text in texts.items() if other != page)
    ]
    assert lonely == []


def test_the_index_of_specifications_has_every_page_once() -> None:
    """Whoever looks for a format finds its page, with what it is about, in one list."""
    folder = ROOT / "docs" / "spec"
    listed = re.findall(
        r"^- \[[a-z-]+\]\(([^)]+)\): \S", (folder / "README.md").read_text("utf-8"), re.MULTILINE
    )
    pages = {page.name for page in folder.glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(pages)
