"""The page: one file, nothing to fetch, the answer first, and nobody else's words as markup."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from cloister.partition.assess.page import page
from cloister.partition.report import Budget, LeakageReport
from unit.partition.assess.report_cases import HOSTILE, measure, pictures, report

VOID = {"meta", "link", "img", "br"}


class _Reader(HTMLParser):
    """Collects elements, and complains of what is not closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def _read(data: bytes) -> _Reader:
    reader = _Reader()
    reader.feed(data.decode())
    reader.close()
    assert reader.open == []
    return reader


def _page(**more: Any) -> bytes:
    made = report(**more)
    return page(made, pictures(), {"cut/1": ("decoder: by a network",)}, {"cut/9": "not here"})


def test_it_stands_alone() -> None:
    """No script, no address but data, and a policy that says so; the style sheet has its hash."""
    data = _page()
    found = _read(data)
    assert {tag for tag, _ in found.elements}.isdisjoint({"script", "iframe", "object", "form"})
    for _, attributes in found.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert "style" not in attributes
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))
    policy = next(
        a["content"] for _, a in found.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    style = re.search(rb"<style>(.*?)</style>", data, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1]).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert b"url(" not in style[1]


def test_the_answer_comes_first() -> None:
    """The recommended cut and why, before any curve."""
    text = _read(_page()).text
    assert text.index("Cut at 4") < text.index("How far each reconstruction")
    assert "The strongest attack got 0.2" in text
    assert "2 unsafe" in text
    assert "no bound" in text
    assert "cut short" in text
    assert "no safe cut passes the default thresholds" in text


def test_the_answer_says_when_nothing_else_need_be_stated() -> None:
    """A cut that the default thresholds let be served is called so."""
    found = tuple(measure(a, "weights", "ssim-gain", 0.1) for a in ("decoder", "optimisation"))
    last = replace(report().cuts[-1], measures=found)
    made = replace(report(), cuts=(*report().cuts[:-1], last))
    text = _read(page(made, {}, {}, {})).text
    assert "safe and passes the default thresholds" in text
    assert "no safe cut" not in text


def test_no_cut_is_an_answer_too() -> None:
    """It says what to do instead."""
    text = _read(_page(recommended=None, cuts=3)).text
    assert "No cut is recommended" in text
    assert "inside the enclave" in text
    assert "No cut was assessed" in _read(page(_empty(), {}, {}, {})).text


@pytest.mark.parametrize("stopped", [True, False])
@pytest.mark.parametrize("recommended", [None, 4])
def test_what_is_not_finished_says_so_first(*, stopped: bool, recommended: int | None) -> None:
    """And what ended it: a person, or the time."""
    made = replace(report(recommended=recommended), budget=Budget(seconds=600, complete=False))
    text = _read(page(made, pictures(), {}, {}, stopped=stopped)).text
    said = "Somebody stopped it" if stopped else "Its 600 s ran out"
    assert said in text[: text.index("How far each reconstruction")]
    assert text.index(said) < text.index("Serve the whole" if recommended is None else "It is the")
    assert ("ran out" in text) is not stopped
    assert ("No cut is recommended yet" in text) is (recommended is None)


def test_a_cut_that_saves_nothing_says_so_in_its_answer() -> None:
    """Its front takes longer than the whole model."""
    assert "saves little or nothing" not in _read(_page()).text
    made = report()
    cuts = (*made.cuts[:-1], replace(made.cuts[-1], front_ms=1.16, whole_ms=1.0))
    text = _read(page(replace(made, cuts=cuts), pictures(), {}, {})).text
    assert text.index("Cut at 4") < text.index("saves little or nothing") < text.index("crosses:")
    assert "1.16 ms inside and the whole model 1 ms" in text


def _empty() -> LeakageReport:
    return replace(report(recommended=None), cuts=(), pairs=(), defences=())


def test_pictures_have_words_and_tables_have_heads() -> None:
    """Who does not see pictures is told what they are; every table names its columns and rows."""
    found = _read(_page())
    images = [a for tag, a in found.elements if tag == "img"]
    assert len(images) > 20
    assert all(a["alt"] and a["width"] and a["height"] for a in images)
    assert all(a.get("aria-label") for tag, a in found.elements if tag == "svg")
    heads = [a.get("scope") for tag, a in found.elements if tag == "th"]
    assert set(heads) == {"col", "row"}
    tables = sum(tag == "table" for tag, _ in found.elements)
    assert tables == sum(tag == "caption" for tag, _ in found.elements) >= 6
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    targets = {a["id"] for _, a in found.elements if "id" in a}
    links = {(a["href"] or "")[1:] for tag, a in found.elements if tag == "a"}
    assert links <= targets


@pytest.mark.parametrize("place", ["name", "layer"])
def test_words_of_the_model_are_text(place: str) -> None:
    """A layer, or the model itself, that is named like markup stays words; so do remarks."""
    named: dict[str, Any] = {place: HOSTILE + "\x1b[2J\u202e"}
    made = report(**named)
    data = page(made, pictures(), {"cut/1": (HOSTILE,)}, {f"cut/{HOSTILE}": HOSTILE})
    found = _read(data)
    assert {tag for tag, _ in found.elements}.isdisjoint({"script"})
    assert not any("onerror" in a for _, a in found.elements)
    assert "alert(1)" in found.text
    assert b"\x1b" not in data
    assert b"<script" not in data
    assert data.count(b"</style>") == 1


def test_the_same_report_gives_the_same_page() -> None:
    """Nothing of the clock, and no order of sets."""
    assert _page() == _page()
