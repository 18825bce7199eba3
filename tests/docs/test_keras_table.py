"""The guide's table of Keras and TensorFlow is the one that the code goes by."""

from __future__ import annotations

import re
from typing import Final

from cloister.training.compat.workload.cloister_keras import CHECKED
from docs.pages import ROOT

PAGE: Final = ROOT / "docs" / "guide" / "keras-and-tensorflow.md"
_ROW: Final = re.compile(r"^\| (\d[\d.]*) \| (.+) \|$", re.MULTILINE)


def test_the_guide_has_the_checked_versions() -> None:
    """Each pair, and no other."""
    rows = _ROW.findall(PAGE.read_text("utf-8"))
    assert {(tensorflow, keras) for tensorflow, row in rows for keras in row.split(", ")} == CHECKED
