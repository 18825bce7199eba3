"""Write the files that a notebook writes: python notebook_cells.py NOTEBOOK FOLDER.

Of each code cell that begins with `%%writefile NAME`, the lines after the first become FOLDER/NAME,
byte for byte, ended by a line feed. Nothing else of the notebook is read, and none of it is run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

_MAGIC = "%%writefile "


def written_files(notebook: str) -> Iterator[tuple[str, str]]:
    """Yield name and content of each file, in the notebook's order."""
    for cell in json.loads(notebook)["cells"]:
        first, _, rest = "".join(cell["source"]).partition("\n")
        if cell["cell_type"] == "code" and first.startswith(_MAGIC):
            name = first.removeprefix(_MAGIC).strip()
            if Path(name).name != name:
                raise SystemExit(f"{name!r} is not a file's name")
            yield name, rest if rest.endswith("\n") else rest + "\n"


def main(notebook: str, folder: str) -> None:
    """Write them all; of two with the same name the later one stays, as in the notebook."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in written_files(Path(notebook).read_text(encoding="utf-8")):
        Path(folder, name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
