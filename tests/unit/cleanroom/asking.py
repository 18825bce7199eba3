"""A room whose model is a function, for tests of queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from cloister.cleanroom.agreement import Room
from cloister.cleanroom.query_message import Ask, QueryRules, Request, Session
from cloister.cleanroom.query_service import QueryService
from cloister.cleanroom.room_policy import BUDGET
from cloister.cleanroom.terms import Queries, Terms
from cloister.errors import CloisterError, ReleaseDeniedError
from cloister.testing.cleanroom import PRINCIPAL, sample_agreement, sample_terms

SERVER = "spiffe://clinic.example/rooms/digits/digits/query/0"
NONCE = bytes(range(32))


def room_with(**changes: Any) -> Room:
    """The sample room, with other words about queries."""
    terms: Terms = sample_terms()
    queries: Queries = dataclasses.replace(terms.queries, **changes)
    return Room(sample_agreement(dataclasses.replace(terms, queries=queries)))


def rules_of(room: Room) -> QueryRules:
    """Its rules."""
    return QueryRules.of(room)


def session(room: Room, number: int = 0, *, nonce: bytes = NONCE) -> Session:
    """A connection's."""
    return Session(rules_of(room).room, SERVER, nonce, number)


def request(
    room: Room, record: Any = None, *, number: int = 0, ask: Ask = Ask.LABELS, **changes: Any
) -> bytes:
    """A request of the sample's principal."""
    octets = (
        bytes(rules_of(room).record_bytes)
        if record is None
        else np.asarray(record, "<f4").tobytes()
    )
    made = Request.make(
        ask,
        changes.pop("session", session(room, number)),
        principal=changes.pop("principal", "clinic"),
        record=octets,
        key=changes.pop("key", PRINCIPAL),
    )
    return dataclasses.replace(made, **changes).to_bytes()


class Purse:
    """Spends from a few; what is counted beside queries has the same limit, as in a policy."""

    def __init__(self, left: int = 100) -> None:
        self.left = self.limit = left
        self.counted: dict[tuple[str, str], int] = {}
        self.asked: list[tuple[str, str, int]] = []
        self.fails: Exception | None = None

    def __call__(self, budget: str, principal: str, amount: int) -> int:
        """Spend."""
        self.asked.append((budget, principal, amount))
        if self.fails is not None:
            raise self.fails
        if budget != BUDGET:
            count = self.counted.get((budget, principal), 0) + amount
            self.counted[budget, principal] = count
            return self.limit - count
        if amount > self.left:
            raise ReleaseDeniedError("not so much", code="budget.spent")
        self.left -= amount
        return self.left


def service_of(room: Room, model: Any, purse: Purse, **changes: Any) -> QueryService:
    """A service that waits for nothing, since its deadlines are no instants."""
    return QueryService(room, model, purse, **({"wait": lambda _: None} | changes))


class Rows:
    """A model that says of a record what its first row says."""

    def __init__(self, after: Callable[[], None] = lambda: None) -> None:
        self.asked = 0
        self.after = after
        self.missing: CloisterError | None = None

    def prepare(self, *, deadline: float) -> None:  # noqa: ARG002  # the protocol's
        """There is a cell, or there is none."""
        if self.missing is not None:
            raise self.missing

    def predict(self, record: Any, *, deadline: float) -> Any:  # noqa: ARG002  # the protocol's
        """Return ten scores."""
        self.asked += 1
        self.after()
        return np.concatenate([record[0], record[0][:2]])
