"""The table of what may be asked over HTTP: from it come routes, checks and the OpenAPI document.

Spec: keyservice-http-v1, clauses KH-1 to KH-17.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloister.crypto.digest import digest_from_text
from cloister.errors import MalformedError
from cloister.keyservice.view import schemas
from cloister.keyservice.view.facts import MAX_ENTRIES, MAX_RECORDS, Facts, JSONValue
from cloister.keyservice.view.schemas import MAX_NUMBER, Schema
from cloister.keyservice.view.token import Scope

__all__ = ["JSON", "OPERATIONS", "Content", "Operation", "Parameter", "Sources"]

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"
_PAGE: Final = Path(__file__).parent / "page"
_DIGITS: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class Content:
    """An answer before it has headers."""

    status: int
    media: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Sources:
    """Where answers come from."""

    facts: Facts
    metrics: Callable[[], str]
    openapi: Callable[[], JSONValue]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number in the query; one without a default must be there."""

    name: str
    text: str
    minimum: int = 0
    maximum: int = MAX_NUMBER
    default: int | None = None

    def read(self, given: Mapping[str, str]) -> int:
        """Return its value, from untrusted text in its one spelling."""
        text = given.get(self.name)
        if text is None:
            if self.default is None:
                raise _malformed(f"the parameter {self.name} is missing")
            return self.default
        if _DIGITS.fullmatch(text) is None or not self.minimum <= int(text) <= self.maximum:
            raise _malformed(
                f"the parameter {self.name} is a number from {self.minimum} to {self.maximum}"
            )
        return int(text)


@dataclass(frozen=True, slots=True)
class Operation:
    """One path. `scope` is what a token must allow, None for what is public."""

    path: str
    summary: str
    answer: Callable[[Sources, Mapping[str, int], str], Content]
    media: str = JSON
    schema: Schema | None = None
    scope: Scope | None = None
    parameters: tuple[Parameter, ...] = ()
    problems: tuple[int, ...] = ()

    def read(self, query: Iterable[tuple[str, str]]) -> dict[str, int]:
        """Read the query strictly: each known parameter at most once, and no other.

        Raises:
            MalformedError: It is another (`request.malformed`).
        """
        given: dict[str, str] = {}
        for name, value in query:
            if name in given or all(name != parameter.name for parameter in self.parameters):
                raise _malformed("a parameter is unknown here, or there twice")
            given[name] = value
        return {parameter.name: parameter.read(given) for parameter in self.parameters}


def _json(value: JSONValue, *, status: int = 200) -> Content:
    return Content(status, JSON, json.dumps(value, separators=(",", ":")).encode())


def _readiness(sources: Sources, _numbers: Mapping[str, int], _hash: str) -> Content:
    found = sources.facts.readiness()
    return _json(found, status=200 if found["ready"] else _UNAVAILABLE)


def _policy(sources: Sources, _numbers: Mapping[str, int], text: str) -> Content:
    try:
        digest = digest_from_text(text)
    except MalformedError as e:
        raise _malformed("a policy's hash is written sha256: and 64 hex digits") from e
    return _json(sources.facts.policy(digest))


def _file(path: str, name: str, media: str) -> Operation:
    body = (_PAGE / name).read_bytes()
    return Operation(
        path, "A part of the page.", lambda _s, _n, _h: Content(200, media, body), media
    )


def _malformed(message: str) -> MalformedError:
    return MalformedError(message, code="request.malformed")


_SLICE: Final = (
    Parameter("first", "How many to leave out.", default=0),
    Parameter("count", "How many at most.", minimum=1, maximum=MAX_RECORDS, default=100),
)

OPERATIONS: Final = (
    Operation(
        "/v1/service",
        "Who this key service says it is: compare it with what you pinned.",
        lambda s, _n, _h: _json(s.facts.service()),
        schema=schemas.SERVICE,
    ),
    Operation(
        "/v1/log/checkpoint",
        "The log's newest checkpoint, a signed note (C2SP tlog-checkpoint).",
        lambda s, _n, _h: Content(200, TEXT, s.facts.checkpoint().encode()),
        media=TEXT,
        schema={"type": "string"},
    ),
    Operation(
        "/v1/log/entries",
        "Entries of the log, fewer than asked for where they are long.",
        lambda s, n, _h: _json(s.facts.entries(n["first"], n["count"])),
        schema=schemas.ENTRIES,
        scope="view",
        parameters=(
            Parameter("first", "Number of the first entry."),
            Parameter("count", "How many at most.", minimum=1, maximum=MAX_ENTRIES),
        ),
    ),
    Operation(
        "/v1/log/proof/inclusion",
        "The proof that an entry is in the log of that size (RFC 9162, 2.1.3.1).",
        lambda s, n, _h: _json(s.facts.inclusion(n["index"], n["size"])),
        schema=schemas.INCLUSION,
        parameters=(
            Parameter("index", "Number of the entry."),
            Parameter("size", "Size of the log.", minimum=1),
        ),
        problems=(404,),
    ),
    Operation(
        "/v1/log/proof/consistency",
        "The proof that the log of size new begins with that of size old (RFC 9162, 2.1.4.1).",
        lambda s, n, _h: _json(s.facts.consistency(n["old"], n["new"])),
        schema=schemas.CONSISTENCY,
        parameters=(
            Parameter("old", "The smaller size.", minimum=1),
            Parameter("new", "The larger size.", minimum=1),
        ),
        problems=(404,),
    ),
    Operation(
        "/v1/policies",
        "Policies, oldest first.",
        lambda s, n, _h: _json(s.facts.policies(n["first"], n["count"])),
        schema=schemas.POLICIES,
        scope="view",
        parameters=_SLICE,
    ),
    Operation(
        "/v1/policies/{hash}",
        "One policy: its canonical bytes, and what they say in words.",
        _policy,
        schema=schemas.POLICY,
        scope="view",
        problems=(404,),
    ),
    Operation(
        "/v1/volumes",
        "Volumes by identity: where each stands; no keys.",
        lambda s, n, _h: _json(s.facts.volumes(n["first"], n["count"])),
        schema=schemas.VOLUMES,
        scope="view",
        parameters=_SLICE,
    ),
    Operation(
        "/healthz",
        "The process is alive.",
        lambda _s, _n, _h: _json({"alive": True}),
        schema=schemas.HEALTH,
    ),
    Operation(
        "/readyz",
        "Whether a decision could be made durable now: state and witness can be used.",
        _readiness,
        schema=schemas.READINESS,
        problems=(503,),
    ),
    Operation(
        "/metrics",
        "Counters for Prometheus.",
        lambda s, _n, _h: Content(200, _METRICS, s.metrics().encode()),
        media=_METRICS,
        schema={"type": "string"},
        scope="metrics",
    ),
    Operation(
        "/openapi.json",
        "This document.",
        lambda s, _n, _h: _json(s.openapi()),
        schema={"type": "object"},
    ),
    _file("/", "index.html", "text/html; charset=utf-8"),
    _file("/page.js", "page.js", "text/javascript; charset=utf-8"),
    _file("/proofs.js", "proofs.js", "text/javascript; charset=utf-8"),
    _file("/page.css", "page.css", "text/css; charset=utf-8"),
)
