"""Spans and measurements for OpenTelemetry, where it is installed and somebody configured it.

Only its interface is used (`opentelemetry-api`), which does nothing and opens no connection unless
the process that starts the server also installs and configures an exporter. What is told is what
`/metrics` has: model, page, status, code, rows and seconds; nothing of a client and nothing of
contents.

Spec: serving-v1, clause SRV-92.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from cloister.errors import MissingExtraError, extra_hint
from cloister.inference.metrics import Metrics

__all__ = ["TracedMetrics"]

_SCOPE: Final = "cloister.inference"


class TracedMetrics(Metrics):
    """The server's numbers, told to OpenTelemetry as well."""

    def __init__(self) -> None:
        """Begin at nought.

        Raises:
            MissingExtraError: OpenTelemetry is not installed.
        """
        super().__init__()
        try:
            trace, meters = (
                import_module("opentelemetry.trace"),
                import_module("opentelemetry.metrics"),
            )
        except ImportError as e:
            raise MissingExtraError(
                "--otel needs OpenTelemetry",
                code="extra.missing",
                hint=extra_hint("otel"),
            ) from e
        self._tracer: Any = trace.get_tracer(_SCOPE)
        meter: Any = meters.get_meter(_SCOPE)
        self._queries: Any = meter.create_counter("cloister.queries")
        self._seconds: Any = meter.create_histogram("cloister.query.duration", unit="s")
        self._computations: Any = meter.create_histogram("cloister.computation.duration", unit="s")
        self._disbelieved: Any = meter.create_counter("cloister.middle.refused")
        self._rows: Any = meter.create_histogram("cloister.computation.rows")

    def answered(self, model: str, *, page: str, status: int, seconds: float) -> None:
        """Note a query, and tell it as a span that has just ended."""
        super().answered(model, page=page, status=status, seconds=seconds)
        facts = {"model": model, "page": page, "status": status}
        self._queries.add(1, facts)
        self._seconds.record(seconds, facts)
        with self._tracer.start_as_current_span(f"query {page}") as span:
            span.set_attributes({**facts, "seconds": seconds})

    def computed(self, model: str, *, queries: int, rows: int, seconds: float) -> None:
        """Note a computation."""
        super().computed(model, queries=queries, rows=rows, seconds=seconds)
        self._computations.record(seconds, {"model": model})
        self._rows.record(rows, {"model": model})

    def disbelieved(self, model: str, *, code: str) -> None:
        """Note an answer of a middle that was refused."""
        super().disbelieved(model, code=code)
        self._disbelieved.add(1, {"model": model, "code": code})
