"""Whether going back to an older state was approved. Pure.

Going back takes away decisions that were answered: revocations, anchored states of volumes, entries
of the log. Only who decides about the whole trust domain may approve of it, and only of one exact
step.

Spec: keyservice-recovery-v1, clauses BR-10 to BR-16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloister.crypto.digest import digest_from_text, digest_to_text, framed, sha256
from cloister.crypto.signature import VerifyingKey
from cloister.errors import ReleaseDeniedError
from cloister.keyservice.approvals import Approval, Subject, require_approval, require_distinct
from cloister.keyservice.governance import Governance
from cloister.keyservice.state.record import Head
from cloister.keyservice.statements import Statement, read_statement, write_statement

__all__ = ["MAX_GIVEN_UP", "RESET", "Reset", "require_approved", "require_reset"]

RESET: Final = "cloister/keyservice-reset/v1"
MAX_GIVEN_UP: Final = 1 << 40
EPOCHS_FOR_EACH_RECORD: Final = 1024
_HEAD_LABEL: Final = b"cloister/keyservice-reset/v1/head"


@dataclass(frozen=True, slots=True)
class Reset:
    """One step back.

    Attributes:
        service: The key service.
        platform: The platform that may take the step.
        given_up: Number of the newest record that may be lost.
        head: The state that is gone back to.
        at: When it was proposed, in seconds since the epoch.
    """

    service: VerifyingKey
    platform: VerifyingKey
    given_up: int
    head: Head
    at: int

    def to_text(self) -> bytes:
        """Return the file that approvers read and sign."""
        return write_statement(self._tree())

    @classmethod
    def from_text(cls, text: bytes) -> Reset:
        """Read such a file.

        Raises:
            MalformedError: It is none (`message.malformed`).
        """
        found = read_statement(text, RESET)
        statement = cls(
            found.key("service"),
            found.key("platform"),
            found.integer("given_up", maximum=MAX_GIVEN_UP),
            Head(
                found.integer("back_to", maximum=MAX_GIVEN_UP),
                digest_from_text(found.text("digest")),
            ),
            found.integer("at", maximum=MAX_GIVEN_UP),
        )
        found.end()
        return statement

    @property
    def subject(self) -> Subject:
        """What approvers sign."""
        return Statement(self._tree()).subject(self.service.raw, kind="reset")

    @property
    def next_head(self) -> Head:
        """The head that the state goes on from: of no record, and the same for the same step."""
        digest = sha256(framed(_HEAD_LABEL, self.subject.hash))
        return Head(self.given_up + 1, digest)

    @property
    def epochs(self) -> int:
        """More than a volume's epoch can have grown by in what is given up."""
        records = self.given_up - self.head.sequence + 1  # one that no counter knows of
        return records * EPOCHS_FOR_EACH_RECORD

    def _tree(self) -> dict[str, str | int]:
        return {
            "statement": RESET,
            "service": self.service.text,
            "platform": self.platform.text,
            "given_up": self.given_up,
            "back_to": self.head.sequence,
            "digest": digest_to_text(self.head.digest),
            "at": self.at,
        }


def require_reset(
    statement: Reset,
    approvals: Sequence[Approval],
    *,
    governance: Governance,
    service: VerifyingKey,
    platform: VerifyingKey,
    head: Head,
    seen: int,
    taken: int,
    at: int,
) -> None:
    """Raise unless exactly this step was approved and was not taken before.

    Args:
        statement: Untrusted.
        approvals: Untrusted.
        governance: Who decides about the trust domain, as the state that is gone back to says.
        service: The service whose state it is.
        platform: This platform.
        head: The head of that state.
        seen: The newest number that this platform's counter knows.
        taken: The number of the newest reset on this platform.
        at: Now.

    Raises:
        ReleaseDeniedError: Another step, or more has happened since, or the step was taken
            (`approval.invalid`); too few approvals (`approval.pending`); one that does not count,
            by its own code.
    """
    # 1. It is about this service, platform and state.
    if (statement.service, statement.platform, statement.head) != (service, platform, head):
        raise _other("the approved reset is of another service, platform or state")
    # 2. No more is given up than was approved; a reset that was cut off is finished.
    newest = max(seen, head.sequence)
    cut_off = newest == taken == statement.given_up + 1
    if newest > statement.given_up and not cut_off:
        raise _other("more has happened since this reset was proposed, or it was used")
    # 3. Enough of those who decide have said yes to it.
    require_approved(statement.subject, approvals, governance=governance, at=at)


def require_approved(
    subject: Subject, approvals: Sequence[Approval], *, governance: Governance, at: int
) -> None:
    """Raise unless as many approvals count as the board asks for.

    Raises:
        ReleaseDeniedError: Too few (`approval.pending`); one that does not count, by its own code.
    """
    require_distinct(approvals)
    for approval in approvals:
        require_approval(approval, subject, approvers=governance.approvers, at=at)
    lacking = governance.board.threshold - len(approvals)
    if lacking > 0:
        raise ReleaseDeniedError(
            f"{lacking} more approvals are needed",
            code="approval.pending",
            hint="let another approver sign the statement: cloister keyservice approve",
        )


def _other(sentence: str) -> ReleaseDeniedError:
    return ReleaseDeniedError(
        sentence,
        code="approval.invalid",
        hint="propose it again: cloister keyservice reset propose",
    )
