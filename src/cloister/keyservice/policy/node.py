"""A policy text as a tree that remembers where each value stood, before anybody judges it.

Invariants:
    1. A tree has no aliases: each value appears where it was written and nowhere else.
    2. The keys of a map are texts, each once.
    3. Nothing is converted by guesswork: what YAML readers disagree about is `UnusableNode`.

Nothing here does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister.errors import MalformedError
from cloister.wire import Value

__all__ = [
    "CONTROL",
    "IntegerNode",
    "ListNode",
    "MapNode",
    "Node",
    "PolicyProblem",
    "Problems",
    "TextNode",
    "UnusableNode",
    "join",
    "node_from_value",
    "place_of",
    "quote",
]

MAX_PROBLEMS: Final = 100
_MAX_QUOTED: Final = 48

# Characters that stand in no policy: controls other than tab and line ends, lone surrogates,
# the byte order mark, non-characters, and the line ends that only some readers know.
CONTROL: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff\u2028\u2029]"
)


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """One reason why a text is not a policy.

    Attributes:
        line: From 1; 0 where the policy did not come from a text.
        column: From 1; 0 likewise.
        path: Where in the policy, such as `workloads.train.command[1]`; empty for the whole.
        message: What is wrong and what is allowed, in one sentence.
        hint: What to write instead, or empty.
        malformed: True where the text cannot be read at all, False where it reads but does not
            say a policy.
    """

    line: int
    column: int
    path: str
    message: str
    hint: str = ""
    malformed: bool = False

    def __str__(self) -> str:
        """The problem in one line."""
        where = f"line {self.line}, column {self.column}: " if self.line else ""
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{path}{self.message}{hint}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place; line and column count from 1, and are 0 without a text."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class TextNode(Node):
    """A text."""

    text: str


@dataclass(frozen=True, slots=True)
class IntegerNode(Node):
    """A decimal integer."""

    number: int


@dataclass(frozen=True, slots=True)
class UnusableNode(Node):
    """A value that has no place in a policy: what it is, and what to write instead."""

    what: str
    hint: str


@dataclass(frozen=True, slots=True)
class ListNode(Node):
    """Values in order."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapNode(Node):
    """Entries in the order in which they were written."""

    entries: tuple[tuple[TextNode, Node], ...]

    def get(self, key: str) -> Node | None:
        """Return the value under a key, if the key is there."""
        return next((value for name, value in self.entries if name.text == key), None)


@dataclass(slots=True)
class Problems:
    """Collects problems, and where each path stands; keeps the first `MAX_PROBLEMS`."""

    found: list[PolicyProblem] = field(default_factory=list)
    positions: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(
        self, node: Node, path: str, *, message: str, hint: str = "", malformed: bool = False
    ) -> None:
        """Note one problem at the place of `node`."""
        if len(self.found) < MAX_PROBLEMS:
            self.found.append(PolicyProblem(node.line, node.column, path, message, hint, malformed))

    @property
    def full(self) -> bool:
        """Whether further problems would not be kept."""
        return len(self.found) >= MAX_PROBLEMS

    def error(self, source: str, *, malformed: str, invalid: str) -> MalformedError:
        """Return the error that the first problem deserves; its detail has all of them.

        Args:
            source: What stands before the message.
            malformed: The code where the document cannot be read.
            invalid: The code where it says what it may not.
        """
        unreadable = any(problem.malformed for problem in self.found)
        return MalformedError(
            f"{source}{self.found[0]}",
            code=malformed if unreadable else invalid,
            offset=self.found[0].line,
            detail="\n".join(str(problem) for problem in self.found),
        )


def place_of(path: str, positions: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    """Return line and column of a path, or of the nearest part around it that is known."""
    while path and path not in positions:
        cut = max(path.rfind("."), path.rfind("["))
        path = path[: max(cut, 0)]
    return positions.get(path)


def join(path: str, key: str) -> str:
    """Return the path of `key` within `path`; keys that are not plain names stand in brackets."""
    if not key.replace("_", "").replace("-", "").isalnum() or not key.isascii():
        return f"{path}[{quote(key)}]" if not _is_mount_point(key) else f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def quote(text: str) -> str:
    """Show a text in a message: on one line, in quotes, not too long."""
    shown = text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 1] + "…"
    return "'" + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in shown) + "'"


def node_from_value(value: Value) -> Node:
    """Return the tree of a value that was decoded from canonical bytes; it has no lines."""
    if isinstance(value, str):
        return TextNode(0, 0, value)
    if isinstance(value, int) and not isinstance(value, bool):
        return IntegerNode(0, 0, value)
    if isinstance(value, bytes):
        return UnusableNode(0, 0, "a byte string", "")
    if value is None or isinstance(value, bool):
        return UnusableNode(0, 0, f"the value {str(value).lower()}", "")
    if isinstance(value, dict):
        entries = tuple((TextNode(0, 0, key), node_from_value(item)) for key, item in value.items())
        return MapNode(0, 0, entries)
    return ListNode(0, 0, tuple(node_from_value(item) for item in value))


def _is_mount_point(key: str) -> bool:
    return len(key) <= _MAX_QUOTED and all(c.isalnum() or c in "/._-" for c in key)
