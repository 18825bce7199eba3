"""The command line as a user has it: processes of it, in a folder, and what came of each."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["Desk", "Done", "await_true", "copy_of"]

CLI: Final = "from cloister.cli.main import main; main()"
SOURCES: Final = Path(__file__).parents[3] / "src"
TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Done:
    """A finished command."""

    status: int
    stdout: str
    stderr: str

    @property
    def record(self) -> dict[str, Any]:
        """The one JSON object on standard output; anything else there is a failure."""
        found = json.loads(self.stdout)
        assert isinstance(found, dict)
        return found

    @property
    def error(self) -> dict[str, Any]:
        """The error in that object."""
        found = self.record["error"]
        assert isinstance(found, dict)
        assert self.status != 0
        return found

    @property
    def code(self) -> str:
        """The code of that error."""
        return str(self.error["code"])

    def good(self) -> Done:
        """Require success."""
        assert self.status == 0, f"{self.status}\n{self.stdout}\n{self.stderr}"
        return self


@dataclass(frozen=True)
class Desk:
    """A folder in which somebody types commands.

    Attributes:
        folder: The working directory, with `.cloister`, the trust domain, in it.
        prefix: What each command is started through, such as a change of user.
        variables: More environment variables.
    """

    folder: Path
    prefix: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path, timeout_s: float = TIMEOUT_S) -> Done:
        """Run a command and wait for it."""
        done = subprocess.run(
            self._command(arguments),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *arguments: str | Path, timeout_s: float = TIMEOUT_S) -> Done:
        """Run a command with `--json`, put before any `--`."""
        words = [str(argument) for argument in arguments]
        at = words.index("--") if "--" in words else len(words)
        return self.run(*words[:at], "--json", *words[at:], timeout_s=timeout_s)

    @contextlib.contextmanager
    def running(self, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """Keep a command running while the block runs; killed afterwards if it still does."""
        process = subprocess.Popen(
            self._command(arguments),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=30)

    def read(self, store: Path | str) -> dict[str, bytes]:
        """Open a volume as its owner does; return path to content."""
        target = self.folder / f"opened-{time.monotonic_ns()}"
        self.run("volume", "open", store, target).good()
        try:
            return {
                str(path.relative_to(target)): path.read_bytes()
                for path in target.rglob("*")
                if path.is_file()
            }
        finally:
            shutil.rmtree(target)

    def service_pid(self) -> int | None:
        """Return the process of the embedded key service, if one runs."""
        path = self.folder / ".cloister" / "keyservice" / "service.sock"
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(path))
            except OSError:
                return None
            size = struct.calcsize("3i")
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            return int(struct.unpack("3i", found)[0])

    def stop_service(self) -> None:
        """End the embedded key service in order; the next command starts another."""
        pid = self.service_pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        await_true(lambda: self.service_pid() is None)

    def add_roles(self, policy: Path, commands: Mapping[str, list[str]]) -> None:
        """Give a drafted policy more workloads, each like its only one with another command."""
        document = yaml.safe_load(policy.read_text())
        [drafted] = document["workloads"].values()
        document["workloads"] = {
            name: copy.deepcopy(drafted) | {"command": command}
            for name, command in commands.items()
        }
        policy.write_text(yaml.safe_dump(document, sort_keys=False))

    def _command(self, arguments: tuple[str | Path, ...]) -> list[str]:
        return [*self.prefix, sys.executable, "-c", CLI, *(str(word) for word in arguments)]

    def _environment(self) -> dict[str, str]:
        """Nothing of the tester's own settings; every writable place lies in the folder."""
        home = str(self.folder)
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(SOURCES),
            "HOME": home,
            "TMPDIR": home,
            "XDG_CACHE_HOME": f"{home}/.cache",
            "XDG_CONFIG_HOME": f"{home}/.config",
            "XDG_STATE_HOME": f"{home}/.state",
            **self.variables,
        }


def copy_of(store: Path, name: str) -> Path:
    """Copy a volume's store to beside it, as whoever holds the disk can."""
    return Path(shutil.copytree(store, store.with_name(name), symlinks=True))


def await_true(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    """Wait until something is so; fail if it does not become so in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
