"""Where things are."""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path

import pytest

from cloister.cli import settings
from cloister.cli.settings import hide_memory
from cloister.errors import ConfigError, MalformedError
from unit.cli.conftest import Door

_PR_GET_DUMPABLE = 3


def test_an_option_wins_over_the_environment(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the variable, then `.cloister` in the working directory."""
    assert settings.find_domain(None).name == "example.test"
    with pytest.raises(ConfigError) as caught:
        settings.find_domain(door.folder / "elsewhere")
    assert caught.value.code == "config.missing"
    monkeypatch.delenv(settings.DOMAIN_VARIABLE)
    with pytest.raises(ConfigError, match=r"\.cloister"):
        settings.find_domain(None)


def test_a_policy_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """Its size is enough."""
    path = tmp_path / "policy.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(MalformedError) as caught:
        settings.read_policy_bytes(path)
    assert caught.value.code == "policy.too-large"


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(ConfigError, match=r"policy\.yaml") as caught:
        settings.read_policy_bytes(tmp_path / "policy.yaml")
    assert caught.value.code == "config.file"


def test_a_program_is_measured_by_this_domains_platform(door: Door) -> None:
    """The anchor is the platform's; the runtime is the one file."""
    facts = settings.measure_local(None, program="/bin/sh", progress=lambda _done, _total: None)
    assert facts.anchor == door.bench.platform.anchor.text
    assert len(facts.runtime) == 32


def test_memory_is_hidden_before_keys_come() -> None:
    """Neither core files nor other processes of this user show it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        hide_memory()
        dumpable = ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
        limits = resource.getrlimit(resource.RLIMIT_CORE)
        os.write(writer, repr((dumpable, limits)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        assert stream.read() == "(0, (0, 0))"
    os.waitpid(pid, 0)
