"""Who may together give the state key back: what approvers sign before it is split. Pure.

Spec: keyservice-recovery-v1, clauses BR-20 and BR-21.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import digest_from_text, digest_to_text
from cloister.crypto.hpke import HPKEPublicKey
from cloister.crypto.signature import VerifyingKey
from cloister.errors import ConfigError, MalformedError
from cloister.keyservice.approvals import Subject
from cloister.keyservice.statements import Statement, read_statement, write_statement

__all__ = ["MAX_HOLDERS", "RECOVERY", "RecoveryPlan", "require_possible"]

RECOVERY: Final = "cloister/keyservice-recovery/v1"
MAX_HOLDERS: Final = 16
_MIN_THRESHOLD: Final = 2
_LAST_INSTANT: Final = 1 << 40


def require_possible(threshold: int, holders: Sequence[bytes]) -> None:
    """Raise unless a key can be split so.

    Raises:
        MalformedError: Code `message.malformed`.
    """
    if not _MIN_THRESHOLD <= threshold <= len(holders) <= MAX_HOLDERS:
        raise MalformedError(
            f"{threshold} of {len(holders)} holders cannot be: 2 <= k <= n <= {MAX_HOLDERS}",
            code="message.malformed",
        )
    if len(set(holders)) != len(holders):
        raise MalformedError("a holder stands twice", code="message.malformed")


@dataclass(frozen=True, slots=True)
class RecoveryPlan:
    """Any `threshold` of the holders give the state key back.

    Attributes:
        service: The key service.
        threshold: 2 at least: one share alone would be the key.
        holders: SHA-256 of each holder's public HPKE key; 16 at most.
        at: When it was made, in seconds since the epoch.
    """

    service: VerifyingKey
    threshold: int
    holders: tuple[bytes, ...]
    at: int

    def __post_init__(self) -> None:
        """A threshold that means something, and no holder twice."""
        require_possible(self.threshold, self.holders)

    def to_text(self) -> bytes:
        """Return the file that approvers read and sign."""
        return write_statement(self._tree())

    @classmethod
    def from_text(cls, text: bytes) -> RecoveryPlan:
        """Read such a file.

        Raises:
            MalformedError: It is none (`message.malformed`).
        """
        found = read_statement(text, RECOVERY)
        plan = cls(
            found.key("service"),
            found.integer("threshold", maximum=MAX_HOLDERS),
            tuple(digest_from_text(each) for each in found.texts("holders", max_length=80)),
            found.integer("at", maximum=_LAST_INSTANT),
        )
        found.end()
        return plan

    @property
    def subject(self) -> Subject:
        """What approvers sign."""
        return Statement(self._tree()).subject(self.service.raw, kind="recovery")

    def require_keys(self, keys: Sequence[HPKEPublicKey]) -> None:
        """Raise unless these are the holders' keys, in the plan's order.

        Raises:
            ConfigError: Others, or another order (`config.value`).
        """
        if tuple(key.identity for key in keys) != self.holders:
            raise ConfigError(
                "these are not the keys of the plan's holders",
                code="config.value",
                hint="name the same files as in the proposal, in the same order",
            )

    def _tree(self) -> dict[str, str | int | list[str]]:
        return {
            "statement": RECOVERY,
            "service": self.service.text,
            "threshold": self.threshold,
            "holders": [digest_to_text(holder) for holder in self.holders],
            "at": self.at,
        }
