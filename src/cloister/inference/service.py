"""The server's pages as a function from request to response. No sockets.

Open Inference Protocol v2 below `/v2`, TensorFlow Serving's REST interface below `/v1`, and numbers
about the server at `/metrics` where that is granted.

Spec: serving-v1, clauses SRV-1 to SRV-19 and SRV-90.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from cloister import __version__
from cloister.errors import CloisterError, MalformedError
from cloister.inference.answers import (
    HTTPRequest,
    HTTPResponse,
    compressed,
    failure,
    failure_of,
    json_response,
    not_allowed,
    nothing,
    unforeseen,
)
from cloister.inference.asking import Asking
from cloister.inference.message import BINARY_HEADER, Body, read_request, write_response
from cloister.inference.metrics import CONTENT_TYPE, Metrics
from cloister.inference.model import Model
from cloister.inference.registry import Registry, Served
from cloister.inference.tfserving_pages import TFServingPages

__all__ = ["EXTENSIONS", "HTTPRequest", "HTTPResponse", "InferenceService", "failure"]

EXTENSIONS: Final = ("binary_tensor_data", "classification", "model_repository")
_MODEL: Final = re.compile(
    r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?(?P<verb>/ready|/infer|/?)"
)
_DIGITS: Final = re.compile(r"[0-9]{1,12}")
_OK: Final = 200


class InferenceService:
    """Answers requests about the models of a registry."""

    def __init__(
        self,
        models: Mapping[str, Model] | Registry,
        *,
        asking: Asking | None = None,
        metrics: Metrics | None = None,
        show_metrics: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take loaded models by name, each with one version, or a registry of several.

        Args:
            models: What is served.
            asking: How it is asked; with usual patience where nothing is said.
            metrics: Where queries are counted; somewhere of its own where nothing is said.
            show_metrics: Whether `/metrics` is a page.
            clock: Seconds that only go forward.
        """
        self._metrics = metrics or Metrics()
        self._registry = (
            models if isinstance(models, Registry) else Registry.of(models, watcher=self._metrics)
        )
        self._asking = asking or Asking(clock=clock)
        self._show_metrics = show_metrics
        self._clock = clock
        self._tfserving = TFServingPages(self._registry, self._asking)

    def handle(self, request: HTTPRequest) -> HTTPResponse:
        """Answer a request; every failure is a response with a reason, nothing is raised.

        Running a model takes time, everything else does not: `is_quick` tells which it is.
        """
        began = self._clock()
        try:
            response, page, served = self._answer(request)
        except Exception as e:  # noqa: BLE001  # whatever it is, it is this query's and no other's
            self._metrics.refused(500)
            return unforeseen(e)
        if page:
            self._metrics.answered(
                "" if served is None else served.name,
                page=page,
                status=response.status,
                seconds=self._clock() - began,
            )
        return response

    @staticmethod
    def is_quick(request: HTTPRequest) -> bool:
        """Tell whether answering runs no model."""
        return request.method != "POST"

    def refused(self, status: int) -> None:
        """Note a request that reached no page."""
        self._metrics.refused(status)

    def _answer(self, request: HTTPRequest) -> tuple[HTTPResponse, str, Served | None]:
        path = request.target.partition("?")[0]
        refusal = compressed(request.headers)
        if refusal is not None:
            self._metrics.refused(refusal.status)
            return refusal, "", None
        if path.startswith("/v1/"):
            return self._tfserving.answer(request, path)
        match = _MODEL.fullmatch(path)
        if match is None:
            return self._fixed(request, path), "", None
        shelf = self._registry.shelves.get(match["name"])
        page = match["verb"].strip("/")
        counted = page if page == "infer" else ""
        if shelf is None:
            return failure(404, "no such model"), counted, None
        served = shelf.newest if match["version"] is None else shelf.versions.get(match["version"])
        if served is None:
            return failure(404, "no such version of this model"), counted, shelf.newest
        if page == "infer":
            return self._infer(request, served), page, served
        if request.method != "GET":
            return not_allowed("GET"), "", None
        if page == "ready":
            return nothing(), "", None
        return _metadata(served, list(shelf.versions)), "", None

    def _fixed(self, request: HTTPRequest, path: str) -> HTTPResponse:
        """Answer about the server as a whole."""
        pages: dict[str, Callable[[], HTTPResponse]] = {
            "/v2": self._server,
            "/v2/": self._server,
            "/v2/health/live": lambda: json_response(_OK, {"live": True}),
            "/v2/health/ready": self._ready,
        }
        if path == "/v2/repository/index":
            return self._index() if request.method in {"GET", "POST"} else not_allowed("POST")
        if path == "/metrics" and self._show_metrics:
            pages[path] = self._numbers
        if path not in pages:
            return failure(404, "no such page")
        return pages[path]() if request.method == "GET" else not_allowed("GET")

    def _server(self) -> HTTPResponse:
        record = {
            "name": "cloister",
            "version": __version__,
            "extensions": list(EXTENSIONS),
            "models": sorted(self._registry.shelves),
        }
        return json_response(_OK, record)

    def _ready(self) -> HTTPResponse:
        if not self._registry.shelves:
            return failure(503, "no model is served")
        return json_response(_OK, {"ready": True})

    def _index(self) -> HTTPResponse:
        served = [
            {"name": each.name, "version": each.version, "state": "READY", "reason": ""}
            for each in self._registry.all()
        ]
        refused = [
            {"name": name, "version": str(number), "state": "UNAVAILABLE", "reason": code}
            for (name, number), code in self._registry.refused.items()
        ]
        return json_response(_OK, served + refused)

    def _numbers(self) -> HTTPResponse:
        served = self._registry.all()
        gauges = {
            "queries_waiting": float(sum(each.line.waiting for each in served)),
            "model_versions": float(len(served)),
            "model_versions_refused": float(len(self._registry.refused)),
        }
        return HTTPResponse(_OK, self._metrics.page(gauges), {"content-type": CONTENT_TYPE})

    def _infer(self, request: HTTPRequest, served: Served) -> HTTPResponse:
        if request.method != "POST":
            return not_allowed("POST")
        model = served.model
        try:
            body = Body(request.body, _json_bytes(request.headers))
            question = read_request(body, inputs=model.inputs, outputs=model.outputs)
            results = self._asking.answer(
                served, question.inputs, question.outputs, timeout_s=question.timeout_s
            )
            answer = write_response(question, results, model=served.name, version=served.version)
        except CloisterError as e:
            return failure_of(e)
        return HTTPResponse(_OK, bytes(answer.data), answer.headers)


def _metadata(served: Served, versions: list[str]) -> HTTPResponse:
    record: dict[str, Any] = {
        "name": served.name,
        "versions": versions,
        "platform": served.model.platform,
        "inputs": [spec.as_record() for spec in served.model.inputs],
        "outputs": [spec.as_record() for spec in served.outputs],
    }
    if served.note:
        record["parameters"] = {"note": served.note}
    return json_response(_OK, record)


def _json_bytes(headers: Mapping[str, str]) -> int | None:
    text = headers.get(BINARY_HEADER)
    if text is None:
        return None
    if _DIGITS.fullmatch(text) is None:
        raise MalformedError(f"{BINARY_HEADER} is not a number", code="message.malformed")
    return int(text)
