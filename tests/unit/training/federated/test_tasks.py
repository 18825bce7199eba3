"""Which of Flower's tasks are started, and that none is left."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr")

from flwr.proto.runtime_pb2 import AcquireTaskResponse
from flwr.proto.task_pb2 import Task

from cloister.training.federated import tasks
from cloister.training.federated.tasks import Tasks


class Runtime:
    """Stands for Flower's Runtime interface: gives out what it was given."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers
        self.asked: list[list[str]] = []

    def AcquireTask(self, request: Any) -> Any:  # noqa: N802  # Flower's name
        self.asked.append(list(request.supported_task_types))
        return self.answers.pop(0) if self.answers else AcquireTaskResponse()

    def close(self) -> None:
        pass


@pytest.mark.spec("FED-11")
def test_one_kind_is_started_and_all_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the interface gives out what was not asked for."""
    kinds = ["flwr-agentapp", "flwr-serverapp", "flwr-clientapp", "flwr-model", ""]
    runtime = Runtime(
        [
            AcquireTaskResponse(token=f"secret-{n}", task=Task(task_id=n, type=kind))
            for n, kind in enumerate(kinds)
        ]
        + [AcquireTaskResponse(token="", task=Task(task_id=9, type="flwr-clientapp"))]
    )
    started: list[tuple[tuple[str, ...], subprocess.Popen[bytes]]] = []

    def start(*arguments: str, folder: Path, environment: Any) -> subprocess.Popen[bytes]:
        stubborn = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(99)"
        )
        process = subprocess.Popen([sys.executable, "-c", stubborn])
        started.append((arguments, process))
        return process

    monkeypatch.setattr(tasks.RuntimeHttpClient, "from_server_address", lambda *_, **__: runtime)
    monkeypatch.setattr(tasks, "start_program", start)
    monkeypatch.setattr(tasks, "_EVERY_S", 0.01)
    monkeypatch.setattr(tasks, "_PATIENCE_S", 0.2)
    running = Tasks("127.0.0.1:1", "flwr-clientapp", home=tmp_path, folder=tmp_path, environment={})
    end = time.monotonic() + 10
    while (runtime.answers or not started) and time.monotonic() < end:
        time.sleep(0.02)
    running.stop()
    assert {kind for each in runtime.asked for kind in each} == {"flwr-clientapp"}
    [(arguments, process)] = started
    assert arguments[:2] == ("task", "flwr-clientapp")
    assert not any("secret" in each for each in arguments)
    token = Path(arguments[arguments.index("--token-file") + 1])
    assert token.read_text() == "secret-2"
    assert token.stat().st_mode & 0o077 == 0
    assert process.poll() is not None
