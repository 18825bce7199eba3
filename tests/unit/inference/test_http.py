"""Limits of the server, in this process, over loopback."""

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
import time
from collections.abc import Mapping

import numpy as np
import pytest

from cloister.errors import UnavailableError
from cloister.inference import Client
from cloister.inference.http import HTTPServer, Limits
from cloister.inference.service import InferenceService
from cloister.inference.tensor import Array, TensorSpec
from cloister.network.tls import AnyClient, server_context
from cloister.testing.certificates import FakeDomain

NOW = int(time.time())  # noqa: TID251  # OpenSSL asks the machine, whatever a test would like
DOMAIN = FakeDomain("clinic.example", at=NOW)


class Waiting:
    """A model that answers when it is told to."""

    platform = "test"
    inputs = (TensorSpec("x", "FP32", (-1,)),)
    outputs = (TensorSpec("y", "FP32", (-1,)),)

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.begun.release()
        assert self.go_on.wait(20)
        return {"y": inputs["x"]}


class Running:
    """A server in a thread of its own."""

    def __init__(self, model: Waiting, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.port = 0

    async def _run(self) -> None:
        context = server_context(
            DOMAIN.credential("serve"),
            ca_pem=DOMAIN.ca_pem,
            clients=AnyClient("a test of limits"),
            clock=lambda: NOW,
        )
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0)
        self.port = listener.getsockname()[1]
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        service = InferenceService({"wait": self._model})
        server = HTTPServer(service, context=context, limits=self._limits)
        self._ready.set()
        await server.serve(listener, stop=self._stop)

    def __enter__(self) -> "Running":
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def stop(self) -> None:
        """Tell the server, and let it take notice."""

        async def tell() -> None:
            self._stop.set()
            for _ in range(20):
                await asyncio.sleep(0)

        with contextlib.suppress(concurrent.futures.CancelledError):  # it may have ended by then
            asyncio.run_coroutine_threadsafe(tell(), self._loop).result(10)

    def __exit__(self, *_: object) -> None:
        self._model.go_on.set()
        if not self._stop.is_set():
            self.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def client(self) -> Client:
        return Client(
            f"https://127.0.0.1:{self.port}",
            trust=DOMAIN.ca_pem,
            identity=DOMAIN.identity("serve").uri,
            timeout_s=20,
        )


def ask_in_thread(running: Running, found: list[object]) -> threading.Thread:
    def ask() -> None:
        with running.client() as client:
            try:
                found.append(client.predict(np.ones(2, np.float32)).tolist())
            except UnavailableError as e:
                found.append(e.code)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.spec("SRV-33")
def test_computations_that_wait_are_few() -> None:
    """One runs, one waits, the third is told to come back; pages that are quick still come."""
    model, found = Waiting(), []
    with Running(model, Limits(waiting=2)) as running:
        threads = [ask_in_thread(running, found)]
        assert model.begun.acquire(timeout=10)
        with running.client() as client:
            client.describe()
            threads.append(ask_in_thread(running, found))
            deadline = time.monotonic() + 10
            code = ""
            while not code and time.monotonic() < deadline:
                others: list[object] = []
                thread = ask_in_thread(running, others)
                thread.join(0.5)
                code = str(others[0]) if others else ""
                threads.append(thread)
            assert code == "server.busy"
            assert client.describe().name == "wait"
        model.go_on.set()
        for thread in threads:
            thread.join(10)
    assert [1.0, 1.0] in found


def test_a_stopping_server_finishes_what_it_began() -> None:
    """The query in progress is answered; the idle connection is closed at once."""
    model, found = Waiting(), []
    with Running(model, Limits(grace_s=10)) as running:
        idle = running.client()
        idle.describe()
        thread = ask_in_thread(running, found)
        assert model.begun.acquire(timeout=10)
        running.stop()
        with pytest.raises(UnavailableError):
            idle.predict(np.ones(1, np.float32))
        model.go_on.set()
        thread.join(10)
    assert found == [[1.0, 1.0]]


def test_an_idle_connection_is_closed_and_opened_again() -> None:
    """Neither side notices."""
    model = Waiting()
    model.go_on.set()
    with Running(model, Limits(idle_s=0.05)) as running, running.client() as client:
        assert client.predict(np.ones(1, np.float32)).tolist() == [1.0]
        client.describe()
        threading.Event().wait(0.3)
        assert client.predict(np.ones(1, np.float32)).tolist() == [1.0]
