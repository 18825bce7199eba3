"""The server's program: from signed terms to a model and two reports that are alike."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from cloister.cleanroom.agreement import Room
from cloister.cleanroom.checkpoint import load_checkpoint
from cloister.cleanroom.description import ModelDescription, Sgd, parameters
from cloister.cleanroom.encoding import Message, encode
from cloister.cleanroom.layers import Dense
from cloister.cleanroom.model_file import load_model
from cloister.cleanroom.room_key import RoomKey
from cloister.cleanroom.room_policy import KEY_FILE, MODEL, REPORTS
from cloister.cleanroom.round_rules import RoundRules
from cloister.cleanroom.server import Places, main, measure_plan, serve_room
from cloister.errors import ConfigError, MalformedError, TamperedError, UnavailableError
from cloister.testing.cleanroom import sample_agreement, sample_terms
from rounds_bench import Anybody, trainer

DESCRIPTION = ModelDescription(
    input_shape=(4,),
    classes=2,
    layers=(Dense("out", inputs=("input",), units=2),),
    optimizer=Sgd(rate=0.1),
    batch=8,
)
PLAN = encode(Message("plan", {"model": DESCRIPTION.to_fields()}, {"state.mean": np.zeros(4)}))


def quick_room() -> Room:
    terms = sample_terms()
    training = dataclasses.replace(
        terms.training,
        rounds=4,
        tick_ms=20,
        prepare_ticks=8,
        round_ticks=4,
        closing_ticks=4,
        checkpoint_every=2,
        parameters_max=64,
        plan_max_bytes=2048,
        seconds=30,
        join_s=5,
    )
    release = dataclasses.replace(terms.release, every_rounds=2)
    return Room(sample_agreement(dataclasses.replace(terms, training=training, release=release)))


def places(folder: Path, port: int) -> Places:
    key = folder / "room.key"
    if not key.exists():
        key.write_text("4b" * 32)
        for name in ("model", "one", "two"):
            (folder / name).mkdir()
    return Places(
        key, folder / "model", (folder / "one", folder / "two"), ("127.0.0.1", port), Anybody()
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.spec("TR-49", "TR-55", "TR-60", "TR-63")
def test_a_room_from_its_terms_to_its_model(tmp_path: Path) -> None:
    room = quick_room()
    terms = RoundRules.of(room)
    where = places(tmp_path, free_port())
    serving = threading.Thread(target=serve_room, args=(room, where))
    serving.start()

    def connect() -> socket.socket:
        return socket.create_connection(where.address, timeout=5)

    with trainer(connect, terms, 0) as zero, trainer(connect, terms, 1) as one:
        zero.publish_plan(PLAN, np.zeros(10, np.float32))
        assert one.await_plan(5) == PLAN
        version, _ = one.pull(timeout_s=5)
        for client in (zero, one):
            client.metrics(0, {"loss": 0.123456, "accuracy": 1.0})
        assert one.push(np.full(10, 0.5, np.float32), version)
        for client in (zero, one):
            client.finish(20)
    serving.join(20)
    assert not serving.is_alive()
    key = RoomKey.load(where.key, room=room.digest)
    model = load_model(where.model, terms, key)
    assert (model.plan, model.version) == (PLAN, 4)
    assert model.parameters.tolist() == [0.5] * 10
    assert model.outcome["trainers"][1]["added"] == 1  # type: ignore[index,call-overload]  # of any form
    kept = load_checkpoint(where.model, terms, key)
    assert kept is not None
    assert kept.version == 4
    reports = [(folder / "training.json").read_bytes() for folder in where.reports]
    assert reports[0] == reports[1]
    entries = json.loads(reports[0])["entries"]
    assert entries[-1] == {"round": 4, "metrics": {"loss": "0.12", "accuracy": "1.00"}}
    assert sorted(path.name for path in where.model.iterdir()) == ["checkpoint", "model"]
    # A life that begins after the end leaves the same model, and waits for nobody.
    waiting = dataclasses.replace(room.terms.training, join_s=0)
    assert waiting.ticks == kept.tick + room.terms.training.closing_ticks


def measuring_room() -> Room:
    """A room whose receipt says the exposure."""
    terms = quick_room().terms
    release = dataclasses.replace(terms.release, metrics=("exposure",), receipt="exposure")
    return Room(sample_agreement(dataclasses.replace(terms, release=release)))


@pytest.mark.spec("CT-47")
@pytest.mark.parametrize(("told", "tenths"), [((1.44, 1.56), 15), ((), 0)], ids=["told", "nobody"])
def test_the_exposure_is_spent_once_whatever_it_is(
    tmp_path: Path, told: tuple[float, ...], tenths: int
) -> None:
    """In the name of the terms, before the model is there; also where nobody measured any."""
    room = measuring_room()
    where = places(tmp_path, free_port())
    asked: list[tuple[str, str, int]] = []

    def spend(budget: str, principal: str, amount: int) -> int:
        assert not (where.model / "model").exists()
        asked.append((budget, principal, amount))
        return 0

    serving = threading.Thread(target=serve_room, args=(room, where), kwargs={"spend": spend})
    serving.start()

    def connect() -> socket.socket:
        return socket.create_connection(where.address, timeout=5)

    rules = RoundRules.of(room)
    with trainer(connect, rules, 0) as zero, trainer(connect, rules, 1) as one:
        for client, bits in zip((zero, one), told, strict=False):
            client.metrics(4, {"exposure": bits})
        for client in (zero, one):
            client.finish(20)
    serving.join(20)
    assert asked == [("exposure", f"terms:{room.digest.hex()}", tenths)]
    assert (where.model / "model").exists()


@pytest.mark.spec("CT-47")
def test_an_exposure_that_is_not_counted_costs_no_model(tmp_path: Path) -> None:
    """The key service is away: the receipt says nothing, and the model is kept."""
    room = measuring_room()
    training = dataclasses.replace(room.terms.training, join_s=1)
    room = Room(sample_agreement(dataclasses.replace(room.terms, training=training)))
    where = places(tmp_path, free_port())

    def away(*_: object) -> int:
        raise UnavailableError("away", code="keyservice.unreachable")

    serve_room(room, where, spend=away)
    assert (where.model / "model").exists()


@pytest.mark.spec("CT-47")
def test_terms_with_an_exposure_need_somebody_who_counts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        serve_room(measuring_room(), places(tmp_path, free_port()))
    assert caught.value.code == "config.missing"


@pytest.mark.spec("TR-54")
def test_a_checkpoint_that_somebody_changed_stops_the_server(tmp_path: Path) -> None:
    where = places(tmp_path, free_port())
    (where.model / "checkpoint").write_bytes(bytes(1000))
    with pytest.raises(TamperedError):
        serve_room(quick_room(), where)


@pytest.mark.spec("TR-35")
def test_what_a_plan_has_to_be() -> None:
    terms = RoundRules.of(quick_room())
    assert measure_plan(terms, by_recipe=False)(PLAN) == 10 == parameters(DESCRIPTION)
    bare = encode(Message("plan", {}, {}))
    assert measure_plan(terms, by_recipe=True)(bare) is None
    for plan, by_recipe in (
        (b"", False),
        (bare, False),
        (PLAN, True),
        (encode(Message("other", {"model": DESCRIPTION.to_fields()}, {})), False),
        (encode(Message("plan", {"model": {"version": 1}}, {})), False),
        (PLAN + bytes(2048), False),
    ):
        with pytest.raises(MalformedError):
            measure_plan(terms, by_recipe=by_recipe)(plan)


def test_places_are_the_policys() -> None:
    found = Places.of(quick_room())
    assert str(found.key) == KEY_FILE
    assert str(found.model) == MODEL
    assert [str(path) for path in found.reports] == list(REPORTS.values())
    assert found.address == ("server-0", 7600)


def test_the_program_says_why_it_cannot_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "terms.cbor")]) == 65
    assert "config.file" in capsys.readouterr().err
    (tmp_path / "terms.cbor").write_bytes(quick_room().agreement.to_bytes())
    assert main([str(tmp_path / "terms.cbor")]) == 65  # there is no key here
    program = [sys.executable, "-m", "cloister.cleanroom.server"]
    done = subprocess.run(
        program, check=False, capture_output=True, timeout=60, env=dict(os.environ)
    )
    assert done.returncode == 2
