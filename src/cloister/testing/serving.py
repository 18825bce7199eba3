"""A real inference server in a process of its own, on the loopback address, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloister.network.tls import Credential

__all__ = ["ServerProcess", "server_process", "write_identity"]


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server that accepts connections."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"


def write_identity(folder: Path, credential: Credential, *, ca_pem: bytes) -> Path:
    """Write the files that the launcher would, and return their folder."""
    folder.mkdir(mode=0o700)
    for name, data in (
        ("cert.pem", credential.certificate_pem),
        ("key.pem", credential.key_pem),
        ("ca.pem", ca_pem),
    ):
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    return folder


@contextmanager
def server_process(
    model: Path, identity: Path, *, name: str, arguments: Sequence[str]
) -> Iterator[ServerProcess]:
    """Start a server, wait until it accepts connections, and end it afterwards."""
    command = [sys.executable, "-m", "cloister.inference.server", "--model", str(model)]
    command += ["--name", name, "--identity", str(identity), "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  # the test chooses it
        try:
            yield ServerProcess(process, _port(process))
        finally:
            process.terminate()
            process.communicate(timeout=20)


def _port(process: subprocess.Popen[str]) -> int:
    lines: list[str] = []
    for line in process.stderr or ():
        if line.startswith("serving port="):
            return int(line.removeprefix("serving port="))
        lines.append(line)
    raise RuntimeError("the server did not start:\n" + "".join(lines))
