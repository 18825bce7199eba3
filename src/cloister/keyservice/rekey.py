"""Whether a change of the state key was approved. Pure.

A change ends what shares and grants are good for, and leaves other platforms without the key. So
the root's approvers sign it, as they sign who holds shares.

Spec: keyservice-recovery-v1, clauses BR-50 to BR-53.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloister.crypto.signature import VerifyingKey
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.approvals import Approval, Subject
from cloister.keyservice.governance import Governance
from cloister.keyservice.reset import require_approved
from cloister.keyservice.state.key_rows import KeyChange
from cloister.keyservice.statements import Statement, read_statement, write_statement

__all__ = ["REKEY", "Rekey", "require_rekey", "require_since_change"]

REKEY: Final = "cloister/keyservice-rekey/v1"
_LAST_INSTANT: Final = 1 << 40
_MAX_SKEW_S: Final = 300


@dataclass(frozen=True, slots=True)
class Rekey:
    """One change of the state key.

    Attributes:
        service: The key service.
        platform: The one platform that has the new key; it changes it.
        at: When it was proposed, in seconds since the epoch; later than the change before.
    """

    service: VerifyingKey
    platform: VerifyingKey
    at: int

    def to_text(self) -> bytes:
        """Return the file that approvers read and sign."""
        return write_statement(self._tree())

    @classmethod
    def from_text(cls, text: bytes) -> Rekey:
        """Read such a file.

        Raises:
            MalformedError: It is none (`message.malformed`).
        """
        found = read_statement(text, REKEY)
        statement = cls(
            found.key("service"),
            found.key("platform"),
            found.integer("at", maximum=_LAST_INSTANT),
        )
        found.end()
        return statement

    @property
    def subject(self) -> Subject:
        """What approvers sign."""
        return Statement(self._tree()).subject(self.service.raw, kind="rekey")

    def _tree(self) -> dict[str, str | int]:
        return {
            "statement": REKEY,
            "service": self.service.text,
            "platform": self.platform.text,
            "at": self.at,
        }


def require_rekey(
    statement: Rekey,
    approvals: Sequence[Approval],
    *,
    governance: Governance,
    service: VerifyingKey,
    platform: VerifyingKey,
    newest: KeyChange | None,
    at: int,
) -> bool:
    """Raise unless this change was approved, and is the newest or comes after it.

    Args:
        statement: Untrusted.
        approvals: Untrusted.
        governance: Who decides about the trust domain.
        service: The service whose state it is.
        platform: This platform.
        newest: The newest change of this state's key.
        at: Now.

    Returns:
        Whether it is still to be made; False where it is the newest one.

    Raises:
        ReleaseDeniedError: It is of another service or platform, of before the newest change, or of
            a time that has not come (`approval.invalid`); too few approvals (`approval.pending`);
            one that does not count, by its own code.
    """
    # 1. It is about this service and platform, and leaves room for the change that comes next.
    if (statement.service, statement.platform) != (service, platform):
        raise _invalid("the approved change is of another service or platform")
    if statement.at > at + _MAX_SKEW_S:
        raise _invalid("the approved change is of a time that has not come")
    # 2. Enough of those who decide have said yes to it.
    require_approved(statement.subject, approvals, governance=governance, at=at)
    # 3. It is not an earlier one again.
    if newest is None:
        return True
    if newest.statement == statement.subject.hash:
        return False
    if statement.at <= newest.at:
        raise _invalid("the state key was changed since this change was proposed")
    return True


def require_since_change(newest: KeyChange | None, at: int) -> None:
    """Raise where something was proposed, which gives the state key away, before its newest change.

    Who was meant to have the older key is not who is meant to have the newer.

    Args:
        newest: The newest change of the key.
        at: When the other thing was proposed.

    Raises:
        ReleaseDeniedError: Code `approval.invalid`.
    """
    if newest is not None and at < newest.at:
        raise _invalid("the state key was changed since this was proposed")


def _invalid(sentence: str) -> ReleaseDeniedError:
    return ReleaseDeniedError(sentence, code="approval.invalid", hint="propose it again")
