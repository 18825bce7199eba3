"""Runs of a shielded job that a test starts one by one, or all by `cloister cluster run`.

`run_shielded` starts all of a cluster and waits for its end. Here a test looks at what they say
meanwhile, starts another, or kills one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from integration.cli.desk import Desk, await_true

__all__ = ["Run", "desk_with_domain", "require_nftables", "running"]

_STOP_S: Final = 60


def require_nftables() -> None:
    """Skip where connections cannot be redirected."""
    if shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("no nft here: install nftables")


@contextlib.contextmanager
def desk_with_domain(folder: Path) -> Iterator[Desk]:
    """Make a trust domain; its key service ends with the block."""
    desk = Desk(folder)
    desk.run("init", ".cloister", "--name", "example.org").good()
    try:
        yield desk
    finally:
        desk.stop_service()


@dataclass(frozen=True)
class Run:
    """A command of `cloister` that runs, with nobody at its keyboard."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")

    def says(self, text: str, *, timeout_s: float) -> None:
        """Wait until it has said something."""

        def said() -> bool:
            return text in self.text or self.process.poll() is not None

        with contextlib.suppress(AssertionError):
            await_true(said, timeout_s=timeout_s)
        assert text in self.text, self.text[-6000:]

    def ends_well(self, *, timeout_s: float) -> None:
        """Wait for its end, and require success."""
        assert self.process.wait(timeout_s) == 0, self.text[-6000:]


@contextlib.contextmanager
def running(desk: Desk, name: str, arguments: Sequence[str]) -> Iterator[Run]:
    """Start `cloister`; what is left of it at the end of the block is stopped.

    Args:
        desk: Where.
        name: Of the file with what it says.
        arguments: After `cloister`.
    """
    log = desk.folder / f"{name}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            desk._command(tuple(arguments)),
            cwd=desk.folder,
            env=desk._environment(),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        yield Run(process, log)
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
