"""What becomes of a request, with a model that is a function and a purse of a few."""

from __future__ import annotations

import dataclasses
import time
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.query_message import Answer, Ask, Outcome, QueryRules
from cloister.cleanroom.query_service import wait_until
from cloister.cleanroom.terms import Stealing
from cloister.crypto.signature import SigningKey
from cloister.errors import (
    MalformedError,
    ReleaseDeniedError,
    UnavailableError,
    WorkloadError,
)
from cloister.testing.cleanroom import DATA_OWNER, MODEL_OWNER
from unit.cleanroom.asking import Purse, Rows, request, room_with, service_of, session

ROOM = room_with()
RECORD = np.arange(64, dtype=np.float32).reshape(8, 8)


class Served:
    """A service with its fakes, and a clock that stands still."""

    def __init__(self, **changes: Any) -> None:
        self.room = room_with(**changes)
        self.rules = QueryRules.of(self.room)
        self.purse, self.model, self.time = Purse(), Rows(), 0.0
        self.waited: list[float] = []
        self.begin()

    def begin(self) -> None:
        """Begin a life of the enclave; the purse is the key service's."""
        self.service = service_of(
            self.room, self.model, self.purse, now=lambda: self.time, wait=self.waited.append
        )

    def ask(self, record: Any = RECORD, *, number: int = 0, **changes: Any) -> Answer:
        """One request of the session, answered by a deadline of 1."""
        data = request(self.room, record, number=number, **changes)
        return self.reply(data, number=number)

    def reply(self, data: bytes, *, number: int = 0) -> Answer:
        """The answer to some bytes, through its own form."""
        here = session(self.room, number)
        answer = self.service.answer(data, here, deadline=1.0).answer
        assert Answer.from_bytes(answer.to_bytes(self.rules), self.rules) == answer
        return answer


@pytest.mark.spec("CQ-24", "CQ-27")
def test_a_query_is_paid_for_and_answered() -> None:
    """One unit in the principal's name, then the labels."""
    served = Served()
    served.model.after = lambda: served.purse.asked or pytest.fail("not paid before")
    answer = served.ask()
    assert answer.outcome is Outcome.ANSWERED
    assert answer.labels == (7, 6, 5)
    assert answer.scores == (700, 600, 500)
    assert answer.left == 99
    assert served.purse.asked == [
        ("noticed", "clinic", 0), ("queries", "clinic", 1), ("unjudged", "clinic", 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"key": SigningKey(b"\x77" * 32)},
        {"key": MODEL_OWNER},
        {"principal": "nobody"},
        {"signature": bytes(64)},
        {"number": 1},
        {"record": bytes(256)},
        {"session": session(ROOM, nonce=bytes(32))},
        {"session": dataclasses.replace(session(ROOM), server="spiffe://a.b/c/d/query/1")},
        {"session": dataclasses.replace(session(ROOM), room=bytes(32))},
        {"ask": Ask.STANDING, "principal": "clinic", "signature": bytes(64)},
    ],
    ids="-".join,
)
@pytest.mark.spec("CQ-25", "CQ-26", "CQ-7")
def test_who_is_not_meant_gets_nothing(changes: dict[str, Any]) -> None:
    """Another key, name, number, connection, enclave or room: the same outcome, nothing spent."""
    served = Served()
    number = changes.pop("number", None)
    if number is not None:
        data = request(served.room, RECORD, number=number)
    elif "record" in changes:
        whole = request(served.room, RECORD)
        data = whole[:-256] + changes["record"]
    else:
        record = None if changes.get("ask") else RECORD
        data = request(served.room, record, **changes)
    answer = served.reply(data)
    assert answer == Answer(Outcome.PRINCIPAL, 0)
    assert (served.purse.asked, served.model.asked) == ([], 0)


