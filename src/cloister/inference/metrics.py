"""Numbers about the server as a whole, in Prometheus' text format.

There is nothing per client and nothing of contents: counts by model, page and status, and how long
things took. Names of models come from the catalogue, never from a request, so a client cannot make
lines. The page is served only where the server was started with `--metrics`, which the argv in its
policy must say.

Spec: serving-v1, clauses SRV-90 and SRV-91.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_Labels = tuple[tuple[str, str], ...]


class _Histogram:
    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value


class Metrics:
    """Counters and histograms; safe to use from any thread."""

    def __init__(self) -> None:
        """Begin at nought."""
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, _Labels], int] = {}
        self._histograms: dict[tuple[str, _Labels], _Histogram] = {}

    def answered(self, model: str, *, page: str, status: int, seconds: float) -> None:
        """Note a query that was answered or refused.

        Args:
            model: Its name in the catalogue; empty where there is none of the name asked for.
            page: Which of the server's pages, such as `infer`.
            status: Of the response.
            seconds: From the whole request to the response.
        """
        with self._lock:
            self._count("queries", (("model", model), ("page", page), ("status", str(status))))
            self._observe("query_seconds", (("model", model),), seconds, _SECONDS)

    def computed(self, model: str, *, queries: int, rows: int, seconds: float) -> None:
        """Note a computation, of some queries with so many rows together."""
        labels = (("model", model),)
        with self._lock:
            self._observe("computation_seconds", labels, seconds, _SECONDS)
            self._observe("computation_rows", labels, rows, _ROWS)
            self._count("computed_queries", labels, queries)

    def disbelieved(self, model: str, *, code: str) -> None:
        """Note that an answer of a model's middle was refused, and by which code."""
        with self._lock:
            self._count("middle_refused", (("model", model), ("code", code)))

    def refused(self, status: int) -> None:
        """Note a request or a connection that reached no page."""
        with self._lock:
            self._count("refused", (("status", str(status)),))

    def loaded(self, outcome: str) -> None:
        """Note that a version was taken in, taken out or refused: `loaded`, `dropped`, a code."""
        with self._lock:
            self._count("model_changes", (("outcome", outcome),))

    def page(self, gauges: Mapping[str, float]) -> bytes:
        """Return everything as text.

        Args:
            gauges: What is true at this moment, by name.
        """
        with self._lock:
            lines = [*self._lines_of_counters(), *self._lines_of_histograms()]
        for name, value in sorted(gauges.items()):
            lines += [f"# TYPE cloister_{name} gauge", f"cloister_{name} {value:g}"]
        return ("\n".join(lines) + "\n").encode()

    def _count(self, name: str, labels: _Labels, step: int = 1) -> None:
        key = (name, labels)
        self._counters[key] = self._counters.get(key, 0) + step

    def _observe(self, name: str, labels: _Labels, value: float, edges: tuple[float, ...]) -> None:
        key = (name, labels)
        if key not in self._histograms:
            self._histograms[key] = _Histogram(edges)
        self._histograms[key].add(value)

    def _lines_of_counters(self) -> Iterator[str]:
        last = ""
        for (name, labels), value in sorted(self._counters.items()):
            if name != last:
                yield f"# TYPE cloister_{name}_total counter"
                last = name
            yield f"cloister_{name}_total{_text(labels)} {value}"

    def _lines_of_histograms(self) -> Iterator[str]:
        last = ""
        for (name, labels), histogram in sorted(self._histograms.items(), key=lambda e: e[0]):
            if name != last:
                yield f"# TYPE cloister_{name} histogram"
                last = name
            total = 0
            for edge, count in zip((*histogram.edges, None), histogram.counts, strict=True):
                total += count
                end = "+Inf" if edge is None else f"{edge:g}"
                yield f"cloister_{name}_bucket{_text((*labels, ('le', end)))} {total}"
            yield f"cloister_{name}_sum{_text(labels)} {histogram.sum:.9g}"
            yield f"cloister_{name}_count{_text(labels)} {total}"


def _text(labels: _Labels) -> str:
    inner = ",".join(f'{name}="{value}"' for name, value in labels)
    return f"{{{inner}}}" if inner else ""
