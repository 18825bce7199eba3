"""Which curves are drawn, and who was strongest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.partition.assess.page_curves import curves_of, strongest
from unit.partition.assess.report_cases import report


def test_the_strongest_reconstruction() -> None:
    """By the worst tenth of ssim-gain, whoever it was; None where nothing was measured."""
    cut = report().cuts[0]
    assert strongest(cut) == (pytest.approx(0.9), "decoder by queries")
    assert strongest(replace(cut, measures=())) is None


def test_every_chart_is_there() -> None:
    """Reconstruction, re-identification, latency, what is told without pictures, the papers'."""
    drawn = curves_of(report())
    assert drawn.count("<svg") == 5
    for words in ("identity", "Latency against leakage", "uniform", "property told rightly"):
        assert words in drawn
    assert "membership told rightly" not in drawn


def test_what_was_not_measured_has_no_chart() -> None:
    """Empty charts are left out; without cuts it says so."""
    made = report()
    bare = replace(made, cuts=tuple(replace(cut, measures=()) for cut in made.cuts))
    assert "<svg" not in curves_of(bare)
    assert "No cut" in curves_of(replace(made, cuts=(), recommended=None))
