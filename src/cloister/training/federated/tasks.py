"""Flower's tasks, each in a process of its own, from the measured runtime.

Takes the place of Flower's SuperExec, which starts programs that it finds on PATH: those lie
outside of what is measured, and a sandbox has none. One kind of task is taken and no other: a site
runs ClientApps, the link the one ServerApp, and nobody runs Flower's agents, models or connectors.

Spec: federation-v1, clause FED-11.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient

from cloister.training.federated.programs import start_program

__all__ = ["Tasks"]

_KINDS: Final[Mapping[str, str]] = {
    TaskType.SERVER_APP: "flwr-serverapp",
    TaskType.CLIENT_APP: "flwr-clientapp",
}
_EVERY_S: Final = 0.5
_PATIENCE_S: Final = 5.0


class Tasks:
    """Takes tasks from a Runtime interface at loopback and starts them; ended by `stop`.

    Invariant: after `stop`, no process that was started here is left.
    """

    def __init__(
        self, address: str, kind: str, *, home: Path, folder: Path, environment: Mapping[str, str]
    ) -> None:
        """Start taking.

        Args:
            address: Host and port of the interface.
            kind: `TaskType.SERVER_APP` or `TaskType.CLIENT_APP`.
            home: A private folder; tokens go there, each readable by this user only.
            folder: Where the processes run.
            environment: All of theirs.
        """
        self._address = address
        self._kind = kind
        self._home = home
        self._folder = folder
        self._environment = dict(environment)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._end = threading.Event()
        self._client = RuntimeHttpClient.from_server_address(
            address,
            insecure=True,
            root_certificates=None,
            interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperExec")],
        )
        self._thread = threading.Thread(target=self._take, name="tasks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more, and end what runs: gently, then not."""
        self._end.set()
        self._thread.join()
        self._client.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _take(self) -> None:
        request = AcquireTaskRequest(supported_task_types=[self._kind])
        while not self._end.wait(_EVERY_S):
            # Gone at the end of a run, and asked again before it: both are the caller's to judge.
            with contextlib.suppress(httpx.HTTPError):
                answer: Any = self._client.AcquireTask(request)
                if answer.HasField("task") and answer.token and answer.task.type == self._kind:
                    self._processes = [each for each in self._processes if each.poll() is None]
                    self._processes.append(self._start(answer.token, answer.task.task_id))

    def _start(self, token: str, number: int) -> subprocess.Popen[bytes]:
        path = self._home / f"token-{number}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token)
        arguments = ["--runtime-api-address", self._address, "--insecure"]
        return start_program(
            "task",
            _KINDS[self._kind],
            *arguments,
            "--token-file",
            str(path),
            "--parent-pid",
            str(os.getpid()),
            folder=self._folder,
            environment=self._environment,
        )
