"""What stands before a model that answers private queries only.

Invariants:
    1. Nothing of a request is parsed beyond its envelope before somebody who may ask has been
       found to have signed it, for this key, at this time, for the first time.
    2. Nothing is computed for a request that was not counted before.
    3. Every answer to a request that could be opened is sealed to who sent it, and has the size
       that the key's configuration says, whatever it is.
    4. Nothing that is said outside, to whoever carries or to the log, follows from what was inside;
       but for errors that nobody foresaw, of which the log has the class and the line.

Spec: private-query-v1, clauses PQ-50 to PQ-58.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cloister.errors import (
    CloisterError,
    MalformedError,
    ReleaseDeniedError,
    UnavailableError,
)
from cloister.inference.answers import too_long, unforeseen
from cloister.inference.private.binary_http import read_request, write_response
from cloister.inference.private.counting import Counter
from cloister.inference.private.keys import PrivateKeys
from cloister.inference.private.replay import ReplayGuard
from cloister.inference.private.request_auth import Askers, Binding, SignedRequest
from cloister.inference.private.ring import KeyRing
from cloister.inference.service import HTTPRequest, HTTPResponse, failure

__all__ = [
    "ANSWER_TYPE",
    "CODE_FIELD",
    "KEYS_TARGET",
    "QUERY_TARGET",
    "QUERY_TYPE",
    "UNKNOWN_KEY",
    "PrivateGate",
]

QUERY_TARGET: Final = "/private"
KEYS_TARGET: Final = "/private/keys"
QUERY_TYPE: Final = "application/cloister-private-query"
ANSWER_TYPE: Final = "application/cloister-private-answer"
KEYS_TYPE: Final = "application/cloister-private-keys"
CODE_FIELD: Final = "cloister-code"
UNKNOWN_KEY: Final = "https://iana.org/assignments/http-problem-types#ohttp-key"
_FOR_OPERATORS: Final = frozenset({"/v2/health/live", "/v2/health/ready"})
_TOO_LONG: Final = 413
_LOG: Final = logging.getLogger(__name__)
_STATUS: Final[Mapping[str, int]] = {
    "private.asker": 401,
    "identity.clock": 401,
    "private.replayed": 409,
    "private.answer-size": 413,
    "server.busy": 429,
    "message.malformed": 400,
}


class PrivateGate:
    """Answers in place of the service that it wraps."""

    def __init__(
        self,
        handle: Callable[[HTTPRequest], HTTPResponse],
        *,
        ring: KeyRing,
        askers: Askers,
        guard: ReplayGuard,
        counters: Sequence[Counter],
        clock: Callable[[], int],
    ) -> None:
        """Take what answers, and what decides whether it is asked.

        Args:
            handle: Answers inner requests; raises nothing.
            ring: The server's keys.
            askers: Who may ask.
            guard: What was here before.
            counters: Asked in this order for each request that is no `GET`.
            clock: Seconds since the epoch; going back, it stands still for what is decided here.
        """
        self._handle = handle
        self._ring = ring
        self._askers = askers
        self._guard = guard
        self._counters = tuple(counters)
        self._clock = clock
        self._latest = 0
        self._lock = threading.Lock()

    def handle(self, request: HTTPRequest) -> HTTPResponse:
        """Answer a request from the outside; every failure is a response, nothing is raised."""
        path = request.target.partition("?")[0]
        if path == QUERY_TARGET:
            return self._query(request) if request.method == "POST" else _not_allowed("POST")
        if path not in _FOR_OPERATORS | {KEYS_TARGET}:
            return failure(404, "only private queries are answered here")
        if request.method != "GET":
            return _not_allowed("GET")
        if path != KEYS_TARGET:
            return self._handle(HTTPRequest("GET", path, {}, b""))
        try:
            document = self._ring.document(at=self._now())
        except CloisterError as e:
            _LOG.info("no private key to show code=%s", e.code)
            return failure(503, "no key at present")
        return HTTPResponse(200, document, {"content-type": KEYS_TYPE, "cache-control": "no-store"})

    def tidy(self) -> None:
        """Forget the private keys whose time is over, though nobody asks; never raises."""
        self._ring.tidy(at=self._now())

    @staticmethod
    def is_quick(request: HTTPRequest) -> bool:
        """Tell whether answering runs no model."""
        return request.method != "POST"

    def _query(self, request: HTTPRequest) -> HTTPResponse:
        at = self._now()
        try:
            opened, keys, digest = self._ring.open(bytes(request.body), at=at)
        except MalformedError:
            return _unknown_key()
        binding = Binding(digest, keys.configuration.key_id, opened.enc)
        answer = self._inside(opened.plaintext, binding, keys, at)
        return HTTPResponse(
            200,
            opened.seal_response(answer),
            {"content-type": ANSWER_TYPE, "cache-control": "no-store"},
        )

    def _inside(self, plaintext: bytes, binding: Binding, keys: PrivateKeys, at: int) -> bytes:
        """Return the padded answer to what a request held."""
        size = keys.sizes.other
        try:
            # 1. Who asks: the envelope's own part only.
            signed = SignedRequest.from_bytes(plaintext)
            asker = self._askers.require(signed, binding, at=at)
            # 2. For the first time, and now.
            self._guard.admit(asker, signed.nonce, time=signed.time, at=at)
            # 3. What is asked.
            request = read_request(signed.inner)
            size = keys.sizes.of(request.target)
            # 4. Counted before it is computed.
            if request.method != "GET":
                for count in self._counters:
                    count(asker, at)
            response = self._handle(request)
            if response.status == _TOO_LONG:  # found before it was made
                raise too_long(size)
        except CloisterError as e:
            response = refusal(e)
        except Exception as e:  # noqa: BLE001  # an answer that is not sealed says that it failed
            response = unforeseen(e)
        return _padded(response, size)

    def _now(self) -> int:
        with self._lock:
            self._latest = max(self._latest, self._clock())
            return self._latest


def refusal(error: CloisterError) -> HTTPResponse:
    """Return what a client gets in place of an answer: status, sentence and code."""
    fallback = 503 if isinstance(error, UnavailableError) else 500
    if isinstance(error, ReleaseDeniedError):
        fallback = 403
    status = _STATUS.get(error.code, fallback)
    answer = failure(status, error.public)
    return HTTPResponse(status, answer.body, {**answer.headers, CODE_FIELD: error.code})


def _padded(response: HTTPResponse, size: int) -> bytes:
    data = write_response(response, size=size)
    if data is None:
        data = write_response(refusal(too_long(size)), size=size)
    if data is None:  # a refusal has a few hundred bytes, and sizes begin above them
        return bytes(size)
    return data


def _unknown_key() -> HTTPResponse:
    record = {"type": UNKNOWN_KEY, "title": "not sealed to a key of this server"}
    body = json.dumps(record, separators=(",", ":")).encode()
    return HTTPResponse(400, body, {"content-type": "application/problem+json"})


def _not_allowed(method: str) -> HTTPResponse:
    answer = failure(405, f"this page takes {method} only")
    return HTTPResponse(405, answer.body, {**answer.headers, "allow": method})
