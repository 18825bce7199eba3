"""Run `cloister` itself as the operator, the owner and the client would, each in a process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cloister.errors import UnavailableError, WorkloadError, error_from_wire

__all__ = ["Finished", "cloister", "free_port", "running", "wait_for_port"]

_CLI: Final = ("-c", "from cloister.cli.main import main; main()")
_STOP_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished command: its exit status, the JSON object it printed, and its standard error."""

    status: int
    record: dict[str, Any]
    stderr: str

    @property
    def code(self) -> str:
        """The code of the error that ended it, or an empty text."""
        error = self.record.get("error")
        return str(error["code"]) if isinstance(error, dict) else ""

    @property
    def message(self) -> str:
        """The sentence of that error."""
        error = self.record.get("error")
        return str(error["message"]) if isinstance(error, dict) else ""

    def require(self) -> dict[str, Any]:
        """Return the record of a command that had to succeed.

        Raises:
            CloisterError: What the command failed with.
        """
        if self.code:
            raise error_from_wire(self.code, self.message)
        if self.status != 0:
            raise WorkloadError(
                f"a command of the demonstration ended with status {self.status}",
                code="workload.failed",
                detail=self.stderr[-2000:],
            )
        return self.record


def cloister(
    arguments: Sequence[str | Path],
    *,
    folder: Path,
    timeout_s: float = 120,
    variables: Mapping[str, str] | None = None,
) -> Finished:
    """Run one command with `--json` in a folder and wait for it."""
    done = subprocess.run(  # noqa: S603  # our own interpreter and program
        _command(arguments),
        cwd=folder,
        env=_environment() | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    text = done.stderr.decode("utf-8", "replace")
    try:
        record = json.loads(done.stdout)
    except ValueError:
        record = {}
    return Finished(done.returncode, record if isinstance(record, dict) else {}, text)


@contextlib.contextmanager
def running(
    arguments: Sequence[str | Path], *, folder: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Keep a command running while the block runs, then stop it in order."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and program
            _command(arguments),
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], *, log: Path) -> None:
    """Wait until something accepts connections on a port.

    Raises:
        UnavailableError: The process ended, or nothing listened in time.
    """
    end = time.monotonic() + _STOP_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise UnavailableError(
        f"nothing listens on port {port}",
        code="server.unreachable",
        detail=log.read_text(errors="replace")[-2000:],
    )


def _command(arguments: Sequence[str | Path]) -> list[str]:
    return [sys.executable, *_CLI, *(str(argument) for argument in arguments)]


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}
    search = [str(Path(__file__).resolve().parents[3])]
    return kept | {"PYTHONPATH": os.pathsep.join(search)}
