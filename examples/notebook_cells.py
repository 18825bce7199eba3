"""Write the files that a notebook writes, or one file of cells that it names.

    python notebook_cells.py NOTEBOOK FOLDER
    python notebook_cells.py NOTEBOOK FOLDER NAME CELL [CELL...]

First: of each code cell that begins with `%%writefile NAME`, the lines after the first become
FOLDER/NAME, byte for byte, ended by a line feed. Second: the cells with these ids become
FOLDER/NAME, one behind the other in the order given, each byte for byte and ended by a line feed.
An id is that of the cell's metadata; `ID/2` is the second block of Python in a cell of text.
Nothing else of the notebook is read, and none of it is run.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_MAGIC = "%%writefile "
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FOR_THE_NOTEBOOK = re.compile(r"^\s*[!%].*$", re.MULTILINE)


def written_files(notebook: str) -> Iterator[tuple[str, str]]:
    """Yield name and content of each file, in the notebook's order."""
    for cell in json.loads(notebook)["cells"]:
        first, _, rest = "".join(cell["source"]).partition("\n")
        if cell["cell_type"] == "code" and first.startswith(_MAGIC):
            yield _name(first.removeprefix(_MAGIC).strip()), _ended(rest)


def named_cells(notebook: str, *wanted: str) -> str:
    """Return one file of the named cells; a name that is not one cell's is refused."""
    cells = json.loads(notebook)["cells"]
    return "".join(_ended(_source(cells, *name.partition("/")[::2])) for name in wanted)


def _source(cells: list[dict], ident: str, number: str) -> str:
    found = [cell for cell in cells if cell.get("metadata", {}).get("id") == ident]
    if len(found) != 1:
        raise SystemExit(f"{len(found)} cells are {ident!r}")
    kind, text = found[0]["cell_type"], "".join(found[0]["source"])
    if kind == "markdown":
        blocks = dict(enumerate(_BLOCK.findall(text), 1))
        if not number.isdecimal() or int(number) not in blocks:
            raise SystemExit(f"{ident!r} is text with {len(blocks)} blocks: name one as {ident}/1")
        text = blocks[int(number)]
    elif kind != "code" or number:
        raise SystemExit(f"{ident!r} is {kind}, which has no parts")
    if line := _FOR_THE_NOTEBOOK.search(text):
        raise SystemExit(f"{ident!r} has a line that only a notebook can run: {line.group()}")
    return text


def _name(name: str) -> str:
    if Path(name).name != name:
        raise SystemExit(f"{name!r} is not a file's name")
    return name


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def main(notebook: str, folder: str, name: str = "", *cells: str) -> None:
    """Write them all; of two with the same name the later one stays, as in the notebook."""
    text = Path(notebook).read_text(encoding="utf-8")
    if name and not cells:
        raise SystemExit("name the cells of the file")
    files = [(_name(name), named_cells(text, *cells))] if name else written_files(text)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for file, content in files:
        Path(folder, file).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
