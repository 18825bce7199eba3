"""What a parameter server keeps for its next life: a file of one size, written whole or not at all.

The room's key seals it, since the volume's owner can read the volume; the volume refuses an older
one by its anchor. Its size is the same whatever the model is.

Spec: training-round-v1, clauses TR-50 to TR-54.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cloister.cleanroom.aggregation import FLOAT, Array, Tally
from cloister.cleanroom.agreement import read_bounded
from cloister.cleanroom.room_key import RoomKey
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.schedule import MAX_TICKS
from cloister.errors import (
    LocalProtocolError,
    MalformedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.wire import Fields, encode

__all__ = ["FILE", "Checkpoint", "load_checkpoint", "replace_file", "save_checkpoint"]

FILE: Final = "checkpoint"
_FORMAT: Final = "cloister/checkpoint/v1"
_HEAD_BYTES: Final = 4096
_LENGTH: Final = struct.Struct("<I")
_DIGEST_BYTES: Final = 32
_SEALED_BYTES: Final = 1024  # more than sealing adds
_MAX_EPOCH: Final = 2**32 - 2
_TALLY: Final = tuple(field.name for field in dataclasses.fields(Tally))
_FULL: Final = frozenset({28, 122})  # ENOSPC, EDQUOT


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What is kept.

    Attributes:
        epoch: Of the life that wrote it.
        version: Of the parameters.
        tick: At which it was taken.
        plan: The plan, or nothing.
        parameters: All of them, or none where training has not begun.
        tallies: What became of each trainer's differences.
    """

    epoch: int
    version: int
    tick: int
    plan: bytes
    parameters: Array
    tallies: tuple[Tally, ...]

    def to_bytes(self, rules: RoundRules) -> bytes:
        """Return the file's bytes, as many for every model of a room.

        Raises:
            LocalProtocolError: `protocol.local`: something is too long: our bug.
        """
        head = encode(
            {
                "format": _FORMAT,
                "room": rules.room,
                "epoch": self.epoch,
                "version": self.version,
                "tick": self.tick,
                "plan": len(self.plan),
                "parameters": int(self.parameters.size),
                "tallies": [[getattr(tally, name) for name in _TALLY] for tally in self.tallies],
            }
        )
        parts = [
            (_LENGTH.pack(len(head)) + head, _HEAD_BYTES),
            (self.plan, rules.plan_max_bytes),
            (np.ascontiguousarray(self.parameters, FLOAT).tobytes(), rules.body_bytes),
        ]
        if any(len(part) > size for part, size in parts):
            raise LocalProtocolError("a checkpoint that is too long", code="protocol.local")
        data = b"".join(part.ljust(size, b"\0") for part, size in parts)
        return data + hashlib.sha256(data).digest()

    @classmethod
    def from_bytes(cls, data: bytes, rules: RoundRules) -> Checkpoint:
        """Read a file.

        Raises:
            MalformedError: `wire.too-large`, `wire.malformed` or `message.malformed`: not of this
                form, or another room's.
            TamperedError: `state.tampered`: not what was written.
        """
        if len(data) != _size(rules):
            raise MalformedError("a checkpoint of another size", code="wire.too-large")
        if hashlib.sha256(memoryview(data)[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
            raise TamperedError("a checkpoint is not what was written", code="state.tampered")
        (length,) = _LENGTH.unpack_from(data)
        if length > _HEAD_BYTES - _LENGTH.size:
            raise MalformedError("a checkpoint has no head", code="message.malformed")
        head, rest = _split(data, _LENGTH.size, length, _HEAD_BYTES)
        fields = Fields.decode(head, what="checkpoint", max_bytes=_HEAD_BYTES)
        fields.constant("format", _FORMAT)
        if fields.octets("room", length=len(rules.room)) != rules.room:
            raise MalformedError("a checkpoint of another room", code="message.malformed")
        plan_bytes = fields.integer("plan", maximum=rules.plan_max_bytes)
        count = fields.integer("parameters", maximum=rules.parameters_max)
        plan, rest = _split(data, rest, plan_bytes, rest + rules.plan_max_bytes)
        numbers, _ = _split(data, rest, count * FLOAT.itemsize, rest + rules.body_bytes)
        found = cls(
            epoch=fields.integer("epoch", minimum=1, maximum=_MAX_EPOCH),
            version=fields.integer("version"),
            tick=fields.integer("tick", maximum=MAX_TICKS),
            plan=plan,
            parameters=np.frombuffer(numbers, FLOAT),
            tallies=tuple(_read_tally(each) for each in fields.array("tallies", max_items=8)),
        )
        fields.end()
        if len(found.tallies) != rules.trainers or bool(count) != bool(plan_bytes):
            raise MalformedError("a checkpoint that contradicts itself", code="message.malformed")
        return found


def load_checkpoint(folder: Path, rules: RoundRules, key: RoomKey) -> Checkpoint | None:
    """Return what an earlier life left, or None where this is the first.

    Raises:
        ConfigError: `config.file`: it cannot be read.
        MalformedError: See `Checkpoint.from_bytes`; so is `TamperedError`, which also says that the
            file was not sealed by this room.
    """
    path = folder / FILE
    if not path.exists():
        return None
    sealed = read_bounded(path, _size(rules) + _SEALED_BYTES)
    return Checkpoint.from_bytes(key.open(FILE, sealed), rules)


def save_checkpoint(folder: Path, checkpoint: Checkpoint, rules: RoundRules, key: RoomKey) -> None:
    """Put a checkpoint in the place of the one before; when this returns, it is safe.

    Raises:
        StorageFullError: `storage.full`.
        UnavailableError: `volume.io`: the one before is still there.
    """
    replace_file(folder / FILE, key.seal(FILE, checkpoint.to_bytes(rules)))


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and wait until it is safe.

    Raises:
        StorageFullError: `storage.full`.
        UnavailableError: `volume.io`: what was there before is still there.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as e:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if e.errno in _FULL:
            raise StorageFullError("no room for a checkpoint", code="storage.full") from e
        raise UnavailableError("a checkpoint was not kept", code="volume.io") from e


def _size(rules: RoundRules) -> int:
    return _HEAD_BYTES + rules.plan_max_bytes + rules.body_bytes + _DIGEST_BYTES


def _split(data: bytes, begin: int, length: int, end: int) -> tuple[bytes, int]:
    """Return a part, and where the next one begins; between them is nothing."""
    if begin + length > end or any(data[begin + length : end]):
        raise MalformedError("a checkpoint has bytes between its parts", code="message.malformed")
    return data[begin : begin + length], end


def _read_tally(value: object) -> Tally:
    if not isinstance(value, list) or len(value) != len(_TALLY):
        raise MalformedError("a checkpoint has counts of no form", code="message.malformed")
    counts: Mapping[str, object] = dict(zip(_TALLY, value, strict=True))
    if not all(type(count) is int and count >= 0 for count in counts.values()):
        raise MalformedError("a checkpoint has counts of no form", code="message.malformed")
    return Tally(*value)
