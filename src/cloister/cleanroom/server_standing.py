"""What was seen of a parameter server, and whether what it says now can follow that. Pure.

A server that was stopped and begins again goes on from its checkpoint, in a new epoch. One that
was put back, or runs twice from one state, shows itself: by an epoch or a version that goes back,
by a version below one that was already safe, or by two lives in one epoch.

Spec: training-round-v1, clauses TR-30 to TR-34.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloister.errors import TamperedError

__all__ = ["Standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What one side says of the server's state.

    Attributes:
        epoch: How often it has begun; 0 for a trainer that has seen none.
        life: Drawn anew each time; all zeros in epoch 0.
        version: Of its parameters.
        durable: The newest version that its checkpoint has.
    """

    epoch: int
    life: bytes
    version: int
    durable: int

    def followed_by(self, later: Standing) -> Standing:
        """Return what is known after a message of the server's.

        Args:
            later: What it says; untrusted.

        Raises:
            TamperedError: `state.rolled-back` or `state.forked`: the server is not the one that was
                seen, or not where it was. Nothing of it is believed any more.
        """
        if later.epoch < max(1, self.epoch):
            raise _rolled_back("an epoch that is over")
        if later.epoch == self.epoch:
            if later.life != self.life:
                raise TamperedError("two parameter servers in one epoch", code="state.forked")
            if later.version < self.version or later.durable < self.durable:
                raise _rolled_back("a version that is over")
        elif min(later.version, later.durable) < self.durable:
            raise _rolled_back("a version below one that was kept")
        if later.durable > later.version:
            raise _rolled_back("a version below the one that it kept")
        return later

    def require_of(self, seen: Standing) -> None:
        """Refuse, as a server, a trainer that has seen what this server is not.

        Args:
            seen: What the trainer says that it has seen.

        Raises:
            TamperedError: `state.rolled-back` or `state.forked`: there is, or was, another server.
        """
        if seen.epoch > self.epoch:
            raise _rolled_back("an epoch that a trainer has seen go by")
        if seen.epoch == self.epoch and seen.life != self.life:
            raise TamperedError("a trainer has another server in this epoch", code="state.forked")
        if seen.durable > self.durable or (
            seen.epoch == self.epoch and seen.version > self.version
        ):
            raise _rolled_back("a version that a trainer has seen go by")


def _rolled_back(what: str) -> TamperedError:
    return TamperedError(f"the parameter server is in {what}", code="state.rolled-back")
