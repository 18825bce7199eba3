"""What a program writes, as lines that a terminal may show. Pure; memory is bounded.

The bytes are a stranger's: a program that nobody here trusts chose them. So no escape sequence and
no control character comes out, a line has a largest length, and one that never ends is cut.

A progress bar redraws its line behind a carriage return. Each such state replaces the one before;
only the last one, which a newline ends, is a line that stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["MAX_LINE_BYTES", "Line", "LineReader", "clean"]

MAX_LINE_BYTES: Final = 8192
_CHARACTER_BYTES: Final = 4
_CONTINUES: Final = " \N{HORIZONTAL ELLIPSIS}"
# Sequences as ECMA-48 has them, and those that an end of the text cut.
_ESCAPES: Final = re.compile(
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]?"  # control sequences: colours, cursor
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # strings: titles, links, device control
    r"|[ -/]*[0-~]?"  # the rest
    r")"
)


@dataclass(frozen=True, slots=True)
class Line:
    """Something to show.

    Attributes:
        text: Printable, without an end of line.
        kind: `line` stays; `bar` is a state of a progress bar, which the next one replaces; `part`
            is a line whose end has not come.
    """

    text: str
    kind: Literal["line", "bar", "part"]


def clean(data: bytes) -> str:
    """Return bytes of a stranger as text that moves no cursor and hides nothing."""
    text = _ESCAPES.sub("", data.decode("utf-8", "replace")).replace("\b", "")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


class LineReader:
    """Cuts one stream into lines."""

    def __init__(self) -> None:
        """Begin at the start of a line."""
        self._state = b""  # what stood before the last carriage return of the open line
        self._tail = b""  # what stands behind it
        self._is_bar = False
        self._shown = ""

    def feed(self, data: bytes) -> list[Line]:
        """Take what came; return the lines that ended, and last how the open one looks."""
        found: list[Line] = []
        *ended, rest = data.split(b"\n")
        for piece in ended:
            found += self._take(piece)
            found.append(self._finish())
        found += self._take(rest)
        text = self._text()
        if text and text != self._shown:
            self._shown = text
            found.append(Line(text, "bar" if self._is_bar else "part"))
        return found

    def end(self) -> list[Line]:
        """The stream ended: what is open is a line now."""
        return [self._finish()] if self._text() else []

    def _take(self, piece: bytes) -> list[Line]:
        """Add to the open line; return what of it is too long to wait for its end."""
        *states, tail = (self._tail + piece).split(b"\r")
        for state in filter(None, states):
            self._state = state[:MAX_LINE_BYTES]
        self._is_bar = self._is_bar or bool(states)
        found = []
        while len(tail) > MAX_LINE_BYTES:
            end = _whole_characters(tail[:MAX_LINE_BYTES])
            found.append(Line(clean(tail[:end]) + _CONTINUES, "line"))
            tail = tail[end:]
        self._tail = tail
        return found

    def _finish(self) -> Line:
        line = Line(self._text(), "line")
        self._state, self._tail, self._is_bar, self._shown = b"", b"", False, ""
        return line

    def _text(self) -> str:
        return clean(self._tail).rstrip() or clean(self._state).rstrip()


def _whole_characters(data: bytes) -> int:
    """Return where to cut so that no character of UTF-8 is torn; the end where there is none."""
    for end in range(len(data), max(len(data) - _CHARACTER_BYTES, 0), -1):
        if data[end - 1] & 0xC0 != 0x80:  # noqa: PLR2004  # no byte that continues a character
            return end if data[end - 1] < 0x80 else end - 1  # noqa: PLR2004  # ASCII
    return len(data)
