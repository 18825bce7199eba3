"""Which Flower, and what its processes may not do."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from cloister.errors import MissingExtraError, UnsupportedError, extra_hint
from cloister.training.federated.engine import TRIED, require_engine, surroundings


@pytest.mark.spec("FED-1")
@pytest.mark.parametrize("version", [TRIED, f"{TRIED}.0", f"{TRIED}.3"])
def test_the_tried_version_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any fix of the minor release that was tried."""
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: version)
    require_engine()


@pytest.mark.spec("FED-1")
@pytest.mark.parametrize("version", ["1.41.0", "1.43.0", "1.420.0", "2.0"])
def test_another_version_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is used of Flower may be another thing there."""
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: version)
    with pytest.raises(UnsupportedError) as found:
        require_engine()
    assert found.value.code == "federated.engine"


@pytest.mark.spec("FED-1")
def test_a_missing_flower_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line that installs it."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(MissingExtraError) as found:
        require_engine()
    assert found.value.hint == extra_hint("federated")


@pytest.mark.spec("FED-2")
def test_nothing_leaves_and_nothing_is_installed() -> None:
    """Whatever the environment said about Flower or a proxy is gone."""
    given = {
        "PATH": "/bin",
        "FLWR_TELEMETRY_ENABLED": "1",
        "FLWR_HOME": "/elsewhere",
        "FLWR_DATABASE": "/elsewhere/state.db",
        "FLWR_ENABLE_EVENT_LOG": "1",
        "https_proxy": "http://outside.example",
        "ALL_PROXY": "http://outside.example",
    }
    found = surroundings(given, Path("/run/here"), logs="WARNING")
    assert found == {
        "PATH": "/bin",
        "FLWR_HOME": "/run/here",
        "FLWR_LOG_LEVEL": "WARNING",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_SUPERGRID_API_URL": "http://127.0.0.1:9/",
        "NO_PROXY": "*",
        "no_proxy": "*",
    }
