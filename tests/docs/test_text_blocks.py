"""The tool that takes a program out of a page takes it as it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from docs.pages import ROOT

PAGE = """Title
=====

.. code:: python

    no = 1

Two machines
------------

Some words.

.. code:: python

    import os

    if os:
       \x20
        print(1)

.. code:: bash

    no
"""


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("blocks", ROOT / "examples" / "text_blocks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_block_is_cut_out_without_its_indentation(tmp_path: Path) -> None:
    """The first below the heading, and nothing behind it."""
    (tmp_path / "page.rst").write_text(PAGE, encoding="utf-8")
    _tool().main(str(tmp_path / "page.rst"), str(tmp_path / "out"), "main.py", "Two machines")
    written = (tmp_path / "out" / "main.py").read_text("utf-8")
    assert written == "import os\n\nif os:\n\n    print(1)\n"


@pytest.mark.parametrize("heading", ["Three machines", "Some words.", "Two"])
def test_a_heading_that_is_none_is_refused(heading: str) -> None:
    """A page of another version may have moved what is meant."""
    with pytest.raises(SystemExit):
        _tool().block_below(PAGE, heading)


def test_a_heading_twice_or_without_a_block_is_refused() -> None:
    """Neither says which block is meant."""
    for page in (PAGE + PAGE, "Two machines\n------------\n\nno code\n"):
        with pytest.raises(SystemExit):
            _tool().block_below(page, "Two machines")


@pytest.mark.parametrize("name", ["../main.py", "/main.py"])
def test_files_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    """It writes nowhere but into the folder."""
    (tmp_path / "page.rst").write_text(PAGE, encoding="utf-8")
    with pytest.raises(SystemExit):
        _tool().main(str(tmp_path / "page.rst"), str(tmp_path / "out"), name, "Two machines")