@pytest.mark.spec("CQ-24")
def test_what_is_no_request_costs_nothing() -> None:
    """Bytes of another form, and records of what is not a number."""
    served = Served()
    size = served.rules.request_bytes
    for data in (bytes(size), b"\xff" * size, request(served.room, np.full((8, 8), np.nan))):
        assert served.reply(data) == Answer(Outcome.MALFORMED, 0)
    assert (served.purse.asked, served.model.asked) == ([], 0)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ReleaseDeniedError("none left", code="budget.spent"), Outcome.SPENT),
        (ReleaseDeniedError("not a member", code="release.not-member"), Outcome.UNCOUNTED),
        (UnavailableError("gone", code="keyservice.unreachable"), Outcome.UNCOUNTED),
        (RuntimeError("a bug"), Outcome.FAILED),
    ],
    ids=["spent", "not-member", "gone", "bug"],
)
@pytest.mark.spec("CQ-27")
def test_what_is_not_counted_is_not_computed(error: Exception, outcome: Outcome) -> None:
    """Whatever the reason."""
    served = Served()
    served.purse.fails = error
    assert served.ask() == Answer(outcome, 0)
    assert served.model.asked == 0


@pytest.mark.parametrize(
    "error",
    [
        WorkloadError("raised", code="recipe.failed"),
        WorkloadError("late", code="cell.late"),
        MalformedError("nonsense", code="recipe.malformed"),
        ValueError("a bug"),
    ],
    ids=["raised", "late", "nonsense", "bug"],
)
@pytest.mark.spec("CQ-24", "CQ-30")
def test_a_prediction_that_fails_is_an_outcome(error: Exception) -> None:
    """And the next query is answered."""
    served = Served()

    def fail() -> None:
        raise error

    served.model.after = fail
    assert served.ask().outcome is Outcome.FAILED
    served.model.after = lambda: None
    assert served.ask(number=1).outcome is Outcome.ANSWERED


@pytest.mark.spec("CQ-24", "CQ-22")
def test_nothing_begins_too_late() -> None:
    """Time is looked at before a unit is spent."""
    served = Served()
    served.time = 1.0
    assert served.ask() == Answer(Outcome.LATE, 0)
    served.time = 0.0
    served.model.missing = UnavailableError("no cell", code="query.late")
    assert served.ask() == Answer(Outcome.LATE, 0)
    assert served.purse.left == 100


@pytest.mark.spec("CQ-23", "CQ-24")
def test_one_answer_at_a_time() -> None:
    """While one is on its way, there is no other."""
    served = Served()
    data = request(served.room, RECORD)
    reply = served.service.answer(data, session(served.room), deadline=1.0, held={"clinic"})
    assert reply.answer == Answer(Outcome.BUSY, 0)
    assert served.purse.asked == []


@pytest.mark.spec("CQ-11", "CQ-28")
def test_a_standing_is_free_and_tells_owners_more() -> None:
    """A principal reads what is left, an owner how the queries look; and nobody else anything."""
    served = Served()
    served.ask()
    mine = served.ask(None, ask=Ask.STANDING)
    assert (mine.outcome, mine.left, mine.standing.answered) == (Outcome.ANSWERED, 99, 0)
    for owner in (MODEL_OWNER, DATA_OWNER):
        theirs = served.ask(None, ask=Ask.STANDING, key=owner)
        assert (theirs.left, theirs.standing.answered) == (99, 1)
        assert theirs.standing.signal == 1_000_000
    assert served.purse.left == 99
    stranger = served.ask(None, ask=Ask.STANDING, key=SigningKey(b"\x77" * 32))
    assert stranger == Answer(Outcome.PRINCIPAL, 0)


def copying(action: str) -> tuple[Served, list[Answer], list[str]]:
    """Ask one thing until it is noticed, and some times more."""
    stealing = Stealing(threshold=Decimal("0.9"), action=action)  # type: ignore[arg-type]  # words of the terms
    served = Served(stealing=stealing, limit=1000)
    served.purse = Purse(1000)
    served.begin()
    answers, slow = [], []
    for number in range(104):
        data = request(served.room, RECORD, number=number)
        reply = served.service.answer(data, session(served.room, number), deadline=1.0)
        answers.append(reply.answer)
        slow.append(reply.slow)
    return served, answers, slow


@pytest.mark.spec("CQ-38", "CQ-42")
def test_copying_is_counted() -> None:
    """And answered, where the terms say no more; the owners read it."""
    served, answers, slow = copying("count")
    assert {answer.outcome for answer in answers} == {Outcome.ANSWERED}
    assert not any(slow)
    standing = served.ask(None, ask=Ask.STANDING, key=DATA_OWNER).standing
    assert (standing.answered, standing.noticed, standing.signal) == (104, 4, 0)


