"""What OpenTelemetry is told, and that it is told nothing more."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from cloister.errors import MissingExtraError
from cloister.inference.telemetry import TracedMetrics


class Told:
    """OpenTelemetry's interface, as far as it is used; it notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def get_tracer(self, scope: str) -> Told:
        assert scope == "cloister.inference"
        return self

    def get_meter(self, scope: str) -> Told:
        assert scope == "cloister.inference"
        return self

    def create_counter(self, name: str) -> Any:
        return types.SimpleNamespace(add=lambda *facts: self.heard.append((name, *facts)))

    def create_histogram(self, name: str, unit: str = "") -> Any:
        assert unit in {"", "s"}
        return types.SimpleNamespace(record=lambda *facts: self.heard.append((name, *facts)))

    def start_as_current_span(self, name: str) -> Told:
        self.heard.append((name,))
        return self

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_attributes(self, facts: dict[str, Any]) -> None:
        self.heard.append(("span", facts))


@pytest.mark.spec("SRV-92")
def test_what_is_told_is_what_the_page_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model, page, status, rows and seconds; and the page itself goes on."""
    told = Told()
    monkeypatch.setitem(sys.modules, "opentelemetry", types.ModuleType("opentelemetry"))
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", told)
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", told)
    metrics = TracedMetrics()
    metrics.answered("m", page="infer", status=200, seconds=0.5)
    metrics.computed("m", queries=2, rows=3, seconds=0.25)
    metrics.disbelieved("m", code="middle.wrong")
    facts = {"model": "m", "page": "infer", "status": 200}
    assert told.heard == [
        ("cloister.queries", 1, facts),
        ("cloister.query.duration", 0.5, facts),
        ("query infer",),
        ("span", {**facts, "seconds": 0.5}),
        ("cloister.computation.duration", 0.25, {"model": "m"}),
        ("cloister.computation.rows", 3, {"model": "m"}),
        ("cloister.middle.refused", 1, {"model": "m", "code": "middle.wrong"}),
    ]
    assert b'cloister_queries_total{model="m",page="infer",status="200"} 1' in metrics.page({})


@pytest.mark.spec("SRV-92")
def test_the_interface_alone_tells_nobody() -> None:
    """Nothing is configured: everything goes nowhere, and nothing is raised."""
    pytest.importorskip("opentelemetry.trace", reason="OpenTelemetry is not installed")
    metrics = TracedMetrics()
    metrics.answered("m", page="infer", status=200, seconds=0.5)
    metrics.computed("m", queries=1, rows=1, seconds=0.5)


def test_without_it_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(MissingExtraError) as caught:
        TracedMetrics()
    assert caught.value.code == "extra.missing"
    assert "[otel]" in str(caught.value.hint)
