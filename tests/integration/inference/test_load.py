"""A real server under load, with restarts and reloads between."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cloister.testing.certificates import FakeDomain
from cloister.testing.serving import write_identity
from integration.inference.load import MODEL, Load, People
from unit.inference.onnx_models import half_plus

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN, STRANGER = (FakeDomain("clinic.example", at=NOW) for _ in range(2))
CONFIG = '{"batching": {"rows": 64}}'
_GROWTH_BYTES = 24 << 20


class Server:
    """A server over a catalogue, which can be started again at the same port."""

    def __init__(self, folder: Path) -> None:
        self.models = folder / "models"
        self._log = folder / "server.log"
        self._identity = write_identity(
            folder / "identity", DOMAIN.credential("serve"), ca_pem=DOMAIN.ca_pem
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0

    def put(self, version: int, data: bytes) -> None:
        """Write a version whole, then give it its name."""
        place = self.models / MODEL / f".{version}"
        place.mkdir(parents=True)
        (place / "model.onnx").write_bytes(data)
        (place / "config.json").write_text(CONFIG)
        place.rename(place.with_name(str(version)))

    def start(self) -> None:
        command = [sys.executable, "-m", "cloister.inference.server", "--models", str(self.models)]
        command += ["--identity", str(self._identity), "--port", str(self.port)]
        command += ["--client", DOMAIN.identity("client").uri, "--connections", "80"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log)
        end = time.monotonic() + 60
        while self.log.count("serving port=") == self._started:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < end
            time.sleep(0.05)
        self._started += 1

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(30) == 0

    def memory(self) -> int:
        assert self._process is not None
        text = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) * 1024

    @property
    def log(self) -> str:
        return self._log.read_text()


async def under_load(server: Server, load: Load, *, count: int, restarts: int) -> list[int]:
    """Send everything; reload a version, or break one, and restart, as it goes on.

    Returns what the last server's memory was, again and again.
    """
    memory: list[int] = []
    task = asyncio.create_task(load.run(count, connections=64))
    lives = restarts + 1

    async def reached(share: float) -> None:
        while load.done < count * share and not task.done():
            await asyncio.sleep(0.02)

    version = 1
    for life in range(lives):
        begin, length = life / lives, 1 / lives
        await reached(begin + length * 0.25)
        version += 1
        server.put(version, half_plus(1000.0 * version))
        await reached(begin + length * 0.5)
        version += 1
        server.put(version, b"broken")
        if life == lives - 1:
            break
        await reached(begin + length)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
    while not task.done():
        memory.append(server.memory())
        await asyncio.sleep(0.1)
    await task
    return memory


def judged(tmp_path: Path, *, count: int, restarts: int, seed: int) -> tuple[Load, list[int]]:
    server = Server(tmp_path)
    server.put(1, half_plus(1000.0))
    server.start()
    try:
        load = Load(People(DOMAIN, STRANGER, NOW), server.port, seed)
        memory = asyncio.run(under_load(server, load, count=count, restarts=restarts))
    finally:
        server.stop()
    assert load.wrong == []
    assert load.done == count
    assert "Traceback" not in server.log
    return load, memory


def _all_kinds(outcomes: Callable[[str], int]) -> bool:
    return all(outcomes(kind) > 0 for kind in ("good", "malformed", "strange", "replayed"))


@pytest.mark.spec("SRV-32", "SRV-33", "SRV-44", "SRV-45")
def test_a_server_under_a_small_load(tmp_path: Path) -> None:
    """64 connections, one restart, versions that come and one that is broken."""
    load, _ = judged(tmp_path, count=600, restarts=1, seed=1)
    assert _all_kinds(load.outcomes.__getitem__)
    assert set(load.versions) <= {1, 2, 4}
    assert len(load.versions) > 1


@pytest.mark.jobs
@pytest.mark.timeout(900)
def test_a_server_under_ten_thousand_requests(tmp_path: Path) -> None:
    """Every good one is answered rightly or told to retry, no other is served; memory is flat."""
    load, memory = judged(tmp_path, count=10_000, restarts=3, seed=2)
    assert _all_kinds(load.outcomes.__getitem__)
    assert load.outcomes["large"] > 0
    assert len(load.versions) >= 4
    warm = memory[len(memory) // 4 :]
    assert max(warm) - warm[0] < _GROWTH_BYTES, [each >> 20 for each in memory]
    print(dict(load.outcomes), dict(load.versions), warm[0] >> 20, warm[-1] >> 20)  # noqa: T201  # shown with -s
