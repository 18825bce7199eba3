"""What the inside and the untrusted middle say to one another, as bytes.

A frame is a prefix, a head and a body. The inside knows every byte of the head of the answer that
it waits for, and takes no other: names, types and shapes are not read from an answer, they are
compared.

Spec: outside-middle-v1, clauses OM-1 to OM-15.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cloister.errors import LocalProtocolError, MalformedError
from cloister.inference.tensor import Array
from cloister.wire import Fields, Value, encode

__all__ = [
    "MAX_HEAD_BYTES",
    "PREFIX_BYTES",
    "TYPE",
    "Hello",
    "Layout",
    "Prefix",
    "answer_head",
    "batch_head",
    "failed_head",
    "hello_head",
    "printable",
    "read_batch",
    "read_failed",
    "read_hello",
    "ready_head",
]

TYPE: Final = "cloister/outside-middle/v1"
MAX_HEAD_BYTES: Final = 65536
ALIGNMENT: Final = 64
_MAGIC: Final = b"CMD\x01"
_PREFIX: Final = struct.Struct("<4sIQ")
PREFIX_BYTES: Final = _PREFIX.size
_MAX_TENSORS: Final = 1024
_MAX_RANK: Final = 8
_MAX_NAME: Final = 512
_MAX_REASON: Final = 200
_HELLO, _BLINDED = "hello", "blinded"
_TYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "bool": np.dtype("?"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    **{
        f"{sign}int{8 * size}": np.dtype(f"<{'u' if sign else 'i'}{size}")
        for sign in ("", "u")
        for size in (1, 2, 4, 8)
    },
}


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first sixteen bytes of a frame: how long its head and its body are."""

    head_bytes: int
    body_bytes: int

    def to_bytes(self) -> bytes:
        """Return the sixteen bytes."""
        return _PREFIX.pack(_MAGIC, self.head_bytes, self.body_bytes)

    @classmethod
    def read(cls, data: bytes, *, max_body: int) -> Prefix:
        """Read untrusted bytes; nothing is made of that length before this has allowed it.

        Raises:
            MalformedError: `middle.malformed` or `wire.too-large`.
        """
        if len(data) != PREFIX_BYTES:
            raise _malformed("is cut off", clause="OM-1")
        magic, head, body = _PREFIX.unpack(data)
        if magic != _MAGIC:
            raise _malformed("does not begin as one of version 1", clause="OM-1")
        if head > MAX_HEAD_BYTES or body > max_body:
            raise MalformedError(
                "a frame is longer than is allowed here", code="wire.too-large", clause="OM-2"
            )
        return cls(head, body)


