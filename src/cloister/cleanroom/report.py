"""What both owners are told while a model is trained: the numbers that the terms name, rounded.

One file of one size, written anew at rounds that the terms fix, whether there are numbers or not.
Nothing else is in it: counts of what was late, lost or refused depend on data, and would carry more
than was agreed on.

Spec: training-round-v1, clauses TR-60 to TR-63.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from cloister.cleanroom.round_rules import RoundRules
from cloister.crypto.digest import digest_to_text
from cloister.errors import MalformedError
from cloister.wire.strict_json import read_json

__all__ = [
    "FILE",
    "MAX_REPORT_BYTES",
    "REPORT_BYTES_PER_ENTRY",
    "Report",
    "read_report",
    "report_bytes",
]

FILE: Final = "training.json"
_FORMAT: Final = "cloister/cleanroom-training/v1"
_HEAD_BYTES: Final = 1024
MAX_REPORT_BYTES: Final = 16 << 20
REPORT_BYTES_PER_ENTRY: Final = 1024
_NUMBER: Final = re.compile(r"-?[0-9]{1,13}(\.[0-9]{1,20})?")
_LARGEST: Final = Decimal(10) ** 12


def report_bytes(rounds: int, every_rounds: int) -> int:
    """Return how long a room's report is, whatever it says."""
    return _HEAD_BYTES + REPORT_BYTES_PER_ENTRY * math.ceil(rounds / every_rounds)


def read_report(data: bytes, *, room: bytes, metrics: tuple[str, ...]) -> dict[str, Any]:
    """Return what a report says, as its owner reads it.

    Args:
        data: Untrusted, though only the room's server could write it.
        room: Digest of the terms.
        metrics: The names that the terms have.

    Raises:
        MalformedError: It is no report of this room (`message.malformed`).
    """
    found = read_json(
        data, what="a report", max_bytes=MAX_REPORT_BYTES, max_depth=8, code="message.malformed"
    )
    entries = found.get("entries") if isinstance(found, dict) else None
    if (
        not isinstance(found, dict)
        or (found.get("format"), found.get("terms")) != (_FORMAT, digest_to_text(room))
        or type(found.get("rounds")) is not int
        or not isinstance(entries, list)
        or not all(_is_entry(entry, metrics) for entry in entries)
    ):
        raise MalformedError("this is no report of this room", code="message.malformed")
    return {"rounds": found["rounds"], "entries": entries}


def _is_entry(entry: object, metrics: tuple[str, ...]) -> bool:
    if not isinstance(entry, dict) or set(entry) != {"round", "metrics"}:
        return False
    told = entry["metrics"]
    return (
        type(entry["round"]) is int
        and isinstance(told, dict)
        and set(told) == set(metrics)
        and all(
            each is None or (isinstance(each, str) and _NUMBER.fullmatch(each))
            for each in told.values()
        )
    )


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
        size = report_bytes(self.rules.schedule.rounds, self.every_rounds)
        return text.encode().ljust(size, b" ")

    @property
    def _last(self) -> int:
        return self.entries[-1][0] if self.entries else 0

    def _rounded(self, value: float | None) -> str | None:
        if value is None or not math.isfinite(value):
            return None
        number = min(max(Decimal(value), -_LARGEST), _LARGEST)
        return f"{number.quantize(Decimal(1).scaleb(-self.digits), ROUND_HALF_EVEN):f}"
