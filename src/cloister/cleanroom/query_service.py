"""What becomes of one request: who asks, what it costs, what the model says. No sockets.

Invariants:
    1. Nothing is computed, and nothing spent, for a request that no principal signed for this
       connection.
    2. No answer leaves that was not spent at the key service before it was computed.
    3. Nothing of a request is kept for the next one but the numbers of `Watch`, which only say
       whether somebody is answered; a predictor gives each request a fresh cell.
    4. What is noticed is counted at the key service before an answer leaves: an enclave that is
       started again has forgotten the numbers, and knows of whom they were.
    5. Whatever goes wrong is an outcome of the same size; `answer` raises nothing.

Spec: cleanroom-query-v1, clauses CQ-24 to CQ-29, CQ-38 and CQ-39.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from cloister.cleanroom.agreement import Room
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
from cloister.cleanroom.query_signal import LEAST, Watch
from cloister.cleanroom.room_policy import BUDGET, NOTICED, UNJUDGED
from cloister.cleanroom.terms import PARTIES, Terms
from cloister.crypto.kdf import random_bytes
from cloister.crypto.signature import VerifyingKey
from cloister.errors import CloisterError, IdentityError, MalformedError, ReleaseDeniedError
from cloister.launcher.passed_desk import Spend

__all__ = ["Predictor", "QueryService", "Reply", "wait_until"]

_LOG: Final = logging.getLogger("cloister.cleanroom")
_MILLIONTHS: Final = 1_000_000
_SETTLE: Final = 0.2  # of a tick: what is left when predictions have ended
_GRACE: Final = 3  # lives of an enclave whose beginnings may go unjudged


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


def wait_until(at: float) -> None:
    """Return at an instant of the monotonic clock, or at once where it is over."""
    time.sleep(max(0.0, at - time.monotonic()))


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
    """A principal.

    Attributes:
        key: Public.
        watch: Of queries since this enclave began.
        answered: How many were, since then.
        noticed: How many ever looked like copying, as the key service counts; None until it was
            asked in this life.
        before: Whether there were any when this life began.
    """

    key: VerifyingKey
    watch: Watch
    answered: int = 0
    noticed: int | None = None
    before: bool = False


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
        wait: Callable[[float], None] = wait_until,
    ) -> None:
        """Take the room, the model and the desk.

        Args:
            room: Its signed terms.
            predictor: What has the model.
            spend: Where each query is counted.
            now: A clock that only goes on.
            wait: Returns at an instant of that clock, or at once where it is over.
        """
        terms = room.terms
        self.rules = QueryRules.of(room)
        self._stealing = terms.queries.stealing
        self._predictor = predictor
        self._spend = spend
        self._now, self._wait = now, wait
        self._grace = _GRACE * (LEAST + terms.data.classes)
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
                return Reply(self._standing(request, session, asker, deadline))
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
        # 4. One at a time, and nobody who was refused, in this life or an earlier one.
        if request.principal in held:
            raise _Stop(Outcome.BUSY)
        if self._known(request.principal, asker) and self._stealing.action == "refuse":
            raise _Stop(Outcome.COPYING)
        # 5. While there is time, and a cell that nobody had before.
        settle = self._settle(deadline)
        try:
            self._predictor.prepare(deadline=settle)
        except CloisterError:
            raise _Stop(Outcome.LATE) from None
        if self._now() >= settle:
            raise _Stop(Outcome.LATE)
        # 6. Paid before it is computed.
        left = self._spent(request.principal, 1)
        # 7. In that cell, which is ended then. 8. What it adds to the signal: counted at one time,
        # also where nothing came, so that the message says nothing of how long it took.
        found: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        try:
            found = answer_of(self._predictor.predict(record, deadline=settle), self.rules)
        except Exception as e:  # noqa: BLE001  # the recipe's failure, or ours: both are counted
            _LOG.debug("a query failed: %s", type(e).__name__)
        label = None if found is None else found[0][0]
        noticed = self._noticed(request.principal, asker, record, label, settle)
        if found is None:
            raise _Stop(Outcome.FAILED, left)
        labels, rounded = found
        if noticed and self._stealing.action == "refuse":
            raise _Stop(Outcome.COPYING, left)
        # 9. As the terms say.
        asker.answered += 1
        answer = Answer(Outcome.ANSWERED, request.number, labels, rounded, left)
        slow = noticed and self._stealing.action == "slow"
        return Reply(answer, slow=request.principal if slow else "")

    def _known(self, principal: str, asker: _Asker) -> int:
        """Return how many queries of a principal were ever noticed; asks once in a life."""
        if asker.noticed is None:
            asker.noticed = self._counted(NOTICED, principal, 0)
            asker.before = asker.noticed > 0
        return asker.noticed

    def _noticed(
        self, principal: str, asker: _Asker, record: Record, label: int | None, settle: float
    ) -> bool:
        """Tell whether a query is noticed, once that is counted: one message, at one time.

        While nobody can tell, one is noticed if some were in an earlier life, or if so many were
        not judged as only an enclave comes to that is started again and again.
        """
        known = self._known(principal, asker)
        if label is None:
            self._wait(settle)
            self._counted(NOTICED, principal, 0)
            return False
        noticed = asker.watch.see(record, label) < float(self._stealing.threshold)
        judged = asker.watch.knows
        self._wait(settle)
        if judged:
            asker.noticed = known + noticed  # before anything can fail: this life refuses the next
            asker.noticed = max(known + noticed, self._counted(NOTICED, principal, int(noticed)))
            return noticed
        noticed = self._counted(UNJUDGED, principal, 1) > self._grace or asker.before
        asker.noticed = known + noticed
        return noticed

    def _settle(self, deadline: float) -> float:
        return deadline - _SETTLE * self.rules.tick_s

    def _counted(self, counter: str, principal: str, amount: int) -> int:
        """Count at the key service; return how many there are now."""
        try:
            return max(0, self.rules.limit - self._spend(counter, principal, amount))
        except ReleaseDeniedError as e:
            if e.code == "budget.spent":  # it counts as all: the state was gone back to
                return self.rules.limit
            raise _Stop(Outcome.UNCOUNTED) from e
        except CloisterError as e:
            raise _Stop(Outcome.UNCOUNTED) from e

    def _spent(self, principal: str, amount: int) -> int:
        try:
            return min(self._spend(BUDGET, principal, amount), self.rules.limit)
        except ReleaseDeniedError as e:
            spent = e.code == "budget.spent"
            raise _Stop(Outcome.SPENT if spent else Outcome.UNCOUNTED) from e
        except CloisterError as e:
            raise _Stop(Outcome.UNCOUNTED) from e

    def _standing(
        self, request: Request, session: Session, asker: _Asker, deadline: float
    ) -> Answer:
        """What is left for who asks; for an owner, how the principal's queries look as well."""
        self._known(request.principal, asker)
        left = self._spent(request.principal, 0)
        self._wait(self._settle(deadline))
        noticed = self._counted(NOTICED, request.principal, 0)
        owner = any(_holds(key, request, session) for key in self._owners)
        standing = Standing()
        if owner:
            signal = round(asker.watch.signal * _MILLIONTHS)
            standing = Standing(asker.answered, noticed, signal)
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
