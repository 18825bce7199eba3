"""`cloister run`: what is made of its words; runs themselves are in tests/integration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloister.cli import run, settings
from cloister.errors import ConfigError, StorageFullError
from cloister.launcher import run as launcher
from cloister.launcher.run import RunHooks, RunOutcome, RunRequest
from cloister.testing.keyservice import policy_text
from unit.cli.conftest import Door


@pytest.fixture
def asked(door: Door, monkeypatch: pytest.MonkeyPatch) -> list[RunRequest]:
    """Note what would be run; its output is one line on each stream."""
    requests: list[RunRequest] = []

    def run_workload(request: RunRequest, hooks: RunHooks, *, connect: Any) -> RunOutcome:
        requests.append(request)
        hooks.log("stdout", b"out\n")
        hooks.log("stderr", b"err\n")
        hooks.listening({"api": ("127.0.0.1", 8443)})
        return RunOutcome(
            status=9,
            instance="train-1",
            receipt=request.receipt,
            troubles=(StorageFullError("no room", code="storage.full"),),
            stages={"run": 0.12345},
            processor_ms=1,
            peak_bytes=2,
            hardware_rooted=False,
        )

    connection = settings.Connection(door.bench.domain, "unix:///x", None)  # type: ignore[arg-type]
    monkeypatch.setattr(settings, "connect", lambda _domain: connection)
    monkeypatch.setattr(launcher, "run_workload", run_workload)
    (door.folder / "policy.yaml").write_text(policy_text(door.bench))
    return requests


_RUN = ("run", "policy.yaml", "--workload", "train")


def test_status_streams_and_troubles_come_through(door: Door, asked: list[RunRequest]) -> None:
    """The exit status is the workload's."""
    found = door.call(*_RUN)
    assert (found.exit_code, found.stdout) == (9, "out\n")
    for text in ("err\n", "warning: no room [storage.full]", "api listens on 127.0.0.1:8443"):
        assert text in found.stderr
    [request] = asked
    assert request.receipt.parent == Path("receipts")
    assert request.receipt.name.startswith("train-")


def test_json_keeps_standard_output_for_the_object(door: Door, asked: list[RunRequest]) -> None:
    """Logs go to standard error then."""
    found = door.call(*_RUN, "--json")
    assert '"hardware_rooted": false' in found.stdout
    assert "out\n" in found.stderr


def test_words_become_a_request(door: Door, asked: list[RunRequest]) -> None:
    """Stores, receipt, host, code and arguments that are refused later."""
    door.call(*_RUN, "--volume", "data=/x/y", "--receipt", "r.json", "--host", "::1", "--", "more")
    [request] = asked
    assert request.stores == {"data": Path("/x/y")}
    assert (request.receipt, request.host, request.arguments) == (Path("r.json"), "::1", ("more",))
    assert request.base == Path()


@pytest.mark.parametrize("text", ["data", "=x", "data="])
def test_a_volume_that_is_none_is_refused(text: str) -> None:
    """With how to write one."""
    with pytest.raises(ConfigError) as caught:
        run._stores([text])
    assert (caught.value.code, caught.value.hint) == ("config.value", "write NAME=STORE")
