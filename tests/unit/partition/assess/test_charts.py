"""Curves: well-formed, inside the picture, and without a word of somebody else's as markup."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from cloister.partition.assess.charts import Curve, Point, curves, scatter

NAMESPACE = "{http://www.w3.org/2000/svg}"


def _parsed(svg: str) -> ET.Element:
    return ET.fromstring(  # noqa: S314  # made here
        svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    )


def test_curves_stay_inside() -> None:
    """Values beyond the scale are drawn at its ends; every position has a mark."""
    drawn = _parsed(
        curves(
            "Title",
            [Curve("a", [(1, -3.0, -4.0, 0.5), (4, 9.0, 0.5, 99.0), (9, 0.5, 0.5, 0.5)], "a")],
            bottom=0.0,
            top=1.0,
            ends={"identity": 1.0, "beyond": 7.0, "noise": -0.55},
            verdicts={1: "unsafe", 4: "undecided", 9: "safe"},
            described="What is seen",
        )
    )
    assert drawn.get("aria-label") == "Title. What is seen"
    dots = drawn.findall(f"{NAMESPACE}circle")
    assert len(dots) == 3
    assert all(0 <= float(dot.get("cy", "-1")) <= 320 for dot in dots)
    marks = [rect.get("class") for rect in drawn.findall(f"{NAMESPACE}rect")]
    assert marks == ["v-unsafe", "v-undecided", "v-safe"]
    words = [text.text for text in drawn.findall(f"{NAMESPACE}text")]
    assert "identity" in words
    assert "beyond above 1, at 7.00" in words
    assert "noise below 0, at -0.55" in words
    lines = [line.get("class") for line in drawn.findall(f"{NAMESPACE}line")]
    assert lines.count("end") == 1


def test_one_position_is_a_dot() -> None:
    """A single cut makes no line and divides by nothing."""
    drawn = _parsed(
        curves(
            "T",
            [Curve("a", [(3, 0.5, 0.4, 0.6)], "a")],
            bottom=0,
            top=1,
            ends={},
            verdicts={3: "safe"},
            described="",
        )
    )
    assert len(drawn.findall(f"{NAMESPACE}circle")) == 1
    assert drawn.find(f"{NAMESPACE}polyline") is None


def test_names_are_words() -> None:
    """What is hostile in a name is text."""
    hostile = '"><script>alert(1)</script>'
    drawn = scatter(hostile, [Point(0.5, 0.2, hostile, "safe")], described=hostile)
    assert "<script" not in drawn
    assert hostile in (_parsed(drawn).get("aria-label") or "")


def test_cuts_at_one_place_share_a_name() -> None:
    """Names that would lie on each other are left out; the dots are there."""
    points = [Point(0.5, 0.5, f"cut {i}", "safe") for i in range(5)]
    drawn = _parsed(scatter("T", points, described=""))
    assert len(drawn.findall(f"{NAMESPACE}circle")) == 5
    assert sum((text.text or "").isdigit() for text in drawn.findall(f"{NAMESPACE}text")) <= 4
