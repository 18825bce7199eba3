"""Token buckets: how often something may happen, by a clock that is an argument. Pure, bounded.

Each name has as many tokens as may be used in a minute, and they come back evenly.

Spec: policy-approval-v1, clause PA-54.
"""

from __future__ import annotations

from typing import Final

from cloister.errors import UnavailableError

__all__ = ["TokenBuckets"]

_CAPACITY: Final = 4096
_MINUTE_S: Final = 60.0


class TokenBuckets:
    """Buckets by name; at most `capacity` of them, and the one longest unused is forgotten first.

    A forgotten bucket is full when it is used again: that favours its user, and nobody else pays.
    """

    def __init__(self, *, capacity: int = _CAPACITY) -> None:
        """Start with every bucket full."""
        self._capacity = capacity
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, *, per_minute: int, uptime: float) -> None:
        """Use one token.

        Raises:
            UnavailableError: None is left (`keyservice.busy`).
        """
        full = float(per_minute)
        tokens, at = self._buckets.pop(name, (full, uptime))
        gained = max(uptime - at, 0.0) * full / _MINUTE_S
        tokens = min(tokens + gained, full)
        enough = tokens >= 1.0
        self._buckets[name] = (tokens - 1.0 if enough else tokens, max(at, uptime))
        if len(self._buckets) > self._capacity:
            del self._buckets[next(iter(self._buckets))]
        if not enough:
            raise UnavailableError(
                f"more than {per_minute} requests a minute", code="keyservice.busy"
            )
