"""Trees of plain values as YAML that every reader takes for the same: JSON's scalars, in lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from cloister.wire import Value

__all__ = ["yaml_lines"]


def yaml_lines(tree: Mapping[str, Value], depth: int = 0) -> Iterator[str]:
    """Yield a map's lines: maps and lists of maps in lines of their own, all else as JSON."""
    for key, value in tree.items():
        name = f"{'  ' * depth}{_key(key)}:"
        if isinstance(value, Mapping) and value:
            yield name
            yield from yaml_lines(value, depth + 1)
        elif _holds_maps(value):
            yield name
            for item in value if isinstance(value, Sequence) else ():
                yield f"{'  ' * (depth + 1)}- {json.dumps(item, ensure_ascii=False)}"
        else:
            yield f"{name} {json.dumps(value, ensure_ascii=False)}"


def _holds_maps(value: Value) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and any(isinstance(item, Mapping) for item in value)
    )


def _key(key: str) -> str:
    plain = key.isidentifier() and key.isascii() and len(key) > 3 and key.lower() not in _WORDS  # noqa: PLR2004  # longer than true and yes
    return key if plain else json.dumps(key, ensure_ascii=False)


_WORDS = frozenset({"true", "false", "null"})
