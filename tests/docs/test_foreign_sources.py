"""The programs in examples/foreign are what their authors published."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from docs.pages import ROOT

FOLDER: Final = ROOT / "examples" / "foreign"
_LINE: Final = re.compile(r"^([0-9a-f]{64})  (\S+)$", re.MULTILINE)


def test_foreign_programs_are_unmodified() -> None:
    """Every file in a subfolder is listed with its digest, and has it."""
    listed = {name: digest for digest, name in _LINE.findall((FOLDER / "SOURCES.md").read_text())}
    found = {
        str(path.relative_to(FOLDER)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FOLDER.glob("*/*")
        if path.is_file()
    }
    assert found == listed


def test_each_foreign_program_has_its_licence() -> None:
    """A licence lies in each folder."""
    assert {path.parent.name for path in FOLDER.glob("*/LICENSE")} == {
        path.name for path in FOLDER.iterdir() if path.is_dir()
    }
