"""Statements as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import ConfigError, MalformedError
from cloister.training.privacy.accounting import Mechanism
from cloister.training.privacy.statement import MAX_BYTES, Statement

STATEMENT = Statement(
    mechanisms=(Mechanism(examples=10, batch=2, clip=1.0, noise_multiplier=2.0, steps=3),),
    epsilon=1.00001,
    delta=1e-5,
    metrics_shown=False,
)


def test_a_file_comes_back(tmp_path: Path) -> None:
    """What was written is read, with epsilon rounded up."""
    STATEMENT.write(tmp_path / "privacy.json")
    read = Statement.read(tmp_path / "privacy.json")
    assert read.mechanisms == STATEMENT.mechanisms
    assert read.epsilon == 1.0001


def test_files_that_cannot_be_used_say_so(tmp_path: Path) -> None:
    """No file, no folder to write to, and a file that is too long."""
    with pytest.raises(ConfigError) as missing:
        Statement.read(tmp_path / "none.json")
    assert missing.value.code == "config.file"
    with pytest.raises(ConfigError) as nowhere:
        STATEMENT.write(tmp_path / "none" / "privacy.json")
    assert nowhere.value.code == "config.file"
    long = tmp_path / "long.json"
    long.write_bytes(b" " * (MAX_BYTES + 10))
    with pytest.raises(MalformedError) as caught:
        Statement.read(long)
    assert caught.value.code == "wire.too-large"
