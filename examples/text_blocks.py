"""Write one block of code of a page in reStructuredText as a file.

    python text_blocks.py PAGE FOLDER NAME HEADING

The block is the first `.. code:: python` below the heading HEADING; it becomes FOLDER/NAME without
its indentation, ended by one line feed. Nothing else of the page is read, and none of it is run.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

_BLOCK = re.compile(r"^\.\. code:: python\n\n((?:[ \t]+.*\n|[ \t]*\n)+)", re.MULTILINE)


def block_below(page: str, heading: str) -> str:
    """Return the block; a heading that is not there once, or without a block, is refused."""
    found = re.findall(rf"^{re.escape(heading)}\n[-=~^]{{3,}}$", page, re.MULTILINE)
    if len(found) != 1:
        raise SystemExit(f"{len(found)} headings are {heading!r}")
    block = _BLOCK.search(page, page.index(found[0]))
    if block is None:
        raise SystemExit(f"no Python below {heading!r}")
    return textwrap.dedent(block.group(1)).strip("\n") + "\n"


def main(page: str, folder: str, name: str, heading: str) -> None:
    """Write it."""
    if Path(name).name != name:
        raise SystemExit(f"{name!r} is not a file's name")
    content = block_below(Path(page).read_text(encoding="utf-8"), heading)
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
