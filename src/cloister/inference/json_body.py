"""A body of JSON, which may be megabytes of numbers: no key twice, no NaN, no depth that ends us.

`wire.strict_json` is stricter, and looks at each byte and number in Python: it is for small files.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["read_body"]


def read_body(data: bytes) -> Any:
    """Return what untrusted bytes say in JSON.

    Raises:
        ValueError: They do not, or say a key twice, or are nested too deeply.
    """
    try:
        return json.loads(data, object_pairs_hook=_no_repeats, parse_constant=_no_constant)
    except RecursionError as e:
        raise ValueError("nested too deeply") from e


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) != len(pairs):
        raise ValueError("a key is there twice")
    return items


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")
