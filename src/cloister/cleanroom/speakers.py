"""Which trainer speaks on a connection: what it says, against what the shield knows. Pure.

The relay of the server's run proved who the peer is, and connects from an address that is this
member's alone. So an index that a trainer claims is believed only from that trainer's address. This
module trusts the address, which only the relay and the server's own programs can choose.

Spec: training-round-v1, clause TR-64; relay-v1, clause RLY-16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from cloister.cleanroom.agreement import SignedTerms
from cloister.cleanroom.room_policy import SERVER, TRAINER, policy_of
from cloister.errors import IdentityError, LocalProtocolError
from cloister.keyservice.policy import parse_policy
from cloister.launcher.networking import plan_network
from cloister.network.addresses import Task

__all__ = ["ShieldedTrainers", "Speakers"]


class Speakers(Protocol):
    """Tells whether a trainer may be who it says."""

    def require(self, address: str, index: int) -> None:
        """Return if connections from `address` are those of trainer `index`.

        Raises:
            IdentityError: They are another's, or nobody's (`identity.peer`).
        """


@dataclass(frozen=True, slots=True)
class ShieldedTrainers:
    """The trainers of a room behind the shield.

    Attributes:
        indices: Address from which a trainer's connections come, to its index.
    """

    indices: Mapping[str, int]

    @classmethod
    def of(cls, agreement: SignedTerms) -> Self:
        """Return those of the job whose policy follows from the terms.

        Raises:
            MalformedError: The terms make no sound policy.
            IdentityError: Not both owners signed them.
        """
        policy = parse_policy(policy_of(agreement).encode(), source="the room's policy")
        network = plan_network(policy, SERVER, 0)
        if network is None:
            raise LocalProtocolError("a room's server has a network", code="protocol.local")
        plan = network.rules.plan
        count = range(agreement.terms.trainers)
        return cls({plan.arrival(Task(TRAINER, index)): index for index in count})

    def require(self, address: str, index: int) -> None:
        """See `Speakers.require`."""
        if self.indices.get(address) != index:
            raise IdentityError("a trainer that says it is another", code="identity.peer")
