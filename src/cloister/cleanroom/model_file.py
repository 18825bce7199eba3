"""The trained model as a file in its volume: sealed for the room alone, of one size for any model.

Spec: training-round-v1, clauses TR-55 to TR-57.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cloister.cleanroom.aggregation import FLOAT, Array
from cloister.cleanroom.agreement import read_bounded
from cloister.cleanroom.checkpoint import replace_file
from cloister.cleanroom.encoding import FieldValue, Limits, Message, decode, encode
from cloister.cleanroom.room_key import RoomKey
from cloister.cleanroom.round_rules import RoundRules
from cloister.errors import LocalProtocolError, MalformedError

__all__ = ["FILE", "TrainedModel", "load_model", "save_model"]

FILE: Final = "model"
_LENGTH: Final = struct.Struct("<Q")
_REST_BYTES: Final = 1 << 16
_SEALED_BYTES: Final = 1024  # more than sealing adds


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """What a room's training came to.

    Attributes:
        plan: What the trainers made the model by, as they had it; empty where none came.
        parameters: All of them; none where there was no plan.
        version: How often they changed.
        outcome: Counts of each trainer's differences and messages. They depend on data, and are not
            for the owners.
    """

    plan: bytes
    parameters: Array
    version: int
    outcome: Mapping[str, FieldValue]

    def to_bytes(self, rules: RoundRules) -> bytes:
        """Return the file's bytes before they are sealed, as many for every model of a room.

        Raises:
            LocalProtocolError: `protocol.local`: something is too long: our bug.
        """
        data = encode(
            Message(
                "model",
                {"room": rules.room, "version": self.version, "outcome": self.outcome},
                {"plan": np.frombuffer(self.plan, np.uint8), "parameters": self.parameters},
            )
        )
        if len(data) > _size(rules) - _LENGTH.size:
            raise LocalProtocolError("a model that is too long", code="protocol.local")
        return (_LENGTH.pack(len(data)) + data).ljust(_size(rules), b"\0")

    @classmethod
    def from_bytes(cls, data: bytes, rules: RoundRules) -> TrainedModel:
        """Read what `to_bytes` wrote.

        Raises:
            MalformedError: `wire.too-large`, `wire.malformed` or `message.malformed`: not of this
                form, or another room's.
        """
        if len(data) != _size(rules):
            raise MalformedError("a model's file of another size", code="wire.too-large")
        (length,) = _LENGTH.unpack_from(data)
        end = _LENGTH.size + length
        if end > len(data) or any(data[end:]):
            raise _wrong("is not filled as it should be")
        message = decode(data[_LENGTH.size : end], Limits(message_bytes=len(data)))
        fields, arrays = dict(message.fields), dict(message.arrays)
        if message.kind != "model" or fields.pop("room", None) != rules.room:
            raise _wrong("is not this room's")
        version, outcome = fields.pop("version", None), fields.pop("outcome", None)
        plan, parameters = arrays.pop("plan", None), arrays.pop("parameters", None)
        if fields or arrays or plan is None or parameters is None:
            raise _wrong("has not the parts that it should")
        if type(version) is not int or version < 0 or not isinstance(outcome, Mapping):
            raise _wrong("has no version, or no outcome")
        if plan.dtype != np.uint8 or parameters.dtype != FLOAT or plan.ndim * parameters.ndim != 1:
            raise _wrong("has parts of another type")
        if plan.size > rules.plan_max_bytes or parameters.size > rules.parameters_max:
            raise _wrong("is larger than the terms allow")
        return cls(plan.tobytes(), parameters, version, outcome)


def save_model(folder: Path, model: TrainedModel, rules: RoundRules, key: RoomKey) -> None:
    """Put the model into its volume; when this returns, it is safe.

    Raises:
        StorageFullError: `storage.full`.
        UnavailableError: `volume.io`.
    """
    replace_file(folder / FILE, key.seal(FILE, model.to_bytes(rules)))


def load_model(folder: Path, rules: RoundRules, key: RoomKey) -> TrainedModel:
    """Read the model.

    Raises:
        ConfigError: `config.file`: it cannot be read.
        MalformedError: See `TrainedModel.from_bytes`.
        TamperedError: `volume.tampered`: this room did not seal it.
    """
    sealed = read_bounded(folder / FILE, _size(rules) + _SEALED_BYTES)
    return TrainedModel.from_bytes(key.open(FILE, sealed), rules)


def _size(rules: RoundRules) -> int:
    return _LENGTH.size + _REST_BYTES + rules.plan_max_bytes + rules.body_bytes


def _wrong(problem: str) -> MalformedError:
    return MalformedError(f"a model's file {problem}", code="message.malformed")
