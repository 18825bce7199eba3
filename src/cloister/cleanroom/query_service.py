"""What becomes of one request: who asks, what it costs, what the model says. No sockets.

Invariants:
    1. Nothing is computed, and nothing spent, for a request that no principal signed for this
       connection.
    2. No answer leaves that was not spent at the key service before it was computed.
    3. Nothing of a request is kept for the next one but the numbers of `Watch`, which only say
       whether somebody is answered; a predictor gives each request a fresh cell.
    4. Whatever goes wrong is an outcome of the same size; `answer` raises nothing.

Spec: cleanroom-query-v1, clauses CQ-24 to CQ-28, and CQ-38.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from cloister.cleanroom.agreement import Room
from cloister.cleanroom.desk import Spend
from cloister.cleanroom.encoding import Array
from cloister.cleanroom.query_answers import answer_of
from cloister.cleanroom.query_message import (
    SIGNATURE_LABEL,
    Answer,
    Ask,
    Outcome,
    QueryRules,
    Record,
    Request,
    Session,
    Standing,
)
from cloister.cleanroom.query_signal import Watch
from cloister.cleanroom.room_policy import BUDGET
from cloister.cleanroom.terms import PARTIES, Terms
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import VerifyingKey
from cloister.errors import CloisterError, IdentityError, MalformedError, ReleaseDeniedError

__all__ = ["Predictor", "QueryService", "Reply"]

_LOG: Final = logging.getLogger("cloister.cleanroom")
_MILLIONTHS: Final = 1_000_000


class Predictor(Protocol):
    """What has the model."""

    def prepare(self, *, deadline: float) -> None:
        """Return when there is a fresh cell for the next prediction.

        Raises:
            CloisterError: There is none in time.
        """

    def predict(self, record: Record, *, deadline: float) -> Array:
        """Return a score for each label.

        Args:
            record: One, as the terms describe it.
            deadline: On the monotonic clock; what would be later is an error.

        Raises:
            CloisterError: There is no answer.
        """


@dataclass(frozen=True, slots=True)
class Reply:
    """What `answer` gives.

    Attributes:
        answer: What is sent.
        slow: To whom it is sent later than others; empty for everybody else.
    """

    answer: Answer
    slow: str = ""


@dataclass(slots=True)
class _Asker:
    """A principal, since this enclave began."""

    key: VerifyingKey
    watch: Watch
    answered: int = 0
    noticed: int = 0
    refused: bool = False


class _Stop(Exception):  # noqa: N818  # control flow within this module
    """The request has an outcome already."""

    def __init__(self, outcome: Outcome, left: int | None = None) -> None:
        super().__init__(outcome)
        self.outcome, self.left = outcome, left


class QueryService:
    """Answers a room's principals, one request at a time."""

    def __init__(
        self,
        room: Room,
        predictor: Predictor,
        spend: Spend,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the room, the model and the desk.

        Args:
            room: Its signed terms.
            predictor: What has the model.
            spend: Where each query is counted.
            now: A clock that only goes on.
        """
        terms = room.terms
        self.rules = QueryRules.of(room)
        self._stealing = terms.queries.stealing
        self._predictor = predictor
        self._spend = spend
        self._now = now
        self._owners = [terms.parties.key(party) for party in PARTIES]
        self._askers = _askers(terms, self.rules)

    def answer(
        self, data: bytes, session: Session, *, deadline: float, held: Collection[str] = ()
    ) -> Reply:
        """Return what becomes of an untrusted request; nothing is raised.

        Args:
            data: As many bytes as a request has.
            session: Where it came.
            deadline: When the answer has to be there.
            held: Principals to whom an answer is still on its way.
        """
        try:
            request = self._signed(data, session)
            asker = self._askers[request.principal]
            if request.ask is Ask.STANDING:
                return Reply(self._standing(request, session, asker))
            return self._labels(request, asker, deadline, held)
        except _Stop as stop:
            return Reply(Answer(stop.outcome, session.number, left=stop.left))
        except Exception as e:  # noqa: BLE001  # nobody outside may see that it failed, nor why
            _LOG.debug("a query failed: %s", type(e).__name__)
            return Reply(Answer(Outcome.FAILED, session.number))

    def _signed(self, data: bytes, session: Session) -> Request:
        """Step 1: a request of this form. Step 2: signed, for here and now, by who may ask it."""
        try:
            request = Request.from_bytes(data, self.rules)
        except MalformedError:
            raise _Stop(Outcome.MALFORMED) from None
        asker = self._askers.get(request.principal)
        if asker is None or request.number != session.number:
            raise _Stop(Outcome.PRINCIPAL)
        keys = [asker.key]
        if request.ask is Ask.STANDING:
            keys += self._owners
        if not any(_holds(key, request, session) for key in keys):
            raise _Stop(Outcome.PRINCIPAL)
        return request

    def _labels(
        self, request: Request, asker: _Asker, deadline: float, held: Collection[str]
    ) -> Reply:
        # 3. Numbers, all of them.
        try:
            record = request.floats(self.rules)
        except MalformedError:
            raise _Stop(Outcome.MALFORMED) from None
        # 4. One at a time, and nobody who was refused.
        if request.principal in held:
            raise _Stop(Outcome.BUSY)
        if asker.refused:
            raise _Stop(Outcome.COPYING)
        # 5. While there is time, and a cell that nobody had before.
        try:
            self._predictor.prepare(deadline=deadline)
        except CloisterError:
            raise _Stop(Outcome.LATE) from None
        if self._now() >= deadline:
            raise _Stop(Outcome.LATE)
        # 6. Paid before it is computed.
        left = self._spent(request.principal, 1)
        # 7. In that cell, which is ended then.
        try:
            scores = self._predictor.predict(record, deadline=deadline)
            labels, rounded = answer_of(scores, self.rules)
        except CloisterError as e:
            _LOG.debug("a query failed: %s", e.code)
            raise _Stop(Outcome.FAILED, left) from e
        # 8. What it adds to the signal.
        noticed = self._noticed(asker, record, labels[0])
        if noticed and self._stealing.action == "refuse":
            asker.refused = True
            raise _Stop(Outcome.COPYING, left)
        # 9. As the terms say.
        asker.answered += 1
        answer = Answer(Outcome.ANSWERED, request.number, labels, rounded, left)
        slow = noticed and self._stealing.action == "slow"
        return Reply(answer, slow=request.principal if slow else "")

    def _noticed(self, asker: _Asker, record: Record, label: int) -> bool:
        signal = asker.watch.see(record, label)
        noticed = signal < float(self._stealing.threshold)
        asker.noticed += noticed
        return noticed

    def _spent(self, principal: str, amount: int) -> int:
        try:
            return min(self._spend(BUDGET, principal, amount), self.rules.limit)
        except ReleaseDeniedError as e:
            spent = e.code == "budget.spent"
            raise _Stop(Outcome.SPENT if spent else Outcome.UNCOUNTED) from e
        except CloisterError as e:
            raise _Stop(Outcome.UNCOUNTED) from e

    def _standing(self, request: Request, session: Session, asker: _Asker) -> Answer:
        """What is left for who asks; for an owner, how the principal's queries look as well."""
        left = self._spent(request.principal, 0)
        owner = any(_holds(key, request, session) for key in self._owners)
        standing = Standing()
        if owner:
            signal = round(asker.watch.signal * _MILLIONTHS)
            standing = Standing(asker.answered, asker.noticed, signal)
        return Answer(Outcome.ANSWERED, request.number, left=left, standing=standing)


def _askers(terms: Terms, rules: QueryRules) -> dict[str, _Asker]:
    numbers = rules.record_bytes // 4
    return {
        name: _Asker(
            VerifyingKey.from_text(key),
            Watch(numbers=numbers, seed=int.from_bytes(random_bytes(8))),
        )
        for name, key in terms.queries.principals.items()
    }


def _holds(key: VerifyingKey, request: Request, session: Session) -> bool:
    """Tell whether a key signed this request for this session."""
    error = IdentityError("not signed by who may ask it", code="query.principal")
    try:
        key.verify(SIGNATURE_LABEL, request.signed(session), request.signature, error=error)
    except IdentityError:
        return False
    return True
