"""What a place in a policy may hold, and how it is read: without guessing, and to the end.

A `Kind` turns a tree into a value, or notes why it cannot, with the place and a sentence that says
what is allowed. Which place holds which kind is in `schema`.

Spec: release-policy-v1, clauses POL-10 to POL-15.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cloister.keyservice.policy.model import Unchecked
from cloister.keyservice.policy.node import (
    CONTROL,
    IntegerNode,
    ListNode,
    MapNode,
    Node,
    Problems,
    TextNode,
    UnusableNode,
    join,
    quote,
)

__all__ = [
    "UNREADABLE",
    "AnyOr",
    "ByKey",
    "ChoiceKind",
    "IntegerKind",
    "Kind",
    "ListKind",
    "MapKind",
    "Marked",
    "OrUnchecked",
    "RecordKind",
    "TextKind",
    "text_kind",
]


class _Unreadable:
    """Stands for a value that could not be read; its problem has been noted."""


_UNREADABLE: Final = _Unreadable()
UNREADABLE: Final = _UNREADABLE


class Kind(Protocol):
    """What a place in a policy may hold."""

    @property
    def allowed(self) -> str:
        """What is allowed, as the object of a sentence."""
        ...

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Return the value, or `_UNREADABLE` after noting at least one problem."""
        ...


@dataclass(frozen=True, slots=True)
class TextKind:
    """A text of one pattern and length."""

    allowed: str
    pattern: re.Pattern[str]
    max_length: int
    min_length: int = 1

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        if isinstance(node, IntegerNode):
            return _refuse(
                node, path, problems, self.allowed, hint=f'put it in quotes: "{node.number}"'
            )
        if not isinstance(node, TextNode):
            return _refuse(node, path, problems, self.allowed)
        if not self.min_length <= len(node.text) <= self.max_length:
            found = f"a text of {len(node.text)} characters"
            return _refuse(node, path, problems, self.allowed, found=found)
        if CONTROL.search(node.text) or not self.pattern.fullmatch(node.text):
            return _refuse(node, path, problems, self.allowed, hint=self._hint(node.text))
        return node.text

    def _hint(self, text: str) -> str:
        lowered = text.lower()
        fits = lowered != text and self.pattern.fullmatch(lowered) is not None
        return f"lower case would do: {quote(lowered)}" if fits else ""


@dataclass(frozen=True, slots=True)
class ChoiceKind:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return " or ".join(quote(word) for word in self.words)

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        if isinstance(node, TextNode) and node.text in self.words:
            return node.text
        hint = _did_you_mean(node.text, self.words) if isinstance(node, TextNode) else ""
        return _refuse(node, path, problems, self.allowed, hint=hint)


@dataclass(frozen=True, slots=True)
class IntegerKind:
    """An integer within bounds."""

    minimum: int
    maximum: int

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"an integer from {self.minimum} to {self.maximum}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        if isinstance(node, IntegerNode) and self.minimum <= node.number <= self.maximum:
            return node.number
        return _refuse(node, path, problems, self.allowed)


@dataclass(frozen=True, slots=True)
class ListKind:
    """A list of one kind."""

    item: Kind
    maximum: int
    what: str
    unique: bool = True
    minimum: int = 1

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"a list of {self.minimum} to {self.maximum} {self.what}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        if not isinstance(node, ListNode):
            hint = "write it as a list: [ ... ]" if isinstance(node, TextNode | IntegerNode) else ""
            return _refuse(node, path, problems, self.allowed, hint=hint)
        if not self.minimum <= len(node.items) <= self.maximum:
            return _refuse(node, path, problems, self.allowed, found=f"a list of {len(node.items)}")
        values: list[object] = []
        for index, item in enumerate(node.items):
            place = f"{path}[{index}]"
            problems.positions[place] = (item.line, item.column)
            value = self.item.read(item, place, problems)
            if self.unique and value is not _UNREADABLE and value in values:
                problems.add(item, place, message="stands in this list twice")
            values.append(value)
        return _UNREADABLE if _UNREADABLE in values else tuple(values)


@dataclass(frozen=True, slots=True)
class MapKind:
    """A map whose keys the author chooses."""

    key: TextKind
    value: Kind
    maximum: int
    what: str
    minimum: int = 0

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"a map of {self.minimum} to {self.maximum} {self.what}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        if not isinstance(node, MapNode):
            return _refuse(node, path, problems, self.allowed, hint="for none, write {}")
        if not self.minimum <= len(node.entries) <= self.maximum:
            return _refuse(
                node, path, problems, self.allowed, found=f"a map of {len(node.entries)}"
            )
        values: dict[str, object] = {}
        readable = True
        for key, item in node.entries:
            place = join(path, key.text)
            problems.positions[place] = (key.line, key.column)
            readable = self.key.read(key, place, problems) is not _UNREADABLE and readable
            values[key.text] = self.value.read(item, place, problems)
        readable = readable and not any(value is _UNREADABLE for value in values.values())
        return values if readable else _UNREADABLE


