"""What reads queries of a clean room, for the fuzzer: both ends' messages, and who decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cloister.cleanroom.query_message import Answer, Greeting, QueryRules, Request
from unit.cleanroom.asking import Purse, Rows, request, room_with, service_of, session

__all__ = ["QUERIES"]

_FOLDER: Final = Path(__file__).parents[2] / "docs/spec/vectors/cleanroom-query-v1"
_RULES: Final = QueryRules(
    room=bytes(range(1, 33)),
    shape=(2, 2),
    classes=5,
    kind="rounded",
    top_k=2,
    digits=2,
    tick_s=0.2,
    limit=100,
)
_ROOM: Final = room_with()
_SERVICE: Final = service_of(_ROOM, Rows(), Purse(1 << 30))


def _good(kind: str) -> list[bytes]:
    vectors = [json.loads(path.read_text("utf-8")) for path in sorted(_FOLDER.glob("*.json"))]
    return [
        bytes.fromhex(each["bytes"])
        for each in vectors
        if each["kind"] == kind
        and each["expect"] == "ok"
        and each.get("rules", {}).get("answer") != "label"
    ]


def _request(data: bytes) -> object:
    return Request.from_bytes(data, _RULES).floats(_RULES)


def _answer(data: bytes) -> object:
    return Answer.from_bytes(data, _RULES)


def _decide(data: bytes) -> object:
    """Whatever comes has an answer of the room's size."""
    reply = _SERVICE.answer(data, session(_ROOM), deadline=float("inf"))
    return reply.answer.to_bytes(_SERVICE.rules)


QUERIES: Final[Sequence[tuple[Callable[[bytes], object], list[bytes]]]] = (
    (Greeting.from_bytes, _good("greeting")),
    (_request, _good("request")),
    (_answer, _good("answer")),
    (_decide, [request(_ROOM)]),
)
