"""Programs of this package, started with the interpreter and packages that are measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["start_program"]


def start_program(
    module: str, *arguments: str, folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a program of this package with this interpreter.

    `-P` keeps the folder in which it runs, where an app writes, off the import path.
    """
    command = [sys.executable, "-P", "-m", f"cloister.training.federated.{module}", *arguments]
    return subprocess.Popen(  # noqa: S603  # a list, and no shell
        command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL
    )