@dataclass(frozen=True, slots=True)
class RecordKind:
    """A map with the keys that it must have, made into a record."""

    make: Callable[..., object]
    what: str
    fields: Mapping[str, Kind]
    optional: frozenset[str] = frozenset()
    wrong: Callable[[Any], str] = lambda _: ""

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"a map that describes {self.what}: {', '.join(self.fields)}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        if not isinstance(node, MapNode):
            return _refuse(node, path, problems, self.allowed)
        readable = self._names_are_known(node, path, problems)
        values: dict[str, object] = {}
        for name, kind in self.fields.items():
            entry = next((entry for entry in node.entries if entry[0].text == name), None)
            if entry is not None:
                place = join(path, name)
                problems.positions[place] = (entry[0].line, entry[0].column)
                values[name] = kind.read(entry[1], place, problems)
            elif name not in self.optional:
                problems.add(
                    node,
                    path,
                    message=f"the key {quote(name)} is missing; it takes {kind.allowed}",
                )
                readable = False
        if not readable or any(value is _UNREADABLE for value in values.values()):
            return _UNREADABLE
        made = self.make(**values)
        if problem := self.wrong(made):
            problems.add(node, path, message=problem)
            return _UNREADABLE
        return made

    def _names_are_known(self, node: MapNode, path: str, problems: Problems) -> bool:
        strangers = [key for key, _ in node.entries if key.text not in self.fields]
        absent = [name for name in self.fields if node.get(name) is None]
        for key in strangers:
            hint = _did_you_mean(key.text, absent)
            known = f"known here: {', '.join(self.fields)}"
            problems.add(key, join(path, key.text), message=f"unknown key; {known}", hint=hint)
        return not strangers


@dataclass(frozen=True, slots=True)
class OrUnchecked:
    """A check: its value, or the reason why it is left out."""

    kind: Kind

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"{self.kind.allowed}, or {{unchecked: <reason>}}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        if isinstance(node, MapNode):
            return UNCHECKED.read(node, path, problems)
        if isinstance(node, TextNode) and node.text == "unchecked":
            return _refuse(
                node, path, problems, self.allowed, hint="a reason is needed: {unchecked: <reason>}"
            )
        return self.kind.read(node, path, problems)


@dataclass(frozen=True, slots=True)
class AnyOr:
    """The word `any`, or what is meant."""

    kind: Kind

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"'any', or {self.kind.allowed}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        if isinstance(node, TextNode):
            if node.text == "any":
                return node.text
            return _refuse(node, path, problems, self.allowed)
        return self.kind.read(node, path, problems)


@dataclass(frozen=True, slots=True)
class ByKey:
    """One of several records, told apart by a key that only it has."""

    records: Mapping[str, RecordKind]

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return " or ".join(f"{{{key}: …}}" for key in self.records)

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        if isinstance(node, MapNode):
            found = [record for key, record in self.records.items() if node.get(key) is not None]
            if len(found) == 1:
                return found[0].read(node, path, problems)
        return _refuse(node, path, problems, f"exactly one of {self.allowed}")


@dataclass(frozen=True, slots=True)
class Marked:
    """One of two records: with the key that marks it one, without it the other."""

    key: str
    marked: RecordKind
    plain: RecordKind

    @property
    def allowed(self) -> str:
        """What is allowed."""
        return f"{self.plain.allowed}; or {self.marked.allowed}"

    def read(self, node: Node, path: str, problems: Problems) -> object:
        """Read it, as `Kind` says."""
        marked = isinstance(node, MapNode) and node.get(self.key) is not None
        return (self.marked if marked else self.plain).read(node, path, problems)


def _refuse(
    node: Node, path: str, problems: Problems, allowed: str, *, found: str = "", hint: str = ""
) -> _Unreadable:
    if isinstance(node, UnusableNode):
        found, hint = node.what, hint or node.hint
    problems.add(node, path, message=f"expected {allowed}; found {found or _name(node)}", hint=hint)
    return _UNREADABLE


def _name(node: Node) -> str:
    if isinstance(node, TextNode):
        return quote(node.text)
    if isinstance(node, IntegerNode):
        return f"the number {node.number}"
    return "a list" if isinstance(node, ListNode) else "a map"


def _did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  # only a mistake pays for it

    close = get_close_matches(word[:64], known, n=1)
    return f"did you mean {quote(close[0])}?" if close else ""


def text_kind(allowed: str, pattern: str, *, max_length: int, min_length: int = 1) -> TextKind:
    """Make a kind of text: what is allowed in words, and as a regular expression."""
    return TextKind(allowed, re.compile(pattern, re.DOTALL), max_length, min_length)


_REASON: Final = text_kind("a reason of 8 to 300 characters", ".*", max_length=300, min_length=8)
UNCHECKED: Final = RecordKind(Unchecked, "a check that is left out", {"unchecked": _REASON})