@dataclass(frozen=True, slots=True)
class Layout:
    """Tensors in a body: one after another, each from a multiple of 64 bytes.

    Attributes:
        rows: Name, type and shape of each.
    """

    rows: tuple[tuple[str, str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Layout:
        """Return the layout of arrays in their order."""
        return cls(tuple((name, each.dtype.name, each.shape) for name, each in arrays.items()))

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(_aligned(self._bytes(row)) for row in self.rows)

    def write(self, arrays: Mapping[str, Array], body: memoryview) -> None:
        """Put arrays of this layout into a body of at least its size."""
        at = 0
        for name, kind, shape in self.rows:
            array = np.asarray(arrays[name], dtype=_TYPES[kind], order="C")
            if array.shape != shape:
                raise LocalProtocolError("an array of another shape", code="protocol.local")
            end = at + array.nbytes
            np.frombuffer(body[at:end], _TYPES[kind]).reshape(shape)[...] = array
            at = _aligned(end)

    def read(self, body: memoryview, *, private: bool) -> dict[str, Array]:
        """Return the arrays in a body of at least this size.

        Args:
            body: Bytes.
            private: Copy each, once: somebody else can still change the body. Otherwise arrays are
                views of it.
        """
        arrays: dict[str, Array] = {}
        at = 0
        for row in self.rows:
            name, kind, shape = row
            end = at + self._bytes(row)
            array = np.frombuffer(body[at:end], _TYPES[kind]).reshape(shape)
            arrays[name] = array.copy() if private else array
            if kind == "bool" and bool((arrays[name].view(np.uint8) > 1).any()):
                raise _malformed("holds bytes that are neither true nor false", clause="OM-6")
            at = _aligned(end)
        return arrays

    def value(self) -> list[Value]:
        """Return it as a head has it."""
        return [[name, kind, list(shape)] for name, kind, shape in self.rows]

    @classmethod
    def from_value(cls, rows: Sequence[Value], *, max_bytes: int) -> Layout:
        """Read untrusted rows; sizes are bounded before anyone multiplies further.

        Raises:
            MalformedError: `middle.malformed` or `wire.too-large`.
        """
        found: list[tuple[str, str, tuple[int, ...]]] = []
        total = 0
        for row in rows:
            match row:
                case [str() as name, str() as kind, list() as shape]:
                    pass
                case _:
                    raise _malformed("describes a tensor otherwise", clause="OM-5")
            sizes = tuple(size for size in shape if type(size) is int and size >= 0)
            good = 0 < len(name) <= _MAX_NAME and kind in _TYPES and len(shape) <= _MAX_RANK
            if not good or len(sizes) != len(shape):
                raise _malformed("describes a tensor that cannot be", clause="OM-5")
            extent = _TYPES[kind].itemsize
            for size in sizes:
                extent *= max(size, 1)
                if extent > max_bytes:
                    raise _too_large()
            total += _aligned(_TYPES[kind].itemsize * math.prod(sizes))
            if total > max_bytes:
                raise _too_large()
            found.append((name, kind, sizes))
        if len({name for name, _, _ in found}) != len(found):
            raise _malformed("has two tensors of one name", clause="OM-5")
        return cls(tuple(found))

    @staticmethod
    def _bytes(row: tuple[str, str, tuple[int, ...]]) -> int:
        return _TYPES[row[1]].itemsize * math.prod(row[2])


@dataclass(frozen=True, slots=True)
class Hello:
    """What the inside wants of a connection.

    Attributes:
        part: SHA-256 of the middle's file.
        outputs: The tensors that answers have, in this order.
        memory_bytes: Size of the shared memory that came along; 0 where bodies travel in frames.
        blinded: Whether batches are residues for one linear step each, and `outputs` names steps.
    """

    part: bytes
    outputs: tuple[str, ...]
    memory_bytes: int
    blinded: bool = False


def hello_head(hello: Hello) -> bytes:
    """Return a hello's head."""
    return encode(
        {
            "kind": _BLINDED if hello.blinded else _HELLO,
            "memory": hello.memory_bytes,
            "outputs": list(hello.outputs),
            "part": hello.part,
            "type": TYPE,
        }
    )


def ready_head(part: bytes) -> bytes:
    """Return the head of the answer to a hello."""
    return encode({"kind": "ready", "part": part, "type": TYPE})


def batch_head(number: int, layout: Layout) -> bytes:
    """Return a batch's head."""
    return encode({"kind": "batch", "number": number, "tensors": layout.value()})


def answer_head(number: int, layout: Layout) -> bytes:
    """Return an answer's head."""
    return encode({"kind": "answer", "number": number, "tensors": layout.value()})


def failed_head(number: int, reason: str) -> bytes:
    """Return the head that says that there is no answer."""
    return encode({"kind": "failed", "number": number, "reason": printable(reason)})


def read_hello(head: bytes) -> Hello:
    """Read a hello of either kind, as the middle does.

    Raises:
        MalformedError: `wire.malformed` or `middle.malformed`.
    """
    fields = _fields(head)
    fields.constant("type", TYPE)
    kind = fields.text("kind")
    if kind not in {_HELLO, _BLINDED}:
        raise _malformed("is no hello", clause="OM-14")
    hello = Hello(
        fields.octets("part", length=32),
        tuple(fields.texts("outputs", max_items=_MAX_TENSORS, max_length=_MAX_NAME)),
        fields.integer("memory", maximum=2**40),
        blinded=kind == _BLINDED,
    )
    fields.end()
    return hello


def read_batch(head: bytes, *, max_bytes: int) -> tuple[int, Layout]:
    """Read a batch's head, as the middle does.

    Raises:
        MalformedError: `wire.malformed`, `wire.too-large` or `middle.malformed`.
    """
    fields = _fields(head)
    fields.constant("kind", "batch")
    number = fields.integer("number")
    rows = fields.array("tensors", max_items=_MAX_TENSORS)
    fields.end()
    return number, Layout.from_value(rows, max_bytes=max_bytes)


def read_failed(head: bytes) -> tuple[int, str]:
    """Read a head that is not the one that was waited for, as the inside does.

    Returns:
        The number and the reason, which is untrusted text without control characters.

    Raises:
        MalformedError: `wire.malformed` or `middle.malformed`: it is no failure either.
    """
    fields = _fields(head)
    fields.constant("kind", "failed")
    number = fields.integer("number")
    reason = fields.text("reason", max_length=_MAX_REASON)
    fields.end()
    return number, printable(reason)


def _fields(head: bytes) -> Fields:
    return Fields.decode(head, what="frame", max_bytes=MAX_HEAD_BYTES, code="middle.malformed")


def printable(text: str) -> str:
    """Return as much of a text that somebody else chose as a log takes, on one line."""
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_REASON])


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _malformed(problem: str, *, clause: str) -> MalformedError:
    return MalformedError(f"a frame {problem}", code="middle.malformed", clause=clause)


def _too_large() -> MalformedError:
    return MalformedError(
        "a frame has more than is allowed here", code="wire.too-large", clause="OM-5"
    )
