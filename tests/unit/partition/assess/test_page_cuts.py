"""Boxes of cuts: which are open, which have pictures, what was left out."""

from __future__ import annotations

from dataclasses import replace

from cloister.partition.assess.page_cuts import cuts_of
from unit.partition.assess.report_cases import pictures, report


def test_the_recommended_is_open() -> None:
    """Others open when somebody asks."""
    drawn = cuts_of(report(), pictures(), {}, {})
    assert drawn.count("<details") == 4
    assert drawn.count(" open>") == 1
    assert '<details id="cut-4" open>' in drawn


def test_of_hundreds_a_few_have_pictures() -> None:
    """The file stays one that opens: the recommended, its neighbours, and some of the others."""
    made = report(cuts=150)
    drawn = cuts_of(made, pictures(150), {}, {})
    assert drawn.count("<details") == 150
    assert "pictures of" in drawn
    pictured = drawn.count("its feature maps")
    assert 12 < pictured <= 24
    box = drawn[drawn.index('id="cut-4"') : drawn.index('id="cut-5"')]
    assert "its feature maps" in box


def test_what_is_no_place_to_cut_is_said() -> None:
    """With its reason."""
    drawn = cuts_of(report(), {}, {"cut/2": ("a remark",)}, {"cut/7": "no converter"})
    assert "7: no converter" in drawn
    assert "a remark" in drawn
    assert "No place to cut" not in cuts_of(report(), {}, {}, {})
    assert "None was assessed" in cuts_of(replace(report(), cuts=(), recommended=None), {}, {}, {})
