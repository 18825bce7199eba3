"""What a report of leakage holds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Measure"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One number about one attack, on held-out examples."""

    attack: str
    knows: str
    metric: str
    worst_decile: float
    mean: float
    low: float
    high: float
    examples: int
    steps: int
    complete: bool
