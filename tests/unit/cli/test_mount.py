"""`cloister volume mount`, without mounting; tests/integration does that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cloister.cli import mount, settings
from cloister.errors import StorageFullError
from cloister.launcher import mounting
from cloister.launcher.mounting import MountOutcome, MountRequest
from cloister.launcher.volumes import VolumeState
from unit.cli.conftest import Door

_OUTCOME = MountOutcome(
    status=5,
    before=VolumeState(1, bytes(32)),
    after=VolumeState(2, b"r" * 32),
    troubles=(StorageFullError("no room", code="storage.full"),),
)


@pytest.fixture
def called(door: Door, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note what would be mounted."""
    calls: list[Any] = []

    def for_command(request: MountRequest, words: list[str], *, stdout: int) -> MountOutcome:
        calls.append((request, words, stdout))
        return _OUTCOME

    def here(request: MountRequest, *, ready: Any) -> MountOutcome:
        calls.append((request, None, None))
        ready()
        return _OUTCOME

    connection = settings.Connection(door.bench.domain, "unix:///x", None)
    monkeypatch.setattr(settings, "connect", lambda _domain: connection)
    monkeypatch.setattr(mounting, "mount_for_command", for_command)
    monkeypatch.setattr(mounting, "mount_here", here)
    return calls


def test_a_command_is_taken_as_it_stands(door: Door, called: list[Any]) -> None:
    """Options behind `--` are the command's; the status is its own; troubles are warnings."""
    found = door.call("volume", "mount", "s", "m", "--write", "--", "ls", "--json", "-l")
    [(request, words, stdout)] = called
    assert (request.store, request.target, request.writable) == (Path("s"), Path("m"), True)
    assert (words, stdout, found.exit_code) == (["ls", "--json", "-l"], 1, 5)
    assert "warning: no room [storage.full]" in found.stderr
    assert "version 2, committed" in found.stderr


def test_json_keeps_standard_output_for_the_object(door: Door, called: list[Any]) -> None:
    """The command's output goes to standard error then."""
    found = door.call("volume", "mount", "s", "m", "--json", "--", "true")
    assert called[0][2] == 2
    assert '"version": 2' in found.stdout


def test_without_a_command_a_user_gets_a_shell_and_root_a_mount(
    door: Door, called: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only root may mount for the whole machine."""
    monkeypatch.setenv("SHELL", "/bin/fancy")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert mount._words([]) == ["/bin/fancy"]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = door.call("volume", "mount", "s", "m")
    assert called[0][1] is None
    assert "interrupt to unmount" in found.stderr
