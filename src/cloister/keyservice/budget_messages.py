"""What a member spends, and what came of it, sealed: who watches the wire sees neither.

A demand travels inside a member request, an outcome in its reply. Both have one size, whatever they
say, and keys of their own, which derive from the member's secret and the request's nonce.

Spec: membership-v1, clauses MEM-70 to MEM-75.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cloister.crypto.aead import AEADKey
from cloister.crypto.kdf import derive_key
from cloister.errors import CODES, MalformedError, error_from_wire
from cloister.keyservice.messages import require_name
from cloister.wire import Fields, Value, encode

__all__ = [
    "DEMAND_BYTES",
    "DEMAND_LABEL",
    "MAX_AMOUNT",
    "OUTCOME_BYTES",
    "OUTCOME_LABEL",
    "SEALED_DEMAND_BYTES",
    "SEALED_OUTCOME_BYTES",
    "SpendDemand",
    "SpendOutcome",
    "padded",
    "require_spendable",
    "unpadded",
]

DEMAND_LABEL: Final = b"cloister/membership/v1/spend"
OUTCOME_LABEL: Final = b"cloister/membership/v1/spent"
DEMAND_BYTES: Final = 512
OUTCOME_BYTES: Final = 128
_OVERHEAD: Final = 12 + 16  # nonce and tag
SEALED_DEMAND_BYTES: Final = DEMAND_BYTES + _OVERHEAD
SEALED_OUTCOME_BYTES: Final = OUTCOME_BYTES + _OVERHEAD
MAX_AMOUNT: Final = 1_000_000_000_000_000
_LENGTH_BYTES: Final = 2
_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,254}")


@dataclass(frozen=True, slots=True)
class SpendDemand:
    """What a member wants to spend.

    Attributes:
        number: Larger than that of any demand before it in this membership; 1 for the first.
        budget: Of the policy.
        principal: In whose name; what the member says is believed.
        amount: How much; 0 spends nothing and is kept like any other.
    """

    number: int
    budget: str
    principal: str
    amount: int

    def __post_init__(self) -> None:
        """Within bounds."""
        require_spendable(self.budget, self.principal, self.amount)
        if self.number < 1:
            raise MalformedError("demands are counted from 1", code="message.malformed")

    def sealed(self, secret: bytes, nonce: bytes) -> bytes:
        """Seal it for a request with this nonce, under the secret of the membership."""
        value: dict[str, Value] = {
            "number": self.number,
            "budget": self.budget,
            "principal": self.principal,
            "amount": self.amount,
        }
        plain = padded(encode(value), DEMAND_BYTES)
        return _key(secret, nonce, DEMAND_LABEL).seal_random(plain, DEMAND_LABEL)

    @classmethod
    def opened(cls, sealed: bytes, secret: bytes, nonce: bytes) -> SpendDemand:
        """Open what a member sealed.

        Raises:
            MalformedError: It is no demand of that membership and request (`message.malformed`).
        """
        plain = _key(secret, nonce, DEMAND_LABEL).open_random(
            sealed, DEMAND_LABEL, error=MalformedError("not sealed here", code="message.malformed")
        )
        fields = Fields.decode(unpadded(plain, DEMAND_BYTES), what="demand", max_bytes=DEMAND_BYTES)
        demand = cls(
            number=fields.integer("number", minimum=1),
            budget=fields.text("budget", max_length=64),
            principal=fields.text("principal", max_length=255),
            amount=fields.integer("amount", maximum=MAX_AMOUNT),
        )
        fields.end()
        return demand


@dataclass(frozen=True, slots=True)
class SpendOutcome:
    """What came of a demand.

    Attributes:
        left: What the principal has left of the budget.
        code: Of the refusal; empty where the amount was spent.
    """

    left: int
    code: str = ""

    def __post_init__(self) -> None:
        """Nobody has less than nothing; a refusal has a code that there is."""
        if self.left < 0 or (self.code and self.code not in CODES):
            raise MalformedError("not what comes of a demand", code="message.malformed")

    def sealed(self, secret: bytes, nonce: bytes) -> bytes:
        """Seal it as the answer to a request with this nonce."""
        plain = padded(encode({"left": self.left, "code": self.code}), OUTCOME_BYTES)
        return _key(secret, nonce, OUTCOME_LABEL).seal_random(plain, OUTCOME_LABEL)

    @classmethod
    def opened(cls, sealed: bytes, secret: bytes, nonce: bytes) -> SpendOutcome:
        """Open what the service sealed.

        Raises:
            MalformedError: It is no answer to that request (`message.malformed`).
        """
        plain = _key(secret, nonce, OUTCOME_LABEL).open_random(
            sealed, OUTCOME_LABEL, error=MalformedError("not sealed here", code="message.malformed")
        )
        fields = Fields.decode(
            unpadded(plain, OUTCOME_BYTES), what="outcome", max_bytes=OUTCOME_BYTES
        )
        outcome = cls(left=fields.integer("left"), code=fields.text("code", max_length=64))
        fields.end()
        return outcome

    def require_spent(self) -> int:
        """Return what is left.

        Raises:
            ReleaseDeniedError: Nothing was spent, by the code of the refusal.
        """
        if self.code:
            raise error_from_wire(self.code, _SENTENCES.get(self.code, "nothing was spent"))
        return self.left


_SENTENCES: Final = {
    "budget.spent": "the principal has not so much left of this budget",
    "budget.unknown": "the policy lets this workload spend no such budget",
    "budget.principal": "the policy lets nobody spend this budget in that name",
    "budget.order": "a later demand of this member was answered before",
}


def require_spendable(budget: str, principal: str, amount: int) -> None:
    """Raise `message.malformed` unless these can be meant at all."""
    require_name(budget)
    if not _PRINCIPAL.fullmatch(principal) or not 0 <= amount <= MAX_AMOUNT:
        raise MalformedError("not what can be spent", code="message.malformed")


def padded(data: bytes, size: int) -> bytes:
    """Return `data` after its length in 2 bytes, filled up with zeros to `size` bytes."""
    if len(data) + _LENGTH_BYTES > size:
        raise MalformedError("longer than its place", code="message.malformed")
    return (len(data).to_bytes(_LENGTH_BYTES, "big") + data).ljust(size, b"\0")


def unpadded(data: bytes, size: int) -> bytes:
    """Return what `padded` was given.

    Raises:
        MalformedError: Another size, or other than zeros behind it (`message.malformed`).
    """
    length = int.from_bytes(data[:_LENGTH_BYTES], "big")
    found = data[_LENGTH_BYTES : _LENGTH_BYTES + length]
    if len(data) != size or len(found) != length or padded(found, size) != data:
        raise MalformedError("not filled up with zeros", code="message.malformed")
    return found


def _key(secret: bytes, nonce: bytes, label: bytes) -> AEADKey:
    return AEADKey(derive_key(secret, label=label, salt=nonce))
