"""Words, tables and pictures as markup."""

from __future__ import annotations

import numpy as np

from cloister.partition.assess.attack import Examples
from cloister.partition.assess.page_parts import escaped, measures_table, picture, strips, table
from unit.partition.assess.report_cases import measure


def test_words_are_text() -> None:
    """Markup is escaped, and what moves a cursor or turns words around is replaced."""
    assert escaped("<b a='\"'>&") == "&lt;b a=&#x27;&quot;&#x27;&gt;&amp;"
    assert escaped("a\x00\x1b\n\u202eb") == "a\ufffd\ufffd\ufffd\ufffdb"


def test_cells_are_escaped_and_rows_have_heads() -> None:
    """The first column heads its row; numbers are set to the right."""
    drawn = table("c<", ("a<", "b"), [("r<", "<i>")], numbers={1})
    assert "<i>" not in drawn
    assert '<th scope="row">r&lt;</th><td class=n>&lt;i&gt;</td>' in drawn
    assert "<caption>c&lt;</caption>" in drawn


def test_a_measure_that_was_cut_short_says_so() -> None:
    """Beside its numbers."""
    drawn = measures_table([measure("decoder", "queries", "ssim", 0.4, complete=False)], "all")
    assert "cut short" in drawn
    assert "0.35 to 0.45" in drawn


def test_pictures_say_what_they_are() -> None:
    """Small ones keep their pixels; at most eight are shown."""
    small, large = np.zeros((9, 8, 8, 1), np.uint8), np.zeros((2, 64, 64, 3), np.uint8)
    drawn = picture(small, "originals", 'cut "3"')
    assert 'alt="8 images, originals: cut &quot;3&quot;"' in drawn
    assert 'class="small n8" ' in drawn
    assert 'class="n2" ' in picture(large, "originals", "x")
    both = strips(Examples(small, small), about="x")
    assert both.count("<img") == 2
