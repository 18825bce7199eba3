"""A trust domain to measure in, made through the command line as a user would make it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pairs

SOURCES = Path(__file__).resolve().parents[1] / "src"
_CLI = ("-c", "from cloister.cli.main import main; main()")


@dataclass(frozen=True, slots=True)
class Domain:
    """A folder with a trust domain, and the interpreter whose environment is measured."""

    folder: Path
    python: str = sys.executable

    @property
    def environment(self) -> dict[str, str]:
        """What every command gets, native or shielded."""
        kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
        return kept | {
            "PYTHONPATH": str(SOURCES),
            "CLOISTER_DOMAIN": str(self.folder / "domain"),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a `cloister` command."""
        return [self.python, *_CLI, *arguments]

    def cloister(self, *arguments: str) -> pairs.Timed:
        """Run a `cloister` command."""
        return pairs.timed(
            self.command(*arguments), folder=self.folder, environment=self.environment
        )

    def run(self, policy: str, workload: str, *more: str) -> tuple[pairs.Timed, dict[str, Any]]:
        """Run a workload; return its times and what `--json` printed."""
        done = self.cloister("run", policy, "--workload", workload, "--json", *more)
        record: dict[str, Any] = json.loads(done.stdout)
        return done, record

    def native(self, *arguments: str) -> pairs.Timed:
        """Run the same interpreter without us."""
        plain = {k: v for k, v in self.environment.items() if k != "PYTHONPATH"}
        return pairs.timed([self.python, *arguments], folder=self.folder, environment=plain)

    def draft(self, name: str, *, command: str, code: str, more: Sequence[str] = ()) -> str:
        """Write and apply a policy with one workload `main`; return its file."""
        file = f"{name}.yaml"
        words = ["--name", name, "--workload", "main", "--code", code, "--command", command]
        self.cloister("policy", "draft", *words, *more, "--output", file)
        self.cloister("policy", "apply", file)
        return file


@contextmanager
def founded(folder: Path, python: str = sys.executable) -> Iterator[Domain]:
    """Make a trust domain with a running key service; both end with the block."""
    folder.mkdir(parents=True)
    domain = Domain(folder, python)
    domain.cloister("init", "domain")
    server = subprocess.Popen(
        [python, "-m", "cloister.keyservice.server", "--domain", str(folder / "domain")],
        cwd=folder,
        env=domain.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        if server.stdout is None or not server.stdout.readline():
            raise SystemExit("the key service did not start")
        yield domain
    finally:
        server.terminate()
        server.wait(20)
