"""The model's file: one size for every model, sealed for the room."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cloister.cleanroom.encoding import Message, encode
from cloister.cleanroom.model_file import FILE, TrainedModel, load_model, save_model
from cloister.cleanroom.room_key import RoomKey
from cloister.errors import CloisterError, ConfigError, LocalProtocolError, TamperedError
from rounds_bench import ROOM, RULES, floats, rules

KEY = RoomKey(b"k" * 32, room=ROOM)
MODEL = TrainedModel(b"a plan", floats(1, 2, 3), 4, {"epoch": 1, "trainers": []})


@pytest.mark.spec("TR-55", "TR-56")
def test_a_model_comes_back(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_model(tmp_path, RULES, KEY)
    save_model(tmp_path, MODEL, RULES, KEY)
    found = load_model(tmp_path, RULES, KEY)
    assert (found.plan, found.version, found.outcome) == (MODEL.plan, 4, MODEL.outcome)
    assert found.parameters.tolist() == [1, 2, 3]
    with pytest.raises(TamperedError):
        load_model(tmp_path, RULES, RoomKey(b"o" * 32, room=ROOM))
    assert b"a plan" not in (tmp_path / FILE).read_bytes()


@pytest.mark.spec("TR-55")
def test_every_model_has_one_size() -> None:
    none = TrainedModel(b"", floats(), 0, {})
    most = TrainedModel(bytes(256), floats(*range(8)), 2**40, MODEL.outcome)
    assert len({len(each.to_bytes(RULES)) for each in (MODEL, none, most)}) == 1
    with pytest.raises(LocalProtocolError):
        TrainedModel(bytes(70000), floats(), 0, {}).to_bytes(RULES)


@pytest.mark.spec("TR-57")
def test_what_is_no_model() -> None:
    def filled(message: Message) -> bytes:
        data = encode(message)
        return (len(data).to_bytes(8, "little") + data).ljust(len(MODEL.to_bytes(RULES)), b"\0")

    fields = {"room": ROOM, "version": 1, "outcome": {}}
    arrays = {"plan": np.zeros(4, np.uint8), "parameters": floats(1)}
    TrainedModel.from_bytes(filled(Message("model", fields, arrays)), RULES)
    good = MODEL.to_bytes(RULES)
    cases = [
        good[:-1],
        good[:-1] + b"\1",
        b"\xff" * 8 + good[8:],
        filled(Message("plan", fields, arrays)),
        filled(Message("model", fields | {"room": bytes(32)}, arrays)),
        filled(Message("model", fields | {"version": -1}, arrays)),
        filled(Message("model", fields | {"version": True}, arrays)),
        filled(Message("model", fields | {"outcome": 1}, arrays)),
        filled(Message("model", fields | {"more": 1}, arrays)),
        filled(Message("model", fields, arrays | {"more": floats(1)})),
        filled(Message("model", fields, {"plan": arrays["plan"]})),
        filled(Message("model", fields, arrays | {"parameters": floats(1).reshape(1, 1)})),
        filled(Message("model", fields, arrays | {"parameters": np.zeros(1)})),
        filled(Message("model", fields, arrays | {"parameters": floats(*range(9))})),
        filled(Message("model", fields, arrays | {"plan": floats(1)})),
        filled(Message("model", fields, arrays | {"plan": np.zeros(257, np.uint8)})),
    ]
    for data in cases:
        with pytest.raises(CloisterError):
            TrainedModel.from_bytes(data, RULES)
    with pytest.raises(CloisterError):
        TrainedModel.from_bytes(good, rules(room=b"o" * 32))
    assert dataclasses.is_dataclass(MODEL)
