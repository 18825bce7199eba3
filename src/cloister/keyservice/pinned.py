"""What a client knows of a key service before it speaks to it."""

from __future__ import annotations

from dataclasses import dataclass

from cloister.crypto.signature import VerifyingKey

__all__ = ["PinnedService"]


@dataclass(frozen=True, slots=True)
class PinnedService:
    """What a client knows of a key service before it speaks to it.

    Attributes:
        identity: Its public key.
        origin: The name of its log.
    """

    identity: VerifyingKey
    origin: str
