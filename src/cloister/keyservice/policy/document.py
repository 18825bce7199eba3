"""From YAML text to a tree, strictly, without recursion and within limits.

The text is untrusted. The YAML library is used as a source of events only; it never builds an
object. Refused, each with a sentence: anchors and aliases, tags, several documents, directives,
merge keys, repeated keys, keys that are not texts, nesting beyond `MAX_DEPTH`, more than
`MAX_NODES` values, and every plain scalar on which YAML 1.1 and 1.2 readers disagree.

Spec: release-policy-v1, clauses POL-1 to POL-9.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cloister.keyservice.policy.node import (
    CONTROL,
    IntegerNode,
    ListNode,
    MapNode,
    Node,
    Problems,
    TextNode,
    UnusableNode,
    quote,
)

__all__ = ["MAX_DEPTH", "MAX_NODES", "read_document"]

MAX_DEPTH: Final = 12
MAX_NODES: Final = 20_000
_MAX_DIGITS: Final = 18

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]*")
_WORD: Final = re.compile(r"y|n|yes|no|on|off|true|false", re.IGNORECASE)
_NULL: Final = re.compile(r"|~|null", re.IGNORECASE)
_NUMBER: Final = re.compile(
    r"[-+]?(0x[0-9a-f_]+|0[ob][0-7_]+|\.inf"
    r"|([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)(e[-+]?[0-9]+)?)|\.nan",
    re.IGNORECASE,
)
_SEXAGESIMAL: Final = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?", re.DOTALL)


@dataclass(slots=True)
class _Open:
    """A list or map whose end has not come yet."""

    line: int
    column: int
    is_map: bool
    items: list[Node] = field(default_factory=list)
    entries: list[tuple[TextNode, Node]] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    key: TextNode | None = None


class _Stop(Exception):  # noqa: N818  # control flow within this module, never seen outside
    """Reading cannot go on; the problem has been noted."""


def read_document(text: str, problems: Problems) -> Node | None:
    """Return the tree of the one document in `text`, or None after noting why there is none.

    Problems that do not stop reading (a repeated key, a tag) are noted and a tree is still
    returned, so that one pass shows everything; the caller must not use a tree for anything
    but finding more problems once there is one.
    """
    bad = CONTROL.search(text)
    if bad is not None:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - (text.rfind("\n", 0, bad.start()) + 1) + 1
        problems.add(
            Node(line, column),
            "",
            message=f"the character U+{ord(bad.group()):04X} may not stand in a policy",
            malformed=True,
        )
        return None
    try:
        return _Builder(problems).build(text)
    except _Stop:
        return None


class _Builder:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._stack: list[_Open] = []
        self._root: Node | None = None
        self._nodes = 0
        self._documents = 0

    def build(self, text: str) -> Node | None:
        for event in self._events(text):
            self._take(event)
        if self._root is None:
            self._stop(Node(1, 1), "the text is empty; a policy is a map")
        return self._root

    def _events(self, text: str) -> Iterator[object]:
        import yaml  # noqa: PLC0415  # only whoever reads policies as text pays for it

        loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            yield from yaml.parse(text, Loader=loader)
        except yaml.MarkedYAMLError as e:
            mark = e.problem_mark or e.context_mark
            place = Node(mark.line + 1, mark.column + 1) if mark else Node(1, 1)
            self._stop(place, f"not YAML: {_clean(e.problem or e.context or 'cannot be read')}")
        except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as e:
            self._problems.add(
                Node(1, 1), "", message=f"not YAML: {_clean(str(e))}", malformed=True
            )
            raise _Stop from e

    def _take(self, event: object) -> None:
        name = type(event).__name__
        if name == "DocumentStartEvent":
            self._start_document(event)
        elif name in {"ScalarEvent", "AliasEvent", "MappingStartEvent", "SequenceStartEvent"}:
            self._start_node(event, name)
        elif name in {"MappingEndEvent", "SequenceEndEvent"}:
            self._close()

    def _start_document(self, event: object) -> None:
        self._documents += 1
        if self._documents > 1:
            self._stop(_place(event), "a policy file holds one document")
        if getattr(event, "version", None) or getattr(event, "tags", None):
            self._stop(_place(event), "YAML directives are not allowed")

    def _start_node(self, event: object, name: str) -> None:
        place = _place(event)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(place, f"more than {MAX_NODES} values")
        if name == "AliasEvent":
            self._stop(place, "aliases (*name) are not allowed", hint="write the value out")
        if getattr(event, "anchor", None) is not None:
            self._note(place, "anchors (&name) are not allowed", hint="write the value out")
        if getattr(event, "tag", None) is not None:
            self._note(place, "tags (!name) are not allowed", hint="remove the tag")
        if name == "ScalarEvent":
            self._add(_scalar(event, place))
            return
        if len(self._stack) >= MAX_DEPTH:
            self._stop(place, f"nested deeper than {MAX_DEPTH} levels")
        parent = self._stack[-1] if self._stack else None
        if parent is not None and parent.is_map:
            if parent.key is None:
                self._stop(place, "a key is a text, not a list or a map")
            else:
                place = parent.key  # a list or map stands where its key does
        self._stack.append(_Open(place.line, place.column, name == "MappingStartEvent"))

    def _close(self) -> None:
        done = self._stack.pop()
        if done.is_map:
            self._add(MapNode(done.line, done.column, tuple(done.entries)))
        else:
            self._add(ListNode(done.line, done.column, tuple(done.items)))

    def _add(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if not parent.is_map:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = self._key(node, parent)
        else:
            parent.entries.append((parent.key, node))
            parent.key = None

    def _key(self, node: Node, parent: _Open) -> TextNode:
        if not isinstance(node, TextNode):
            what = node.what if isinstance(node, UnusableNode) else "a number"
            self._note(node, f"a key is a text, not {what}", hint="put the key in quotes")
            return TextNode(node.line, node.column, "")
        first = parent.keys.get(node.text)
        if first is not None:
            self._note(node, f"the key {quote(node.text)} stood already in line {first}")
        parent.keys.setdefault(node.text, node.line)
        return node

    def _note(self, place: Node, message: str, *, hint: str = "") -> None:
        self._problems.add(place, "", message=message, hint=hint, malformed=True)
        if self._problems.full:
            raise _Stop

    def _stop(self, place: Node, message: str, *, hint: str = "") -> None:
        self._problems.add(place, "", message=message, hint=hint, malformed=True)
        raise _Stop


def _place(event: object) -> Node:
    mark = getattr(event, "start_mark", None)
    return Node(mark.line + 1, mark.column + 1) if mark is not None else Node(1, 1)


def _scalar(event: object, place: Node) -> Node:
    text = str(getattr(event, "value", ""))
    if CONTROL.search(text):
        return UnusableNode(
            place.line, place.column, "a text with control characters", "write them out of it"
        )
    if getattr(event, "style", None) in {"'", '"', "|", ">"}:
        return TextNode(place.line, place.column, text)
    return _plain(text, place)


def _plain(text: str, place: Node) -> Node:
    """Give a scalar without quotes the one meaning that every YAML reader agrees on, or none."""
    line, column = place.line, place.column
    quoted = f"for a text, put it in quotes: {quote(text)}"
    if _INTEGER.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            return UnusableNode(line, column, "a number that is too large", "")
        return IntegerNode(line, column, int(text))
    if _NULL.fullmatch(text):
        return UnusableNode(line, column, "an empty value", "write the value")
    if _WORD.fullmatch(text):
        what = f"{quote(text)}, which some YAML readers take for true or false"
        return UnusableNode(line, column, what, quoted)
    if _NUMBER.fullmatch(text):
        what = f"{quote(text)}, a number that is not a decimal integer"
        return UnusableNode(line, column, what, quoted)
    if _SEXAGESIMAL.fullmatch(text):
        what = f"{quote(text)}, which some YAML readers take for a number to base 60"
        return UnusableNode(line, column, what, quoted)
    if _DATE.fullmatch(text):
        what = f"{quote(text)}, which some YAML readers take for a date"
        return UnusableNode(line, column, what, quoted)
    if text in {"<<", "="}:
        return UnusableNode(line, column, f"{quote(text)}, a YAML 1.1 instruction", quoted)
    return TextNode(line, column, text)


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:200])
