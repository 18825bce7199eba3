"""The server's decisions: whose message counts, what is told to whom, what a checkpoint has."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from cloister.cleanroom.aggregation import Fate
from cloister.cleanroom.coordinator import Coordinator
from cloister.cleanroom.exchange_message import SERVER, Kind
from cloister.errors import MalformedError, RemoteProtocolError, TamperedError
from rounds_bench import LIFE, PLAN, RULES, begun, coordinator, floats, measure, rules, said

STALE = rules(mode="bounded-stale")


@pytest.mark.spec("TR-35", "TR-36", "TR-37")
def test_a_plan_in_pieces_then_parameters_then_both_are_told() -> None:
    mind = coordinator()
    pieces = [PLAN[n : n + 32] for n in range(0, len(PLAN), 32)]
    for tick, piece in enumerate(pieces):
        mind.advance(tick)
        assert mind.plan is None
        mind.take(0, said(Kind.PLAN, 0, tick, offset=32 * tick, total=len(PLAN), body=piece))
        told = mind.tell(1, welcome=False)
        assert (told.kind, told.held, told.total) == (Kind.IDLE, 32 * tick + len(piece), len(PLAN))
    assert mind.plan == PLAN
    tick = len(pieces)
    mind.advance(tick)
    mind.take(0, said(Kind.INITIAL, 0, tick, body=floats(1, 2, 3)))
    assert mind.pull() is None  # from the next tick on
    mind.advance(tick + 1)
    told = mind.tell(1, welcome=False)
    assert (told.kind, told.sender, told.tick, told.version) == (
        Kind.PARAMETERS, SERVER, tick + 1, 0,
    )  # fmt: skip
    assert np.asarray(told.body).tolist() == [1, 2, 3]
    mind.take(1, said(Kind.IDLE, 1, tick + 1, wish=32))
    told = mind.tell(1, welcome=False)
    assert (told.kind, told.offset, bytes(told.body)) == (Kind.PLAN, 32, PLAN[32:64])
    assert mind.tell(0, welcome=True).kind is Kind.WELCOME


@pytest.mark.spec("TR-36")
def test_pieces_come_twice_or_with_a_gap() -> None:
    mind = coordinator()
    mind.advance(0)
    for tick, offset in ((0, 32), (1, 0), (2, 0), (2, 64), (2, 32)):
        if tick > mind.tick:
            mind.advance(tick)
        mind.seats[0].tick = -1
        mind.take(
            0, said(Kind.PLAN, 0, tick, offset=offset, total=80, body=PLAN[offset : offset + 32])
        )
    assert mind.tell(0, welcome=False).held == 64


@pytest.mark.spec("TR-35")
def test_the_plan_and_the_parameters_are_trainer_zeros_and_come_once() -> None:
    mind = coordinator()
    mind.advance(0)
    for kind, fields in (
        (Kind.PLAN, {"total": 6, "body": b"a plan"}),
        (Kind.INITIAL, {"body": floats(1)}),
    ):
        mind.seats[1].tick = -1
        with pytest.raises(RemoteProtocolError):
            mind.take(1, said(kind, 1, 0, **fields))
    mind = begun()
    mind.take(0, said(Kind.INITIAL, 0, 3, body=floats(7, 7, 7)))
    mind.take(0, said(Kind.PLAN, 0, 4, total=6, body=b"A PLAN"))
    mind.advance(3)
    assert (mind.plan, mind.version) == (b"a plan", 0)
    found = mind.pull()
    assert found is not None
    assert found[1].tolist() == [1, 2, 3]


@pytest.mark.spec("TR-35", "TR-39")
def test_what_is_no_plan_is_forgotten_and_nobody_sees_it() -> None:
    mind = coordinator()
    mind.advance(0)
    assert mind.take(0, said(Kind.PLAN, 0, 0, total=6, body=b"no way"))
    assert (mind.tell(0, welcome=False).held, mind.tallies[0].rejected) == (0, 1)
    mind.advance(1)
    mind.take(0, said(Kind.INITIAL, 0, 1, body=floats(1, 2, 3)))  # to no plan: not taken
    mind.advance(2)
    assert mind.pull() is None
    mind.take(0, said(Kind.PLAN, 0, 2, total=12, body=b"a plan"))
    assert mind.take(0, said(Kind.PLAN, 0, 3, total=13, offset=6, body=b" of it"))
    assert mind.tallies[0].rejected == 2
    mind.advance(3)
    mind.take(0, said(Kind.PLAN, 0, 4, total=12, offset=6, body=b" of it"))
    assert mind.plan == b"a plan of it"


@pytest.mark.spec("TR-36")
def test_a_trainer_that_began_again_begins_its_plan_anew() -> None:
    """Pieces of two plans are never put together, and parameters are of the plan they came with."""
    mind = coordinator()
    mind.advance(0)
    mind.take(0, said(Kind.PLAN, 0, 0, total=12, body=b"a plan"))
    mind.take(0, said(Kind.PLAN, 0, 1, total=7, body=b"a plan?"))
    assert mind.plan == b"a plan?"
    mind.advance(1)
    mind.take(0, said(Kind.INITIAL, 0, 2, body=floats(1, 2, 3)))
    mind.take(0, said(Kind.PLAN, 0, 3, total=6, body=b"a plan"))
    mind.advance(2)
    assert mind.pull() is None
    mind.take(0, said(Kind.INITIAL, 0, 4, body=floats(4, 5, 6)))
    mind.advance(3)
    found = mind.pull()
    assert found is not None
    assert found[1].tolist() == [4, 5, 6]


@pytest.mark.spec("TR-35", "TR-39")
@pytest.mark.parametrize(
    "initial", [floats(1, 2), floats(1, 2, 3, 4), floats(1, np.inf, 2), floats(1, 2, 1e10)]
)
def test_parameters_that_do_not_fit_the_plan(initial: Any) -> None:
    mind = begun(initial=initial)
    assert mind.pull() is None
    assert mind.tallies[0].rejected == 1


@pytest.mark.spec("TR-41", "TR-42")
@pytest.mark.parametrize(
    ("kind", "sender", "tick"),
    [
        (Kind.IDLE, 0, 11),  # another trainer's
        (Kind.HELLO, 1, 11),  # a second greeting
        (Kind.IDLE, 1, 10),  # of the same tick
        (Kind.IDLE, 1, 9),
        (Kind.IDLE, 1, 13),  # of the future
    ],
)
def test_a_message_that_is_not_its_turn(kind: Kind, sender: int, tick: int) -> None:
    mind = begun()
    mind.advance(10)
    mind.take(1, said(Kind.IDLE, 1, 10))
    with pytest.raises(RemoteProtocolError) as caught:
        mind.take(1, said(kind, sender, tick))
    assert caught.value.code == "protocol.remote"
    assert mind.seats[1].heard == 1


@pytest.mark.spec("TR-42")
def test_a_server_that_is_late_itself_refuses_nobody() -> None:
    """What is ahead is so of the time, and not of the work that was done."""
    mind = begun()
    mind.advance(10)
    mind.observe(14)
    assert mind.take(1, said(Kind.IDLE, 1, 16))
    with pytest.raises(RemoteProtocolError):
        mind.take(1, said(Kind.IDLE, 1, 17))
    mind.observe(3)  # time does not go back
    mind.advance(11)
    assert mind.take(0, said(Kind.IDLE, 0, 16))


@pytest.mark.spec("TR-43")
def test_what_is_late_does_not_count() -> None:
    mind = begun(STALE)
    mind.advance(10)
    assert not mind.take(1, said(Kind.PUSH, 1, 6, body=floats(9, 9, 9)))
    assert mind.take(1, said(Kind.PUSH, 1, 7, body=floats(1, 1, 1)))
    assert mind.advance(11) == [None, Fate.ADDED]
    assert (mind.seats[1].late, mind.seats[1].heard, mind.version) == (1, 1, 1)


@pytest.mark.spec("TR-20", "TR-22")
def test_rounds_end_at_their_ticks_whoever_came() -> None:
    mind = begun()
    for tick in range(3, 10 + 4 * 5 + 4):
        if tick == 14:
            mind.take(0, said(Kind.PUSH, 0, 14, body=floats(2, 2, 2)))
        mind.advance(tick)
        assert mind.version == RULES.schedule.closed(tick)
    found = mind.pull()
    assert found is not None
    assert found[1].tolist() == [3, 4, 5]
    assert [tally.missing for tally in mind.tallies] == [3, 4]


@pytest.mark.spec("TR-26", "TR-39")
def test_a_difference_that_cannot_be_is_counted_and_nobody_sees_it() -> None:
    mind = coordinator()
    mind.advance(0)
    assert mind.take(0, said(Kind.PUSH, 0, 0, body=floats(1, 1, 1)))
    assert mind.tallies[0].rejected == 1
    for fields in ({"body": floats(1, 1)}, {"body": floats(1, 1, 1), "version": 0}):
        mind = begun(STALE)
        for tick in (2, 3):  # the second one is to a version that the first one did not make
            assert mind.take(0, said(Kind.PUSH, 0, tick, **fields))
        mind.advance(3)
        assert mind.version == (0 if len(fields) == 1 else 1)


@pytest.mark.spec("TR-33")
def test_a_trainer_that_has_seen_a_later_version_has_seen_another_server() -> None:
    mind = begun(STALE)
    with pytest.raises(TamperedError) as caught:
        mind.take(0, said(Kind.PUSH, 0, 2, body=floats(1, 1, 1), version=1))
    assert caught.value.code == "state.rolled-back"


@pytest.mark.spec("TR-28")
def test_a_difference_to_an_earlier_lifes_parameters_is_lost() -> None:
    mind = begun(STALE)
    mind.take(0, said(Kind.PUSH, 0, 2, body=floats(1, 1, 1)))
    mind.advance(3)
    kept = mind.snapshot()
    again = coordinator(STALE, checkpoint=kept, life=b"M" * 16)
    again.advance(5)
    again.take(1, said(Kind.PUSH, 1, 5, body=floats(1, 1, 1), version=0))
    again.advance(6)
    assert (again.version, again.tallies[1].stale) == (1, 1)


@pytest.mark.spec("TR-38")
def test_metrics_are_the_newest_and_their_mean() -> None:
    mind = begun()
    mind.take(0, said(Kind.IDLE, 0, 2, round=1, metrics=(0.5, None)))
    mind.take(1, said(Kind.IDLE, 1, 2, round=2, metrics=(1.5, 0.25)))
    assert (mind.metric("loss"), mind.metric("accuracy")) == (1.0, 0.25)
    mind.advance(3)
    mind.take(1, said(Kind.IDLE, 1, 3, round=1, metrics=(9.0, None)))  # of an earlier round
    mind.take(0, said(Kind.IDLE, 0, 3, round=2, metrics=(0.75, 0.75)))
    assert (mind.metric("loss"), mind.metric("accuracy")) == (1.125, 0.5)
    assert coordinator().metric("loss") is None


@pytest.mark.spec("TR-50", "TR-51")
def test_checkpoints_are_due_at_rounds_that_the_terms_fix() -> None:
    mind = begun()
    due = []
    for tick in range(3, RULES.schedule.ticks):
        mind.advance(tick)
        if mind.checkpoint_due():
            due.append(tick)
    assert due == [10, 20, 30]
    # Ticks that were missed do not make one fall out.
    mind = begun()
    mind.advance(9)
    mind.advance(12)
    assert mind.checkpoint_due()
    mind.advance(13)
    assert not mind.checkpoint_due()


@pytest.mark.spec("TR-52", "TR-53")
def test_the_next_life_goes_on() -> None:
    mind = begun()
    for tick in range(3, 21):
        if tick in {12, 17}:
            mind.take(1, said(Kind.PUSH, 1, tick, body=floats(1, 0, 0), version=mind.version))
        mind.advance(tick)
    kept = mind.snapshot()
    mind.kept(kept)
    assert mind.durable == 2
    again = coordinator(checkpoint=kept, life=b"M" * 16)
    assert (again.epoch, again.version, again.durable, again.tick) == (2, 2, 2, 20)
    assert again.plan == b"a plan"
    assert again.tallies == mind.tallies
    found = again.pull()
    assert found is not None
    assert found[1].tolist() == [3, 2, 3]
    # Ticks went by meanwhile: their rounds are over, and nobody's.
    again.advance(27)
    assert again.version == 3
    again.standing.require_of(dataclasses.replace(mind.standing, version=2))


@pytest.mark.spec("TR-53")
def test_a_checkpoint_of_before_there_was_a_plan() -> None:
    mind = coordinator()
    again = coordinator(checkpoint=mind.snapshot(), life=b"M" * 16)
    assert (again.epoch, again.plan, again.pull()) == (2, None, None)


@pytest.mark.spec("TR-53")
def test_a_checkpoint_whose_plan_is_of_another_model() -> None:
    kept = dataclasses.replace(begun().snapshot(), parameters=floats(1))
    with pytest.raises(MalformedError):
        coordinator(checkpoint=kept)


def test_time_and_life() -> None:
    mind = begun()
    with pytest.raises(RemoteProtocolError):
        mind.advance(2)
    for life in (b"short", bytes(16)):
        with pytest.raises(MalformedError):
            Coordinator(RULES, measure=measure, life=life, checkpoint=None)


@pytest.mark.spec("TR-40")
def test_greetings() -> None:
    mind = begun()
    assert mind.hello(said(Kind.HELLO, 1, 5)) == 1
    with pytest.raises(RemoteProtocolError):
        mind.hello(said(Kind.IDLE, 1, 5))
    # A trainer that began again may be heard at once, whatever it had said before.
    mind.take(1, said(Kind.IDLE, 1, 4))
    mind.hello(said(Kind.HELLO, 1, 0))
    mind.take(1, said(Kind.IDLE, 1, 3))


def test_what_happened() -> None:
    mind = begun(STALE)
    mind.take(0, said(Kind.PUSH, 0, 2, body=floats(1, 1, 1), round=0, metrics=(0.5, None)))
    mind.advance(3)
    first, second = mind.outcome()["trainers"]  # type: ignore[misc]  # fields are of any form
    assert (first["added"], first["heard"], first["metrics"]) == (1, 3, {"loss": 0.5})
    assert (second["added"], second["metrics"]) == (0, {})
    assert mind.standing.life == LIFE
