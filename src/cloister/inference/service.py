"""The Open Inference Protocol v2 over HTTP as a function from request to response. No sockets.

Spec: serving-v1, clauses SRV-1 to SRV-19.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister import __version__
from cloister.errors import CloisterError, MalformedError
from cloister.inference.message import BINARY_HEADER, Body, read_request, write_response
from cloister.inference.model import Model

__all__ = ["EXTENSIONS", "VERSION", "HTTPRequest", "HTTPResponse", "InferenceService", "failure"]

EXTENSIONS: Final = ("binary_tensor_data",)
VERSION: Final = "1"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MODEL: Final = re.compile(
    r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?(?P<verb>/ready|/infer|/?)"
)
_DIGITS: Final = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class HTTPRequest:
    """A request whose body is complete; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class HTTPResponse:
    """A response."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class InferenceService:
    """Answers requests about some models; each has one version, `1`."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        """Take loaded models by name."""
        for name in models:
            if _NAME.fullmatch(name) is None:
                raise MalformedError(
                    "a model's name has letters, digits, dots, underscores and hyphens",
                    code="message.malformed",
                )
        self._models = dict(models)

    def handle(self, request: HTTPRequest) -> HTTPResponse:
        """Answer a request; every failure is a response with a reason, nothing is raised.

        Running a model takes time, everything else does not: `is_quick` tells which it is.
        """
        path = request.target.partition("?")[0]
        fixed = {
            "/v2": self._server,
            "/v2/": self._server,
            "/v2/health/live": _nothing,
            "/v2/health/ready": _nothing,
        }.get(path)
        if fixed is not None:
            return fixed() if request.method == "GET" else _not_allowed("GET")
        match = _MODEL.fullmatch(path)
        if match is None:
            return failure(404, "no such page")
        model = self._models.get(match["name"])
        if model is None:
            return failure(404, "no such model")
        if match["version"] not in {None, VERSION}:
            return failure(404, "no such version of this model")
        if match["verb"] == "/infer":
            return self._infer(request, match["name"], model)
        if request.method != "GET":
            return _not_allowed("GET")
        return _nothing() if match["verb"] == "/ready" else _metadata(match["name"], model)

    @staticmethod
    def is_quick(request: HTTPRequest) -> bool:
        """Tell whether answering runs no model."""
        return request.method != "POST"

    def _server(self) -> HTTPResponse:
        record = {
            "name": "cloister",
            "version": __version__,
            "extensions": list(EXTENSIONS),
            "models": sorted(self._models),
        }
        return _json(200, record)

    def _infer(self, request: HTTPRequest, name: str, model: Model) -> HTTPResponse:
        if request.method != "POST":
            return _not_allowed("POST")
        try:
            body = Body(request.body, _json_bytes(request.headers))
            question = read_request(body, inputs=model.inputs, outputs=model.outputs)
            results = model.predict(question.inputs)
            answer = write_response(question, results, model=name, version=VERSION)
        except CloisterError as e:
            return failure(400 if e.code == "message.malformed" else 500, e.public)
        return HTTPResponse(200, answer.data, answer.headers)


def failure(status: int, sentence: str) -> HTTPResponse:
    """Return the protocol's error object."""
    return _json(status, {"error": sentence})


def _metadata(name: str, model: Model) -> HTTPResponse:
    record = {
        "name": name,
        "versions": [VERSION],
        "platform": model.platform,
        "inputs": [spec.as_record() for spec in model.inputs],
        "outputs": [spec.as_record() for spec in model.outputs],
    }
    return _json(200, record)


def _json_bytes(headers: Mapping[str, str]) -> int | None:
    text = headers.get(BINARY_HEADER)
    if text is None:
        return None
    if _DIGITS.fullmatch(text) is None:
        raise MalformedError(f"{BINARY_HEADER} is not a number", code="message.malformed")
    return int(text)


def _nothing() -> HTTPResponse:
    return HTTPResponse(200, b"")


def _not_allowed(method: str) -> HTTPResponse:
    answer = failure(405, f"this page takes {method} only")
    return HTTPResponse(405, answer.body, {**answer.headers, "allow": method})


def _json(status: int, record: Mapping[str, object]) -> HTTPResponse:
    body = json.dumps(record, separators=(",", ":")).encode()
    return HTTPResponse(status, body, {"content-type": "application/json"})
