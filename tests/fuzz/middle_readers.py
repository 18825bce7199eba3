"""Readers of what an enclave and its untrusted middle send one another, for `targets.py`."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from cloister.errors import CloisterError
from cloister.inference.middle_link import Link
from cloister.inference.middle_message import (
    Layout,
    Prefix,
    failed_head,
    hello_head,
    read_batch,
    read_failed,
    read_hello,
)

__all__ = ["MIDDLES"]

VECTORS: Final = Path(__file__).parents[2] / "docs/spec/vectors/outside-middle-v1"
LIMIT: Final = 4096


def _prefix(data: bytes) -> object:
    found = Prefix.read(data, max_body=LIMIT)
    assert found.to_bytes() == data
    return found


def _hello(data: bytes) -> object:
    found = read_hello(data)
    assert hello_head(found) == data
    return found


def _batch(data: bytes) -> object:
    _, layout = read_batch(data, max_bytes=LIMIT)
    assert layout.size <= LIMIT
    return layout.read(memoryview(bytes(layout.size)), private=True)


def _body(data: bytes) -> object:
    layout = Layout((("a", "bool", (2,)), ("b", "uint8", (1,))))
    return layout.read(memoryview(data.ljust(layout.size, b"\0")), private=False)


def _frame(data: bytes) -> object:
    """A whole frame from a socket; the end comes after it."""
    left, right = socket.socketpair()
    with left, contextlib.closing(Link(right)) as link:
        thread = threading.Thread(target=_sent, args=(left, data[:LIMIT]))
        thread.start()
        try:
            deadline = time.monotonic() + 2
            _, length, _ = link.receive_head(max_body=LIMIT, deadline=deadline)
            link.receive_into(memoryview(bytearray(length)), deadline=deadline)
        except CloisterError:
            right.shutdown(socket.SHUT_RDWR)
            raise
        finally:
            thread.join()
    return None


def _sent(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def _cases(kind: str) -> list[bytes]:
    found: list[dict[str, Any]] = [
        json.loads(path.read_text("utf-8")) for path in sorted(VECTORS.glob(f"{kind}-ok*.json"))
    ]
    assert found
    return [bytes.fromhex(case["bytes"]) for case in found]


MIDDLES: Final[list[tuple[Callable[[bytes], object], Sequence[bytes]]]] = [
    (_prefix, _cases("prefix")),
    (_hello, _cases("hello")),
    (_batch, _cases("batch")),
    (read_failed, [failed_head(7, "no memory")]),
    (_body, _cases("body")),
    (_frame, _cases("answer")),
]
