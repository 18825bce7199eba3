"""What would fail at the start is found when the policy is written."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from cloister.cli.serve_checks import require_files, require_meant
from cloister.cli.serve_words import ServeWords, workload_of
from cloister.errors import CloisterError, ConfigError, MissingExtraError
from unit.cli.conftest import Door

PACKAGE: dict[str, Any] = {
    "package": True,
    "name": "m",
    "signers": ["ed25519:" + "ab" * 32],
    "require": ["default"],
    "middle": "localhost:9000",
}


def words(**changes: Any) -> ServeWords:
    given = {"store": Path("sealed"), "any_client": "a test of words", "port": 8443}
    return ServeWords(**(given | changes))


def meant(given: ServeWords) -> None:
    require_meant(given, workload_of(given).command)


def test_words_that_the_server_takes() -> None:
    """Of each kind."""
    meant(words(file="m.onnx", name="m"))
    meant(words(catalogue=True, more=["--metrics"]))
    meant(words(**PACKAGE))
    meant(words(**PACKAGE, check="recompute:0.5"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"file": "digits.keras", "name": "m"}, "no model that is served"),
        (PACKAGE | {"check": "foo"}, "no way to check"),
        (PACKAGE | {"signers": ["xyz"]}, "a public key is written"),
        (PACKAGE | {"require": ["decoder<1"]}, "decoder<1"),
        ({"catalogue": True, "more": ["--bogus"]}, "unrecognized arguments: --bogus"),
        ({"catalogue": True, "more": ["--asker=a=b"]}, "go with --private"),
        ({"catalogue": True, "more": ["--deadline=nan"]}, "--deadline is a number of seconds"),
    ],
)
def test_words_that_the_server_would_refuse(given: dict[str, Any], said: str) -> None:
    """Before anything is measured."""
    with pytest.raises(CloisterError) as caught:
        meant(words(**given))
    assert said in caught.value.public


@pytest.fixture
def sealed(door: Door, plain: Path) -> Path:
    """A volume with three files, of which one is a model."""
    (plain / "m.onnx").write_bytes(b"model")
    done = door.call("volume", "seal", plain, door.folder / "sealed")
    assert done.exit_code == 0, done.output
    return door.folder / "sealed"


def test_what_is_not_on_the_volume_is_refused(sealed: Path) -> None:
    """With what is there."""
    with pytest.raises(ConfigError) as caught:
        require_files(words(store=sealed, file="n.onnx", name="m"), domain=None)
    assert caught.value.code == "config.missing"
    assert "m.onnx" in str(caught.value.hint)
    with pytest.raises(ConfigError) as caught:
        require_files(words(store=sealed, **PACKAGE), domain=None)
    assert "is no package" in caught.value.public


def test_a_runtime_that_is_missing_is_named(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the file, and for a catalogue that has one."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name)
    )
    for kind in ({"file": "m.onnx", "name": "m"}, {"catalogue": True}):
        with pytest.raises(MissingExtraError):
            require_files(words(store=sealed, **kind), domain=None)


def test_a_volume_that_cannot_be_opened_is_not_looked_at(door: Door) -> None:
    """Its owner may be somebody else."""
    require_files(words(store=door.folder / "none", file="m.tflite", name="m"), domain=None)
