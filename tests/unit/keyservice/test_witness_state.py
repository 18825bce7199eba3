"""A witness's folder: durable, of one process, and never believed without a signature."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import (
    CloisterError,
    ConfigError,
    StorageFullError,
    TamperedError,
    UnavailableError,
)
from cloister.keyservice import witness_state
from cloister.keyservice.witness import Held
from cloister.keyservice.witness_state import WitnessState
from cloister.testing.log import ORIGIN, MemoryLog

LOG = MemoryLog()
LOG.decide(5)
LOGS = {ORIGIN: LOG.key.public}
NAME = "w.example/1"


def put(state: WitnessState, size: int) -> Held:
    """Make one checkpoint durable."""
    held = Held(size, LOG.checkpoint(size).root)
    state.put(ORIGIN, held, LOG.note(size))
    return held


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a witness that has seen three leaves."""
    with WitnessState(tmp_path / "w", NAME, LOGS) as state:
        assert state.held == {}
        put(state, 3)
    return tmp_path / "w"


@pytest.mark.spec("RL-42", "RL-43")
def test_what_was_put_is_there_again(folder: Path) -> None:
    """With the key; for its owner only."""
    with WitnessState(folder, NAME, LOGS) as state:
        first = state.cosigner.public
        assert state.held == {ORIGIN: Held(3, LOG.checkpoint(3).root)}
        newest = put(state, 5)
        assert state.held == {ORIGIN: newest}
    with WitnessState(folder, NAME, LOGS) as state:
        assert state.held == {ORIGIN: newest}
        assert state.cosigner.public == first
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "witness.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.spec("RL-43")
def test_what_is_not_signed_by_the_log_is_refused(folder: Path) -> None:
    """A changed file, or another key for the log."""
    other = {ORIGIN: SigningKey(b"o" * 32).public}
    with pytest.raises(TamperedError) as e:
        WitnessState(folder, NAME, other)
    assert e.value.code == "state.tampered"
    [path] = folder.glob("*.note")
    path.write_text(path.read_text().replace("\n3\n", "\n2\n"))
    with pytest.raises(TamperedError) as e:
        WitnessState(folder, NAME, LOGS)
    assert e.value.code == "state.tampered"
    path.write_bytes(b"\xff")
    with pytest.raises(TamperedError) as e:
        WitnessState(folder, NAME, LOGS)
    assert e.value.code == "state.tampered"


def test_a_second_process_is_refused(folder: Path) -> None:
    """Until the first lets go."""
    with WitnessState(folder, NAME, LOGS), pytest.raises(UnavailableError) as e:
        WitnessState(folder, NAME, LOGS)
    assert e.value.code == "keyservice.busy"
    with WitnessState(folder, NAME, LOGS):
        pass


def test_a_lost_key_is_not_replaced(folder: Path) -> None:
    """The witness is given up; notes without a key would be led on under a new one."""
    (folder / "witness.key").unlink()
    with pytest.raises(ConfigError) as e:
        WitnessState(folder, NAME, LOGS)
    assert e.value.code == "config.file"


def test_a_key_signs_under_one_name(folder: Path) -> None:
    """Another name wants another witness."""
    with pytest.raises(ConfigError) as e:
        WitnessState(folder, "w.example/2", LOGS)
    assert e.value.code == "config.value"


@pytest.mark.parametrize("data", [b"", b"k" * 31])
def test_a_key_has_its_length(folder: Path, data: bytes) -> None:
    """A torn one is none."""
    (folder / "witness.key").write_bytes(data)
    with pytest.raises(ConfigError) as e:
        WitnessState(folder, NAME, LOGS)
    assert e.value.code == "config.file"


def test_a_key_that_others_can_read_is_refused(folder: Path) -> None:
    """As for every secret."""
    (folder / "witness.key").chmod(0o644)
    with pytest.raises(ConfigError) as e:
        WitnessState(folder, NAME, LOGS)
    assert e.value.code == "config.file"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """By name; and a bad name makes nothing durable."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as e:
        WitnessState(tmp_path / "file", NAME, LOGS)
    assert e.value.code == "config.file"
    with pytest.raises(CloisterError) as e2:
        WitnessState(tmp_path / "w", "a b", LOGS)
    assert e2.value.code == "message.malformed"
    assert not (tmp_path / "w" / "witness.key").exists()


@pytest.mark.spec("RL-42")
@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [(errno.ENOSPC, StorageFullError, "storage.full"), (errno.EIO, ConfigError, "config.file")],
)
def test_what_is_not_durable_is_not_held(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[CloisterError],
    code: str,
) -> None:
    """Nothing may be cosigned on it."""

    def failing(*_: object) -> None:
        raise OSError(number, "no")

    with WitnessState(folder, NAME, LOGS) as state:
        monkeypatch.setattr(witness_state, "replace_durably", failing)
        with pytest.raises(kind) as e:
            put(state, 5)
        assert e.value.code == code
        assert state.held[ORIGIN].size == 3
