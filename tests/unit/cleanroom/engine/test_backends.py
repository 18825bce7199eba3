from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from cloister.cleanroom.engine import backends, build_engine
from cloister.errors import ConfigError, MissingExtraError
from unit.cleanroom.engine.networks import mixing


def test_another_framework_is_refused() -> None:
    wrong: Any = "keras"
    with pytest.raises(ConfigError) as caught:
        build_engine(mixing(), framework=wrong, seed=1, privacy=None)
    assert caught.value.code == "config.value"


def test_a_framework_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.delitem(sys.modules, "cloister.cleanroom.engine.on_jax", raising=False)
    with pytest.raises(MissingExtraError, match="jax") as caught:
        build_engine(mixing(), framework="jax", seed=1, privacy=None)
    assert caught.value.code == "extra.missing"


@pytest.mark.parametrize("seed", [-1, 2**64, True, 1.0])
def test_a_seed_that_cannot_be_meant_is_refused(seed: Any) -> None:
    with pytest.raises(ConfigError, match="seed"):
        build_engine(mixing(), framework="torch", seed=seed, privacy=None)


def test_a_framework_is_loaded_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread; what goes wrong there is said by whoever needs it."""
    asked: list[str] = []

    def load(name: str) -> None:
        asked.append(name)
        raise ImportError(name)

    monkeypatch.setattr(backends.importlib, "import_module", load)
    backends.load_ahead("torch")
    for thread in threading.enumerate():
        if thread.name == "load torch":
            thread.join()
    assert asked == ["cloister.cleanroom.engine.on_torch"]
