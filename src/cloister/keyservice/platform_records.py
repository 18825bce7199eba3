"""What the service remembers of its platforms, once there is more than one. No secrets."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Admitted"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """Platforms that may open the state, and who watches that they do not fork it.

    Attributes:
        platforms: Their public keys; two at least.
        witnesses: Witnesses' keys as texts, all of them.
        quorum: How many of them see each change before it is answered; more than half.
    """

    platforms: tuple[bytes, ...]
    witnesses: tuple[str, ...]
    quorum: int
