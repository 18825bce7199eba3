"""Strict JSON (RFC 8259) for formats that others define: one reading of a text, or none.

Python's own reader takes the last of two equal keys, knows `NaN`, guesses among encodings, and ends
in `RecursionError` on deep input. Here each of these is malformed, and size and depth are bounded
before anything is built.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from cloister.errors import MalformedError

__all__ = ["read_json", "write_json"]

# What a text is cut at to see its brackets. Each match has one length, so nothing is read twice; a
# backslash outside of strings is no JSON, and where the reader stops anyway.
_MARK: Final = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)
_OPENING: Final = frozenset({b"[", b"{"})
_CLOSING: Final = frozenset({b"]", b"}"})
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def read_json(data: bytes, *, what: str, max_bytes: int, max_depth: int, code: str) -> Any:
    """Read one JSON value from untrusted bytes that hold nothing else.

    Args:
        data: Untrusted; UTF-8 without a byte order mark.
        what: What is read, for messages.
        max_bytes: The longest input that this place accepts.
        max_depth: How many objects and arrays may lie within each other.
        code: What malformed input is called here; input beyond a limit is `wire.too-large`.

    Raises:
        MalformedError: Not JSON, a key that stands twice, a number without a finite value or
            outside 64 bits, a text that is not Unicode, or a limit that is exceeded.
    """
    if len(data) > max_bytes:
        raise MalformedError(
            f"{what} of {len(data)} bytes is longer than the {max_bytes} allowed here",
            code="wire.too-large",
        )
    if _depth(data) > max_depth:
        raise MalformedError(f"{what} is nested too deeply", code="wire.too-large")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_bounded,
            parse_float=_finite,
            parse_constant=_no_constant,
        )
        _require_unicode(value)
    except (ValueError, RecursionError) as e:
        raise MalformedError(f"{what} is not strict JSON", code=code, detail=str(e)) from e
    return value


def write_json(value: object) -> bytes:
    """Return compact UTF-8; keys stay in the order in which they were put in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")


def _depth(data: bytes) -> int:
    """Count how deep brackets lie within each other, without building anything."""
    deepest = depth = 0
    inside = False
    for match in _MARK.finditer(data):
        mark = match[0]
        if mark == b'"':
            inside = not inside
        elif not inside and mark in _OPENING:
            depth += 1
            deepest = max(deepest, depth)
        elif not inside and mark in _CLOSING:
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _bounded(text: str) -> int:
    value = int(text)
    if not _INT_MIN <= value <= _INT_MAX:
        raise ValueError("a number is outside 64 bits")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number has no finite value")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _require_unicode(value: object) -> None:
    """Refuse halves of surrogate pairs, which escapes can smuggle in; depth is bounded already."""
    if isinstance(value, str):
        if _SURROGATES.search(value):
            raise ValueError("a text is not Unicode")
    elif isinstance(value, dict):
        for key, child in value.items():
            _require_unicode(key)
            _require_unicode(child)
    elif isinstance(value, list):
        for child in value:
            _require_unicode(child)