@pytest.mark.spec("CQ-38")
def test_copying_is_slowed() -> None:
    """From the first that was noticed on."""
    _, answers, slow = copying("slow")
    assert {answer.outcome for answer in answers} == {Outcome.ANSWERED}
    assert slow == [""] * 100 + ["clinic"] * 4


@pytest.mark.spec("CQ-38")
def test_copying_is_refused() -> None:
    """What was noticed has no labels and was spent; what comes after is not spent, nor computed."""
    served, answers, _ = copying("refuse")
    assert [answer.outcome for answer in answers] == [Outcome.ANSWERED] * 100 + [
        Outcome.COPYING
    ] * 4
    assert not answers[100].labels
    assert served.model.asked == 101
    assert served.purse.left == 1000 - 101


@pytest.mark.spec("CQ-28", "CQ-29")
def test_what_is_counted_is_told_at_one_time_whatever_came() -> None:
    """An answer, a failure and a standing: the same messages, the second at one instant."""
    served = Served()
    served.ask()  # the first of a life asks once more
    seen = []

    def fail() -> None:
        raise WorkloadError("raised", code="recipe.failed")

    for after, ask in ((lambda: None, Ask.LABELS), (fail, Ask.LABELS), (fail, Ask.STANDING)):
        served.purse.asked.clear()
        served.waited.clear()
        served.model.after = after
        served.ask(RECORD if ask is Ask.LABELS else None, ask=ask)
        seen.append(
            ([budget == "queries" for budget, _, _ in served.purse.asked], served.waited[:])
        )
    assert seen == [([True, False], [pytest.approx(0.96)])] * 3


@pytest.mark.spec("CQ-29")
def test_what_cannot_be_counted_is_not_answered() -> None:
    """The key service went away after the query was spent: no label leaves, and it is noticed."""
    served, _, _ = copying("count")
    asked = served.model.asked

    def away() -> None:
        served.purse.fails = UnavailableError("gone", code="keyservice.unreachable")

    served.model.after = away
    assert served.ask() == Answer(Outcome.UNCOUNTED, 0)
    assert served.model.asked == asked + 1


@pytest.mark.spec("CQ-38", "CQ-39")
@pytest.mark.parametrize("action", ["refuse", "slow", "count"])
def test_a_restart_forgets_nothing_that_was_noticed(action: str) -> None:
    """Refused stays refused, unasked and unspent; a slow one is slow before it can be judged."""
    served, _, _ = copying(action)
    served.begin()
    left, asked = served.purse.left, served.model.asked
    data = request(served.room, np.random.default_rng(1).random((8, 8)))
    reply = served.service.answer(data, session(served.room), deadline=1.0)
    if action == "refuse":
        assert reply.answer == Answer(Outcome.COPYING, 0)
        assert (served.purse.left, served.model.asked) == (left, asked)
    else:
        assert reply.answer.outcome is Outcome.ANSWERED
        assert reply.slow == ("clinic" if action == "slow" else "")
    standing = served.ask(None, ask=Ask.STANDING, key=DATA_OWNER).standing
    assert standing.noticed == (1 if action == "refuse" else 4)


@pytest.mark.spec("CQ-39")
def test_who_is_never_noticed_is_answered_after_restarts() -> None:
    """Three lives of an enclave may begin without anybody being judged."""
    stealing = Stealing(threshold=Decimal("0.9"), action="refuse")
    served = Served(stealing=stealing, limit=1000)
    served.purse = Purse(1000)
    generator = np.random.default_rng(2)
    for _ in range(3):
        served.begin()
        for number in range(30):
            assert served.ask(generator.random((8, 8)), number=number).outcome is Outcome.ANSWERED
    assert served.purse.counted["unjudged", "clinic"] == 90


def test_waiting_ends_at_an_instant_or_at_once() -> None:
    """The clock is the one that only goes on."""
    began = time.monotonic()
    wait_until(began - 5)
    wait_until(began + 0.05)
    assert 0.05 <= time.monotonic() - began < 5
