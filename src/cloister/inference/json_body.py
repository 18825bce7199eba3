"""A body of JSON, which may be megabytes of numbers: no key twice, no NaN, no depth that ends us.

`wire.strict_json` is stricter, and looks at each byte and number in Python: it is for small files.
An empty list has two bytes and takes sixty in memory, so lists, objects and texts are counted
before one is made; numbers take up to ten times their bytes, so long bodies are read in turn.

Spec: serving-v1, clause SRV-32.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

__all__ = ["MAX_CONTAINERS", "read_body", "turn_at_long"]


MAX_CONTAINERS: Final = 2**19
_MAX_QUOTES: Final = 2**21
_LONG_BYTES: Final = 2**20
_TURN: Final = threading.Lock()


@contextmanager
def turn_at_long(size: int) -> Iterator[None]:
    """Wait until nobody else in this process reads or writes a long body, around doing so.

    Either takes the interpreter's lock, so that waiting costs nobody any time.

    Args:
        size: Of the body's JSON, in bytes. Up to a mebibyte nobody waits.
    """
    if size <= _LONG_BYTES:
        yield
    else:
        with _TURN:
            yield


def read_body(data: bytes) -> Any:
    """Return what untrusted bytes say in JSON of UTF-8, after a byte order mark or none.

    Raises:
        ValueError: They do not, say a key twice, are nested too deeply, or have more lists and
            objects, or texts, than half a million, or a million.
    """
    if data.count(b"[") + data.count(b"{") > MAX_CONTAINERS or data.count(b'"') > _MAX_QUOTES:
        raise ValueError("too many lists, objects or texts")
    try:
        return json.loads(
            data.decode("utf-8-sig"), object_pairs_hook=_no_repeats, parse_constant=_no_constant
        )
    except RecursionError as e:
        raise ValueError("nested too deeply") from e


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) != len(pairs):
        raise ValueError("a key is there twice")
    return items


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")
