"""The client reconnects, and grows its memory; hostile answers are in the vectors and attacks."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloister.crypto.digest import sha256
from cloister.errors import CloisterError, MalformedError
from cloister.inference.middle_client import MiddleClient
from cloister.inference.middle_link import listen
from cloister.inference.middle_message import Layout
from cloister.inference.middle_process import Limits, MiddleServer, _Seat
from cloister.partition.graph import PartFile, TensorInfo

INFO = TensorInfo("x", "float32", (-1, 2))
PART = PartFile("onnx", b"any bytes", (INFO,), (TensorInfo("y", "float32", (-1, 2)),))
DIGEST = sha256(PART.data)


class Place:
    """A server that can be stopped and started at one address."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "s"
        self.address = f"unix:{self.path}"
        self.connections = 0

    def start(self, *, double: Any = lambda feeds: {"y": feeds["x"] * 2}) -> None:
        self.listener = listen(self.address)
        server = MiddleServer(PART, lambda _: double, limits=Limits(max_bytes=1 << 20))
        inner = server._one
        held: list[_Seat] = []
        self.held = held

        def one(seat: _Seat) -> None:
            self.connections += 1
            held.append(seat)
            inner(seat)

        server._one = one  # type: ignore[method-assign]  # a liar in its place
        threading.Thread(target=server.serve, args=(self.listener,), daemon=True).start()

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.path.unlink()
        for each in self.held:
            each.link.cut()


def ask(client: MiddleClient, rows: int = 1) -> Any:
    given = {"x": np.full((rows, 2), 3, np.float32)}
    return client.ask(given, Layout((("y", "float32", (rows, 2)),)))["y"]


@pytest.mark.parametrize("shared", [False, True])
def test_a_middle_that_was_started_anew(tmp_path: Path, *, shared: bool) -> None:
    place = Place(tmp_path)
    place.start()
    client = MiddleClient(place.address, part=DIGEST, outputs=["y"], timeout_s=5, shared=shared)
    assert ask(client).tolist() == [[6.0, 6.0]]
    assert ask(client).tolist() == [[6.0, 6.0]]
    assert place.connections == 1
    place.stop()
    with pytest.raises(CloisterError) as caught:
        ask(client)
    assert caught.value.code == "middle.unavailable"
    place.start()
    assert ask(client).tolist() == [[6.0, 6.0]]
    place.stop()
    place.start()
    assert ask(client).tolist() == [[6.0, 6.0]]  # over a new connection, unnoticed
    client.close()
    place.stop()


def test_memory_grows_with_a_batch(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.start()
    client = MiddleClient(place.address, part=DIGEST, outputs=["y"], timeout_s=5, shared=True)
    for rows in (1, 10, 5000, 20):
        assert ask(client, rows).shape == (rows, 2)
    assert place.connections == 2
    assert client.sent_bytes == client.received_bytes == 64 + 128 + 40000 + 192
    client.close()
    place.stop()


def test_a_batch_that_cannot_be_computed(tmp_path: Path) -> None:
    """Said by the middle; the connection stays."""
    place = Place(tmp_path)

    def fails(feeds: Any) -> Any:
        raise MalformedError("no\nmemory", code="model.malformed")

    place.start(double=fails)
    client = MiddleClient(place.address, part=DIGEST, outputs=["y"], timeout_s=5)
    for _ in range(2):
        with pytest.raises(CloisterError) as caught:
            ask(client)
        assert caught.value.code == "middle.failed"
        assert caught.value.detail == "no?memory"
    client.close()
    place.stop()


def test_no_second_try_where_time_is_over(tmp_path: Path) -> None:
    place = Place(tmp_path)
    late = threading.Event()

    def slow(feeds: Any) -> Any:
        late.wait(10)
        return {"y": feeds["x"]}

    place.start(double=slow)
    client = MiddleClient(place.address, part=DIGEST, outputs=["y"], timeout_s=0.2)
    began = time.monotonic()
    with pytest.raises(CloisterError) as caught:
        ask(client)
    assert caught.value.code == "middle.unavailable"
    assert time.monotonic() - began < 5
    late.set()
    assert place.connections == 1
    client.close()
    place.stop()
