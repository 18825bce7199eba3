"""Text with places for secrets: `${secret:NAME}`, `${secret:NAME@EPOCH.PART}`; `$${` is `${`.

Pure. Only the texts of a policy that has `secrets` or `imports` are templates.

Spec: secret-release-v1, clauses SEC-20 to SEC-24.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloister.errors import MalformedError

__all__ = ["Reference", "Template", "parse_template"]

_MARK: Final = re.compile(r"\$\$\{|\$\{secret:")
_REFERENCE: Final = re.compile(
    r"\$\{secret:(?P<name>[a-z0-9][a-z0-9_-]{0,62})"
    r"(?:@(?P<epoch>[1-9][0-9]{0,8}))?(?:\.(?P<part>[a-z0-9]{1,16}))?\}"
)
_ESCAPED: Final = "$${"


@dataclass(frozen=True, slots=True)
class Reference:
    """A place for a secret.

    Attributes:
        name: In `secrets` or `imports`.
        epoch: The epoch that is meant; None for the current one.
        part: One of its kind's parts; empty for the value itself.
    """

    name: str
    epoch: int | None
    part: str

    def __str__(self) -> str:
        """The reference as it is written."""
        epoch = "" if self.epoch is None else f"@{self.epoch}"
        return "${secret:" + self.name + epoch + (f".{self.part}" if self.part else "") + "}"


@dataclass(frozen=True, slots=True)
class Template:
    """Literal texts and references, in order."""

    pieces: tuple[str | Reference, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        """The references, in order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Reference))

    def resolve(self, value: Callable[[Reference], bytes]) -> bytes:
        """Return the text with each reference replaced; what is put in is never looked at again."""
        return b"".join(
            value(piece) if isinstance(piece, Reference) else piece.encode()
            for piece in self.pieces
        )

    def admits(self, text: str) -> bool:
        """Tell whether some values would give `text`: for comparing, not for trusting."""
        if not self.references:
            return text == "".join(str(piece) for piece in self.pieces)
        literals: list[str] = [""]
        for piece in self.pieces:
            if isinstance(piece, Reference):
                literals.append("")
            else:
                literals[-1] += piece
        return _in_order(text, literals)


def parse_template(text: str) -> Template:
    """Read a template.

    Raises:
        MalformedError: `policy.invalid`: something begins like a reference and is none.
    """
    pieces: list[str | Reference] = []
    at = 0
    while (mark := _MARK.search(text, at)) is not None:
        pieces.append(text[at : mark.start()])
        if mark.group() == _ESCAPED:
            pieces.append("${")
            at = mark.end()
            continue
        found = _REFERENCE.match(text, mark.start())
        if found is None:
            raise _not_a_reference(text, mark.start())
        epoch = found["epoch"]
        pieces.append(
            Reference(found["name"], None if epoch is None else int(epoch), found["part"] or "")
        )
        at = found.end()
    pieces.append(text[at:])
    return Template(_merged(pieces))


def _merged(pieces: list[str | Reference]) -> tuple[str | Reference, ...]:
    """Join neighbouring literals and leave out empty ones."""
    merged: list[str | Reference] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        elif piece != "":
            merged.append(piece)
    return tuple(merged)


def _not_a_reference(text: str, start: int) -> MalformedError:
    if "}" not in text[start:]:
        return MalformedError(
            f"the template at character {start + 1} has no closing brace", code="policy.invalid"
        )
    return MalformedError(
        f"the template at character {start + 1} is not ${{secret:NAME@EPOCH.PART}}",
        code="policy.invalid",
        hint="write $${ for a literal ${",
    )


def _in_order(text: str, literals: list[str]) -> bool:
    """Tell whether `text` is the literals in order, with anything between them."""
    first, *middle, last = literals
    if not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for literal in middle:
        found = text.find(literal, at, end)
        if found < 0:
            return False
        at = found + len(literal)
    return at <= end
