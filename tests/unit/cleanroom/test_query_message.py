"""Greeting, request and answer: one size each, one reading each."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.query_message import (
    CODE_OF,
    GREETING_BYTES,
    Answer,
    Ask,
    Greeting,
    Outcome,
    QueryRules,
    Request,
    Standing,
)
from cloister.errors import ConfigError, LocalProtocolError, MalformedError
from unit.cleanroom.asking import NONCE, request, room_with, session

ROOM = room_with()
RULES = QueryRules.of(ROOM)


def refused(data: bytes, reader: Any) -> None:
    """Expect that a reader does not take it."""
    more = () if reader is Greeting else (RULES,)
    with pytest.raises(MalformedError) as caught:
        reader.from_bytes(data, *more)
    assert caught.value.code == "message.malformed"


@pytest.mark.spec("CQ-1", "CQ-2")
def test_a_greeting_comes_back() -> None:
    """And has one size, and nothing but what it says."""
    greeting = Greeting(RULES.room, NONCE)
    data = greeting.to_bytes()
    assert len(data) == GREETING_BYTES
    assert Greeting.from_bytes(data) == greeting
    for bad in (data[:-1], data + b"\0", data[:-1] + b"\1", b"X" + data[1:]):
        refused(bad, Greeting)


@pytest.mark.spec("CQ-3", "CQ-4", "CQ-5")
def test_a_request_comes_back() -> None:
    """Of one size whatever is asked, by whomever."""
    data = request(ROOM, np.ones((8, 8)))
    assert len(data) == RULES.request_bytes == 144 + 256
    assert len(request(ROOM, ask=Ask.STANDING, principal="somebody-else")) == len(data)
    found = Request.from_bytes(data, RULES)
    assert found.to_bytes() == data
    assert (found.floats(RULES) == 1).all()


@pytest.mark.parametrize("place", [0, 4, 5, 6, 7, 12, 100 - 25, 140, 141, 143])
@pytest.mark.spec("CQ-3", "CQ-4")
def test_what_a_request_does_not_use_is_zero(place: int) -> None:
    """One byte that is not as it has to be is enough."""
    data = bytearray(request(ROOM))
    data[place] ^= 0x80
    refused(bytes(data), Request)


@pytest.mark.spec("CQ-5")
def test_a_record_is_for_labels_only() -> None:
    """A request for something else carries nothing."""
    data = bytearray(request(ROOM, ask=Ask.STANDING))
    data[-1] = 1
    refused(bytes(data), Request)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.spec("CQ-6")
def test_a_record_is_finite(value: float) -> None:
    """Every number is one."""
    data = request(ROOM, np.full((8, 8), value))
    with pytest.raises(MalformedError):
        Request.from_bytes(data, RULES).floats(RULES)


@pytest.mark.spec("CQ-7")
def test_a_signature_covers_where_it_is_good() -> None:
    """Room, enclave, connection, number, kind, name and record: none can be another."""
    here = session(ROOM)
    one = Request.from_bytes(request(ROOM, np.ones((8, 8))), RULES)
    signed = {
        one.signed(here),
        one.signed(dataclasses.replace(here, room=bytes(32))),
        one.signed(dataclasses.replace(here, server=here.server + "1")),
        one.signed(dataclasses.replace(here, nonce=bytes(32))),
        one.signed(dataclasses.replace(here, number=1)),
        dataclasses.replace(one, ask=Ask.STANDING).signed(here),
        dataclasses.replace(one, principal="other").signed(here),
        dataclasses.replace(one, record=bytes(256)).signed(here),
    }
    assert len(signed) == 8
    assert len({len(each) for each in signed}) == 1


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.spec("CQ-8", "CQ-9", "CQ-10")
def test_answers_have_one_size(outcome: Outcome) -> None:
    """Whatever became of the request."""
    answered = outcome is Outcome.ANSWERED
    answer = Answer(
        outcome, 3, (4, 5, 6) if answered else (), (75, 20, -5) if answered else (), left=7
    )
    data = answer.to_bytes(RULES)
    assert len(data) == RULES.answer_bytes == 64 + 24
    assert Answer.from_bytes(data, RULES) == answer
    assert answered or outcome in CODE_OF


@pytest.mark.spec("CQ-11")
def test_a_standing_comes_back() -> None:
    """Numbers for an owner, in an answer of the same size."""
    answer = Answer(Outcome.ANSWERED, 1, left=0, standing=Standing(5, 2, 970_000))
    data = answer.to_bytes(RULES)
    assert len(data) == RULES.answer_bytes
    assert Answer.from_bytes(data, RULES) == answer


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 88), (4, 9), (5, 2), (6, 1), (7, 1), (12, 200), (20, 1), (40, 1), (63, 1), (64, 10)],
)
@pytest.mark.spec("CQ-9", "CQ-10", "CQ-11", "CQ-12")
def test_answers_that_are_none(place: int, value: int) -> None:
    """Another magic, outcome, count, more left than there is, a standing beside labels."""
    data = bytearray(Answer(Outcome.ANSWERED, 0, (1, 2, 3), (75, 20, 5), left=1).to_bytes(RULES))
    data[place] = value
    refused(bytes(data), Answer)


@pytest.mark.spec("CQ-12")
def test_answers_that_the_terms_do_not_give() -> None:
    """A label twice, a score that is too large, a score where labels alone are agreed."""
    twice = Answer(Outcome.ANSWERED, 0, (1, 1, 3), (75, 20, 5), left=1)
    refused(twice.to_bytes(RULES), Answer)
    large = Answer(Outcome.ANSWERED, 0, (1, 2, 3), (100_001, 20, 5), left=1)
    refused(large.to_bytes(RULES), Answer)
    plain = dataclasses.replace(RULES, kind="label", digits=0)
    scored = Answer(Outcome.ANSWERED, 0, (1, 2, 3), (1, 0, 0), left=1).to_bytes(plain)
    with pytest.raises(MalformedError):
        Answer.from_bytes(scored, plain)


def test_our_own_mistakes_are_not_sent() -> None:
    """An answer of another size, or with a number that has no place."""
    for bad in (
        Answer(Outcome.ANSWERED, 0, (1,), (1,), left=1),
        Answer(Outcome.ANSWERED, 0, (1, 2, 3), (1,), left=1),
        Answer(Outcome.FAILED, -1),
        Answer(Outcome.ANSWERED, 0, (1, 2, 3), (2**40, 0, 0), left=1),
    ):
        with pytest.raises(LocalProtocolError):
            bad.to_bytes(RULES)


def test_a_record_that_no_request_holds() -> None:
    """Terms of huge records have no queries."""
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(RULES, shape=(65536, 65536))
    assert caught.value.code == "config.value"
