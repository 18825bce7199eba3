"""Checkpoints: one size, whole or not at all, and only of this room."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from cloister.cleanroom.aggregation import Tally
from cloister.cleanroom.checkpoint import (
    FILE,
    Checkpoint,
    load_checkpoint,
    replace_file,
    save_checkpoint,
)
from cloister.cleanroom.room_key import RoomKey
from cloister.errors import (
    CloisterError,
    LocalProtocolError,
    MalformedError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from rounds_bench import ROOM, RULES, floats, rules

KEY = RoomKey(b"k" * 32, room=ROOM)
FULL = Checkpoint(3, 7, 40, b"a plan", floats(1, -2, 3), (Tally(1, 2, 3, 4, 5, 6, 7), Tally()))
EMPTY = Checkpoint(1, 0, 0, b"", floats(), (Tally(), Tally()))


@pytest.mark.spec("TR-50", "TR-52")
@pytest.mark.parametrize("checkpoint", [FULL, EMPTY])
def test_what_is_kept_comes_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, RULES, KEY) is None
    save_checkpoint(tmp_path, checkpoint, RULES, KEY)
    found = load_checkpoint(tmp_path, RULES, KEY)
    assert found is not None
    for field in dataclasses.fields(Checkpoint):
        assert np.array_equal(getattr(found, field.name), getattr(checkpoint, field.name))
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert len(checkpoint.to_bytes(RULES)) == 4096 + 256 + 32 + 32


@pytest.mark.spec("TR-52", "TR-54")
def test_a_file_that_is_not_this_rooms(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, FULL, RULES, KEY)
    path = tmp_path / FILE
    for other in (RoomKey(b"x" * 32, room=ROOM), RoomKey(b"k" * 32, room=bytes(32))):
        with pytest.raises(TamperedError) as caught:
            load_checkpoint(tmp_path, RULES, other)
        assert caught.value.code == "volume.tampered"
    data = path.read_bytes()
    for changed in (data[:-1], data + b"\0", data[:100] + b"\xff" + data[101:], b""):
        path.write_bytes(changed)
        with pytest.raises(TamperedError):
            load_checkpoint(tmp_path, RULES, KEY)
    path.write_bytes(KEY.seal("model", FULL.to_bytes(RULES)))  # another file of this room
    with pytest.raises(TamperedError):
        load_checkpoint(tmp_path, RULES, KEY)


@pytest.mark.spec("TR-54")
def test_bytes_that_contradict_themselves() -> None:
    def resealed(change: dict[int, bytes], checkpoint: Checkpoint = FULL) -> bytes:
        data = bytearray(checkpoint.to_bytes(RULES)[:-32])
        for place, value in change.items():
            data[place : place + len(value)] = value
        return bytes(data) + hashlib.sha256(data).digest()

    assert Checkpoint.from_bytes(resealed({}), RULES).version == 7
    good = FULL.to_bytes(RULES)
    cases = [
        good[:-1],
        good[:-1] + bytes([good[-1] ^ 1]),
        resealed({0: b"\xff\xff\xff\xff"}),
        resealed({4095: b"\1"}),
        resealed({4096 + 255: b"\1"}),  # behind the plan
        resealed({4096 + 256 + 31: b"\1"}),  # behind the parameters
        resealed({4: b"\xff"}),
        dataclasses.replace(FULL, tallies=(Tally(),)).to_bytes(RULES),
        dataclasses.replace(FULL, plan=b"").to_bytes(RULES),
        dataclasses.replace(FULL, parameters=floats()).to_bytes(RULES),
        dataclasses.replace(FULL, epoch=0).to_bytes(RULES),
        dataclasses.replace(FULL, tallies=(Tally(added=-1), Tally())).to_bytes(RULES),
    ]
    for data in cases:
        with pytest.raises(CloisterError):
            Checkpoint.from_bytes(data, RULES)
    with pytest.raises(MalformedError):
        Checkpoint.from_bytes(good, rules(room=b"o" * 32))


def test_what_is_too_long_is_our_mistake() -> None:
    for changes in ({"plan": bytes(257)}, {"parameters": floats(*range(9))}):
        with pytest.raises(LocalProtocolError):
            dataclasses.replace(FULL, **changes).to_bytes(RULES)  # type: ignore[arg-type]  # of either


@pytest.mark.spec("TR-51")
def test_a_write_that_fails_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file(tmp_path / "f", b"before")
    for number, kind in (
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EIO, UnavailableError),
    ):

        def fail(descriptor: int, number: int = number) -> None:
            raise OSError(number, "no")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(kind):
            replace_file(tmp_path / "f", b"after")
        monkeypatch.undo()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("f", b"before")]
