"""TensorFlow Serving's REST pages: status, metadata, predict, classify, regress. No sockets.

Spec: serving-v1, clauses SRV-80 to SRV-86.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from cloister.errors import CloisterError
from cloister.inference.answers import (
    HTTPRequest,
    HTTPResponse,
    failure,
    failure_of,
    json_response,
)
from cloister.inference.asking import Asking
from cloister.inference.oblivious import kept
from cloister.inference.registry import Registry, Served
from cloister.inference.tfserving import (
    metadata_record,
    predictions,
    read_examples,
    read_predict,
    regressions,
    sayable,
    status_record,
)

__all__ = ["TFServingPages"]

_PATH: Final = re.compile(
    r"/v1/models/(?P<name>[A-Za-z0-9._-]{1,128})"
    r"(/versions/(?P<version>[0-9]{1,12})|/labels/(?P<label>[A-Za-z0-9_-]{1,64}))?"
    r"(?P<verb>:predict|:classify|:regress|/metadata)?"
)
_OK: Final = 200


class TFServingPages:
    """Answers as TensorFlow Serving does, about the same models."""

    def __init__(self, registry: Registry, asking: Asking) -> None:
        """Take what is served, and how it is asked."""
        self._registry = registry
        self._asking = asking

    def answer(self, request: HTTPRequest, path: str) -> tuple[HTTPResponse, str, Served | None]:
        """Answer a request; with the page's name where it is a query, and whom it asked.

        Args:
            request: Whole.
            path: Its target without parameters.
        """
        match = _PATH.fullmatch(path)
        verb = "" if match is None else (match["verb"] or "").lstrip(":/")
        method = "POST" if verb in {"predict", "classify", "regress"} else "GET"
        if match is None or request.method != method:
            shown = "".join(c if c.isprintable() else "?" for c in f"{request.method} {path}"[:200])
            return failure(400, f"Malformed request: {shown}"), "", None
        page = verb if method == "POST" else ""
        served = self._registry.find(match["name"], match["version"], match["label"])
        if verb == "" and match["label"] is None:
            return self._status(match["name"], match["version"]), page, None
        if served is None:
            return _unknown(match["name"], match["version"], match["label"]), page, None
        try:
            record = self._record(bytes(request.body), verb, served)
            return json_response(_OK, record), page, served
        except CloisterError as e:
            return failure_of(e), page, served

    def _record(self, body: bytes, verb: str, served: Served) -> Any:
        model = served.model
        if verb == "":
            return status_record({served.version: ""})
        if verb == "metadata":
            return metadata_record(
                served.name, served.version, inputs=model.inputs, outputs=served.outputs
            )
        if verb == "predict":
            question = read_predict(body, inputs=model.inputs)
            results = self._asking.answer(served, question.inputs)
            return predictions(results, by_row=question.by_row)
        inputs = read_examples(body, inputs=model.inputs, verb=verb)
        if verb == "regress":
            return regressions(self._asking.answer(served, inputs))
        return self._classes(served, inputs)

    def _classes(self, served: Served, inputs: Any) -> dict[str, Any]:
        """Return the best classes of each example; one without a label is called by its number."""
        (best, places, names, told), top = self._asking.pick(served, inputs)
        shown = names if served.labels is not None else [str(n) for n in places.ravel().tolist()]
        numbers = best.view(np.uint8) if best.dtype.kind == "b" else best
        scores = sayable(kept(numbers, told).ravel(), "of scores").tolist()
        pairs = [
            [name * keep, score]
            for name, score, keep in zip(shown, scores, told.ravel().tolist(), strict=True)
        ]
        return {"results": [pairs[i : i + top] for i in range(0, len(pairs), top)]}

    def _status(self, name: str, version: str | None) -> HTTPResponse:
        shelf = self._registry.shelves.get(name)
        states = {} if shelf is None else dict.fromkeys(shelf.versions, "")
        for (model, number), code in self._registry.refused.items():
            if model == name:
                states.setdefault(str(number), code)
        if version is not None:
            states = {each: code for each, code in states.items() if each == version}
        if not states:
            return _unknown(name, version, None)
        return json_response(_OK, status_record(states))


def _unknown(name: str, version: str | None, label: str | None) -> HTTPResponse:
    asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    if label is not None:
        asked = f"Labelled({name}, {label})"
    return failure(404, f"Servable not found for request: {asked}")
