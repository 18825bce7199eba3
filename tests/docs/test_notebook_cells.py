"""The tool that takes programs out of notebooks takes them as they are."""

from __future__ import annotations

import importlib.util
import json
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
                {"cell_type": kind, "source": text.splitlines(keepends=True)}
                for kind, text in cells
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
