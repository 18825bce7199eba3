"""The tool that takes programs out of notebooks takes them as they are."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from docs.pages import ROOT


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cells", ROOT / "examples" / "notebook_cells.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _notebook(*cells: tuple[str, str]) -> str:
    return json.dumps(
        {
            "cells": [
                {
                    "cell_type": kind,
                    "metadata": {"id": f"cell-{number}"},
                    "source": text.splitlines(keepends=True),
                }
                for number, (kind, text) in enumerate(cells)
            ]
        }
    )


def test_files_are_cut_out_as_they_are() -> None:
    """With their blank lines and blanks; other cells are no files."""
    notebook = _notebook(
        ("markdown", "%%writefile no.py\nno"),
        ("code", "print('no')\n%%writefile no.py"),
        ("code", "%%writefile main.py\n\nimport os  \nprint(1)"),
        ("code", "%%writefile end.py\nprint(2)\n"),
    )
    assert list(_tool().written_files(notebook)) == [
        ("main.py", "\nimport os  \nprint(1)\n"),
        ("end.py", "print(2)\n"),
    ]


@pytest.mark.parametrize("name", ["../main.py", "/main.py", "a/b.py"])
def test_files_elsewhere_are_refused(name: str) -> None:
    """A notebook that somebody sent writes nowhere but into the folder."""
    with pytest.raises(SystemExit):
        list(_tool().written_files(_notebook(("code", f"%%writefile {name}\nx"))))


def test_named_cells_become_one_file() -> None:
    """In the order given, as they are; of text, the block of Python that is named."""
    text = "Say:\n\n```python\nfirst()\n```\n\n```sh\nls\n```\n\n```python\nsecond()\n```"
    notebook = _notebook(
        ("code", "import os  \n\nprint(1)"), ("markdown", text), ("code", "print(2)\n")
    )
    assert _tool().named_cells(notebook, "cell-2", "cell-1/2", "cell-0") == (
        "print(2)\nsecond()\nimport os  \n\nprint(1)\n"
    )


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        (("code", "x"), "cell-1"),
        (("code", "x"), "cell-0/1"),
        (("raw", "x"), "cell-0"),
        (("markdown", "```python\nx\n```"), "cell-0"),
        (("markdown", "```python\nx\n```"), "cell-0/2"),
        (("markdown", "```sh\nx\n```"), "cell-0/1"),
        (("code", "import os\n!pip install x"), "cell-0"),
        (("code", "%%writefile main.py\nx"), "cell-0"),
        (("code", "for x in y:\n  %time x"), "cell-0"),
    ],
)
def test_what_is_not_a_programs_cell_is_refused(cell: tuple[str, str], named: str) -> None:
    """No cell, a part of none, and lines that only a notebook understands."""
    with pytest.raises(SystemExit, match="cell"):
        _tool().named_cells(_notebook(cell), named)


def test_a_cell_that_two_have_is_refused() -> None:
    """Which of them is meant is not for the tool to say."""
    cells = json.loads(_notebook(("code", "x")))["cells"]
    with pytest.raises(SystemExit, match="2 cells"):
        _tool().named_cells(json.dumps({"cells": cells * 2}), "cell-0")


def test_the_command_writes_the_file_of_named_cells(tmp_path: Path) -> None:
    """Only that, and only into the folder."""
    notebook = tmp_path / "some.ipynb"
    notebook.write_text(_notebook(("code", "%%writefile no.py\nx"), ("code", "print(1)")))
    _tool().main(str(notebook), str(tmp_path / "out"), "main.py", "cell-1")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["main.py"]
    assert (tmp_path / "out" / "main.py").read_text() == "print(1)\n"
    for arguments in [("../main.py", "cell-1"), ("main.py",)]:
        with pytest.raises(SystemExit):
            _tool().main(str(notebook), str(tmp_path / "out"), *arguments)
