"""What both owners are told while a model is trained: the numbers that the terms name, rounded.

One file of one size, written anew at rounds that the terms fix, whether there are numbers or not.
Nothing else is in it: counts of what was late, lost or refused depend on data, and would carry more
than was agreed on.

Spec: training-round-v1, clauses TR-60 to TR-63.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from cloister.cleanroom.round_rules import RoundRules
from cloister.crypto.digest import digest_to_text

__all__ = ["FILE", "REPORT_BYTES_PER_ENTRY", "Report"]

FILE: Final = "training.json"
_FORMAT: Final = "cloister/cleanroom-training/v1"
_HEAD_BYTES: Final = 1024
REPORT_BYTES_PER_ENTRY: Final = 1024
_LARGEST: Final = Decimal(10) ** 12


@dataclass(slots=True)
class Report:
    """The report of one training.

    Attributes:
        rules: Of the room.
        digits: Decimal places of every number.
        every_rounds: Rounds between two entries.
        entries: What was told, by round.
    """

    rules: RoundRules
    digits: int
    every_rounds: int
    entries: list[tuple[int, Mapping[str, str | None]]] = field(default_factory=list)

    def due(self, tick: int) -> int | None:
        """Return after how many rounds an entry is to be made at this tick; None for none.

        The last entry is made at the last tick, since the last numbers come after the last round.
        """
        schedule = self.rules.schedule
        if tick >= schedule.ticks - 1:
            return schedule.rounds
        closed = min(schedule.closed(tick), schedule.rounds - 1)
        number = closed - closed % self.every_rounds
        return number if number > self._last else None

    def add(self, closed: int, values: Mapping[str, float | None]) -> None:
        """Add the entry of a round; one that is there already stays.

        Args:
            closed: How many rounds are over.
            values: By the names that the terms have; None for a number that nobody reported.
        """
        if closed <= self._last:
            return
        told = {name: self._rounded(values.get(name)) for name in self.rules.metrics}
        self.entries.append((closed, told))

    def to_bytes(self) -> bytes:
        """Return the file: JSON, filled with spaces to the size that it has in the end."""
        value = {
            "format": _FORMAT,
            "terms": digest_to_text(self.rules.room),
            "rounds": self.rules.schedule.rounds,
            "entries": [{"round": number, "metrics": told} for number, told in self.entries],
        }
        text = json.dumps(value, separators=(",", ":")) + "\n"
        count = math.ceil(self.rules.schedule.rounds / self.every_rounds)
        return text.encode().ljust(_HEAD_BYTES + REPORT_BYTES_PER_ENTRY * count, b" ")

    @property
    def _last(self) -> int:
        return self.entries[-1][0] if self.entries else 0

    def _rounded(self, value: float | None) -> str | None:
        if value is None or not math.isfinite(value):
            return None
        number = min(max(Decimal(value), -_LARGEST), _LARGEST)
        return f"{number.quantize(Decimal(1).scaleb(-self.digits), ROUND_HALF_EVEN):f}"
