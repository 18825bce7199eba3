"""What a person sees of a job: lines of all instances, each behind its name. Makes text; no I/O.

On a terminal what is not a whole line yet (a progress bar, a word without an end) stands below all
whole lines, one row for each instance, and is drawn again in its place. Elsewhere only whole lines
come out, and a progress bar's state now and then.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cloister.training.lines import Line
    from cloister.training.supervision import Task

__all__ = ["Screen", "Terminal"]

_COLOURS: Final = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_BAR_EVERY_S: Final = 10.0
_LEAST_ROWS: Final = 1
_WIDE: Final = frozenset({"W", "F"})


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal's size, and whether it may be coloured."""

    columns: int
    rows: int
    coloured: bool


class Screen:
    """Turns lines into text to write; keep calling it in the order in which things happened."""

    def __init__(self, tasks: Sequence[Task], *, terminal: Terminal | None) -> None:
        """Take who there is, and the terminal, or None for a file or a pipe."""
        self._terminal = terminal
        roles = sorted({task.role for task in tasks})
        self._colours = {
            role: _COLOURS[number % len(_COLOURS)] for number, role in enumerate(roles)
        }
        self._open: dict[Task, str] = {}
        self._status = ""
        self._drawn = 0
        self._bar_at: dict[Task, float] = {}

    @property
    def is_terminal(self) -> bool:
        """Whether somebody sees rows being drawn again."""
        return self._terminal is not None

    def show(self, task: Task, lines: Sequence[Line], at: float) -> str:
        """Return what to write for lines of one instance, at a time in seconds."""
        whole = []
        for line in lines:
            if line.kind == "line":
                self._open.pop(task, None)
                self._bar_at.pop(task, None)
                whole.append(self._named(task, line.text))
            elif self._terminal is not None:
                self._open[task] = line.text
            elif line.kind == "bar" and self._bar_is_due(task, at):
                whole.append(self._named(task, line.text))
        return self._draw(whole)

    def note(self, text: str) -> str:
        """Return what to write for a line of our own."""
        return self._draw([text])

    def status(self, text: str) -> str:
        """Return what to write for the last row, which tells how far all is; empty takes it away.

        Only a terminal has it.
        """
        self._status = text if self._terminal is not None else ""
        return self._draw([])

    def forget(self, task: Task) -> str:
        """Return what to write when an instance ended: what it left open goes."""
        self._bar_at.pop(task, None)
        return self._draw([]) if self._open.pop(task, None) is not None else ""

    def _bar_is_due(self, task: Task, at: float) -> bool:
        last = self._bar_at.setdefault(task, at)  # the first state is followed by others at once
        if at - last < _BAR_EVERY_S:
            return False
        self._bar_at[task] = at
        return True

    def _draw(self, whole: Sequence[str]) -> str:
        text = "".join(f"{line}\n" for line in whole)
        if self._terminal is None:
            return text
        rows = self._rows(self._terminal)
        erased = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        self._drawn = len(rows)
        return erased + text + "".join(f"{row}\n" for row in rows)

    def _rows(self, terminal: Terminal) -> list[str]:
        """Return what stands below the whole lines: at most half of the terminal."""
        room = max(terminal.rows // 2, _LEAST_ROWS) - bool(self._status)
        tasks = sorted(self._open)[: max(room, 0)]
        rows = [self._named(task, self._open[task], room=terminal.columns - 1) for task in tasks]
        return [*rows, *([_cut(self._status, terminal.columns - 1)] if self._status else [])]

    def _named(self, task: Task, text: str, room: int | None = None) -> str:
        name = f"[{task.name}] "
        if room is not None:
            text = _cut(text, max(room - len(name), 0))
        if self._terminal is None or not self._terminal.coloured:
            return name + text
        return f"\x1b[{self._colours[task.role]}m{name}\x1b[0m{text}"


def _cut(text: str, columns: int) -> str:
    """Return the beginning of a text that fits; a row that wrapped could not be drawn again."""
    left = columns
    for number, c in enumerate(text):
        left -= 8 if c == "\t" else 2 if unicodedata.east_asian_width(c) in _WIDE else 1
        if left < 0:
            return text[:number]
    return text
