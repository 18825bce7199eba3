"""Commands called in this process, against a key service in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cloister.cli import settings
from cloister.cli.main import app
from cloister.launcher.owner import Owner
from cloister.testing.keyservice import ServiceBench


@dataclass(frozen=True)
class Door:
    """The command line of somebody whose trust domain is the bench's."""

    bench: ServiceBench
    owner: Owner
    folder: Path

    def call(self, *words: str | Path) -> Result:
        """Run a command; what it raises is in the result."""
        return CliRunner().invoke(app, [str(word) for word in words])

    def record(self, *words: str | Path) -> dict[str, Any]:
        """Run a command with `--json`; it must succeed."""
        found = self.call(*words, "--json")
        assert found.exit_code == 0, found.output
        record = json.loads(found.stdout)
        assert isinstance(record, dict)
        return record


@pytest.fixture(autouse=True)
def _memory_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run inside this process here, which nobody could open again for what comes after."""
    monkeypatch.setattr(settings, "hide_memory", lambda: None)


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """A new trust domain, and a working directory of its own."""
    bench = ServiceBench.create(tmp_path)
    owner = Owner(bench.domain, bench, clock=bench.clock)

    def as_key(_domain: Path | None, key: Path | None = None) -> Owner:
        signer = settings._named_key(key)
        return (
            owner if signer is None else Owner(bench.domain, bench, clock=bench.clock, key=signer)
        )

    monkeypatch.setattr(settings, "owner", as_key)
    monkeypatch.delenv(settings.KEY_VARIABLE, raising=False)
    monkeypatch.setenv(settings.DOMAIN_VARIABLE, str(bench.domain.directory))
    monkeypatch.chdir(tmp_path)
    yield Door(bench, owner, tmp_path)
    bench.close()


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A folder with two files."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "one.txt").write_text("one\n")
    (folder / "two.sh").write_text("exit 2\n")
    return folder
