"""What reads the exchange of a clean room, for the fuzzer: messages, and what a server keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cloister.cleanroom.checkpoint import Checkpoint
from cloister.cleanroom.exchange_message import SERVER, Kind, message_bytes, read_message
from cloister.cleanroom.model_file import TrainedModel
from cloister.cleanroom.report import Report, read_report
from cloister.cleanroom.server_standing import Standing
from rounds_bench import LIFE, RULES, begun, floats

__all__ = ["ROUNDS"]

_FOLDER: Final = Path(__file__).parents[2] / "docs/spec/vectors/training-round-v1"
_MODEL: Final = TrainedModel(b"a plan", floats(1, 2, 3), 4, {"epoch": 1}).to_bytes(RULES)


def _good(kind: str) -> list[bytes]:
    vectors = [json.loads(path.read_text("utf-8")) for path in sorted(_FOLDER.glob("*.json"))]
    return [
        bytes.fromhex(each["bytes"])
        for each in vectors
        if each["kind"] == kind and each["expect"] == "ok"
    ]


def _message(data: bytes) -> object:
    return read_message(data, RULES)


def _checkpoint(data: bytes) -> object:
    return Checkpoint.from_bytes(data, RULES)


def _model(data: bytes) -> object:
    return TrainedModel.from_bytes(data, RULES)


def _report(data: bytes) -> object:
    return read_report(data, room=RULES.room, metrics=RULES.metrics)


def _reported() -> bytes:
    report = Report(RULES, digits=2, every_rounds=1)
    report.add(1, dict.fromkeys(RULES.metrics, 0.5))
    report.add(2, dict.fromkeys(RULES.metrics))
    return report.to_bytes()


def _conversation(data: bytes) -> object:
    """Hand messages to a server that has begun, and a server's to a trainer's memory of it."""
    mind = begun()
    seen = Standing(1, LIFE, 0, 0)
    size = message_bytes(RULES)
    for begin in range(0, min(len(data), 8 * size), size):
        message = read_message(data[begin : begin + size], RULES)
        if message.sender == SERVER:
            said = Standing(message.epoch, message.life, message.version, message.durable)
            seen = seen.followed_by(said)
        elif message.kind is Kind.HELLO:
            mind.hello(message)
        else:
            mind.take(message.sender, message)
        mind.advance(mind.tick + 1)
        mind.tell(0, welcome=False)
    return mind.outcome()


ROUNDS: Final[Sequence[tuple[Callable[[bytes], object], list[bytes]]]] = (
    (_message, _good("message")),
    (_checkpoint, _good("checkpoint")),
    (_model, [_MODEL]),
    (_report, [_reported()]),
    (_conversation, _good("message")),
)
