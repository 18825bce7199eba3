"""The untrusted side stays up: what breaks the protocol ends its own connection only."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cloister.crypto.digest import sha256
from cloister.errors import CloisterError
from cloister.inference.middle_link import Link, SharedMemory
from cloister.inference.middle_message import (
    Hello,
    Layout,
    answer_head,
    batch_head,
    hello_head,
    read_failed,
    ready_head,
)
from cloister.inference.middle_process import Limits, MiddleServer, _notice_its_end, _Seat, engine
from cloister.partition.blinded_part import quantised_steps
from cloister.partition.graph import PartFile, TensorInfo
from cloister.partition.onnx_source import ONNXSource
from cloister.testing.middle_models import dense_net

INFO = TensorInfo("x", "float32", (-1, 2))
PART = PartFile("onnx", b"any bytes", (INFO,), (TensorInfo("y", "float32", (-1, 2)),))
DIGEST = sha256(PART.data)
GIVEN = {"x": np.array([[1, 2]], np.float32)}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that doubles, and that answers a batch of three rows with a large tensor."""

    def double(feeds: Any) -> Any:
        rows = feeds["x"].shape[0]
        return {"y": feeds["x"] * 2 if rows < 3 else np.zeros((1000, 2), np.float32)}

    with socket.create_server(("127.0.0.1", 0)) as found:
        server = MiddleServer(PART, lambda _: double, limits=Limits(max_bytes=1024))
        threading.Thread(target=server.serve, args=(found,), daemon=True).start()
        yield found
        found.shutdown(socket.SHUT_RDWR)


def soon() -> float:
    return time.monotonic() + 5


def connected(listener: socket.socket, hello: Hello | None = None) -> Link:
    link = Link(socket.create_connection(listener.getsockname()))
    link.send(hello_head(hello or Hello(DIGEST, ("y",), 0)), deadline=soon())
    return link


def question(link: Link, arrays: dict[str, Any], *, cut: int = 0) -> tuple[bytes, int]:
    layout = Layout.of(arrays)
    body = bytearray(layout.size)
    layout.write(arrays, memoryview(body))
    link.send(batch_head(5, layout), memoryview(body)[: layout.size - cut], deadline=soon())
    head, length, _ = link.receive_head(max_body=1 << 20, deadline=soon())
    return head, length


@pytest.mark.spec("OM-7")
def test_why_a_connection_ended_is_logged(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """With the sentence, so that a wrong part is found."""
    with caplog.at_level(logging.INFO):
        link = connected(listener, Hello(b"o" * 32, ("y",), 0))
        with pytest.raises(CloisterError):
            link.receive_head(max_body=0, deadline=soon())
        link.close()
    reason = "code=config.value reason=the inside asks for another part than this one"
    assert reason in caplog.text


def test_batch_after_batch(listener: socket.socket) -> None:
    link = connected(listener)
    assert link.receive_head(max_body=0, deadline=soon())[0] == ready_head(DIGEST)
    for _ in range(2):
        head, length = question(link, GIVEN)
        layout = Layout.of({"y": GIVEN["x"]})
        assert (head, length) == (answer_head(5, layout), layout.size)
        body = bytearray(length)
        link.receive_into(memoryview(body), deadline=soon())
        assert layout.read(memoryview(body), private=False)["y"].tolist() == [[2.0, 4.0]]
    link.close()


@pytest.mark.parametrize(
    "hello",
    [Hello(b"\0" * 32, ("y",), 0), Hello(DIGEST, ("y",), 4096)],
    ids=["another part", "memory that is not there"],
)
def test_a_hello_that_is_refused(listener: socket.socket, hello: Hello) -> None:
    link = connected(listener, hello)
    with pytest.raises(CloisterError) as caught:
        link.receive_head(max_body=0, deadline=soon())
    assert caught.value.code == "middle.unavailable"
    link.close()
    test_batch_after_batch(listener)


@pytest.mark.parametrize(
    ("arrays", "cut"),
    [
        ({"z": GIVEN["x"]}, 0),
        ({"x": GIVEN["x"].astype(np.float64)}, 0),
        ({"x": np.zeros((1000, 2), np.float32)}, 0),
        (GIVEN, 1),
    ],
    ids=["another name", "another type", "too large", "a body cut short"],
)
def test_a_batch_that_is_refused(listener: socket.socket, arrays: Any, cut: int) -> None:
    link = connected(listener)
    link.receive_head(max_body=0, deadline=soon())
    with pytest.raises(CloisterError) as caught:
        question(link, arrays, cut=cut)
    assert caught.value.code == "middle.unavailable"
    link.close()
    test_batch_after_batch(listener)


def test_an_answer_that_memory_has_no_room_for(listener: socket.socket) -> None:
    """Said, and the next batch is answered there."""
    left, right = socket.socketpair()
    server = MiddleServer(
        PART,
        lambda _: lambda feeds: {"y": np.ones((16 if len(feeds["x"]) < 2 else 999, 2), np.float32)},
    )
    threading.Thread(target=server._one, args=(_Seat(Link(right)),), daemon=True).start()
    memory, link = SharedMemory.create(8192), Link(left)
    link.send(
        hello_head(Hello(DIGEST, ("y",), 8192)), deadline=soon(), descriptors=[memory.descriptor]
    )
    link.receive_head(max_body=0, deadline=soon())
    big = {"x": np.ones((2, 2), np.float32)}
    head, length = _in_memory(link, memory, big)
    assert not length
    assert read_failed(head) == (6, "the shared memory is too small")
    small = {"x": np.ones((1, 2), np.float32)}
    head, length = _in_memory(link, memory, small)
    layout = Layout((("y", "float32", (16, 2)),))
    assert (head, length) == (answer_head(6, layout), 0)
    assert layout.read(memory.view[4096:], private=True)["y"].sum() == 32
    link.close()
    memory.close()


def _in_memory(link: Link, memory: SharedMemory, arrays: Any) -> tuple[bytes, int]:
    layout = Layout.of(arrays)
    layout.write(arrays, memory.view)
    link.send(batch_head(6, layout), deadline=soon())
    head, length, _ = link.receive_head(max_body=0, deadline=soon())
    return head, length


@pytest.fixture
def dense() -> Iterator[tuple[socket.socket, PartFile]]:
    """A server of two dense layers."""
    pytest.importorskip("onnx", reason="ONNX is not installed")
    part = ONNXSource(dense_net(width=8, layers=3)).part(["hr1"], ["h3"])
    with socket.create_server(("127.0.0.1", 0)) as found:
        server = MiddleServer(part, engine(part, threads=1, provider=None))
        threading.Thread(target=server.serve, args=(found,), daemon=True).start()
        yield found, part
        found.shutdown(socket.SHUT_RDWR)


def _blinded(dense: tuple[socket.socket, PartFile], *names: str) -> Link:
    return connected(dense[0], Hello(sha256(dense[1].data), names, 0, blinded=True))


@pytest.mark.spec("OM-14", "OM-15", "OM-16")
def test_steps_of_residues(dense: tuple[socket.socket, PartFile]) -> None:
    """Any of those that the hello names, in any order; what is no input of one has failed."""
    link = _blinded(dense, "h2", "h3")
    assert link.receive_head(max_body=0, deadline=soon())[0] == ready_head(sha256(dense[1].data))
    steps = quantised_steps(dense[1], ["h2", "h3"])
    for name in ("h3", "h2", "h3"):
        residues = np.random.default_rng(1).integers(0, steps[name].prime, (3, 8), np.uint32)
        head, length = question(link, {name: residues})
        layout = Layout(((name, "uint32", (3, 8)),))
        assert (head, length) == (answer_head(5, layout), layout.size)
        body = bytearray(length)
        link.receive_into(memoryview(body), deadline=soon())
        found = layout.read(memoryview(body), private=False)[name]
        np.testing.assert_array_equal(found, steps[name].answer(residues))
    for wrong in (np.full((1, 8), steps["h2"].prime, np.uint32), np.zeros((1, 9), np.uint32)):
        head, length = question(link, {"h2": wrong})
        assert not length
        assert read_failed(head) == (5, "this is no input of the step")
    link.close()


@pytest.mark.spec("OM-14")
@pytest.mark.parametrize("names", [("hr2",), ("h2", "nothing")])
def test_steps_that_there_are_not(
    dense: tuple[socket.socket, PartFile], names: tuple[str, ...]
) -> None:
    link = _blinded(dense, *names)
    with pytest.raises(CloisterError) as caught:
        link.receive_head(max_body=0, deadline=soon())
    assert caught.value.code == "middle.unavailable"
    link.close()


@pytest.mark.spec("OM-15")
@pytest.mark.parametrize(
    "arrays",
    [
        {"h3": np.zeros((1, 8), np.uint32)},
        {"h2": np.zeros((1, 8), np.float32)},
        {"h2": np.zeros((1, 8), np.int32)},
        {"h2": np.zeros((1, 8), np.uint32), "h3": np.zeros((1, 8), np.uint32)},
        {"hr1": np.zeros((1, 8), np.float32)},
        {},
    ],
    ids=["not named", "floats", "signed", "two", "the part's own input", "none"],
)
def test_a_batch_that_is_not_of_one_step_of_the_hello(
    dense: tuple[socket.socket, PartFile], arrays: Any
) -> None:
    link = _blinded(dense, "h2")
    link.receive_head(max_body=0, deadline=soon())
    with pytest.raises(CloisterError) as caught:
        question(link, arrays)
    assert caught.value.code == "middle.unavailable"
    link.close()


@pytest.mark.spec("OM-14")
def test_a_hello_of_one_kind_does_not_take_batches_of_the_other(
    dense: tuple[socket.socket, PartFile],
) -> None:
    link = connected(dense[0], Hello(sha256(dense[1].data), ("h2",), 0))
    link.receive_head(max_body=0, deadline=soon())
    with pytest.raises(CloisterError) as caught:
        question(link, {"h2": np.zeros((1, 8), np.uint32)})
    assert caught.value.code == "middle.unavailable"
    link.close()


def test_a_device_that_is_not_there() -> None:
    pytest.importorskip("onnx", reason="ONNX is not installed")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    part = ONNXSource(dense_net(width=4, layers=2)).part(["hr1"], ["h2"])
    with pytest.raises(CloisterError) as caught:
        engine(part, threads=1, provider="NoSuchExecutionProvider")(["h2"])
    assert caught.value.code == "config.value"
    run = engine(part, threads=1, provider="CPUExecutionProvider")(["h2"])
    given = {"hr1": np.ones((1, 4), np.float32)}
    plain = engine(part, threads=1, provider=None)(["h2"])
    np.testing.assert_allclose(run(given)["h2"], plain(given)["h2"], rtol=1e-5)


def test_descriptors_that_were_not_announced_are_closed(listener: socket.socket) -> None:
    left, right = socket.socketpair()
    server = MiddleServer(PART, lambda _: lambda feeds: {"y": feeds["x"]})
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count
    memory, link = SharedMemory.create(4096), Link(left)
    link.send(
        hello_head(Hello(DIGEST, ("y",), 0)), deadline=soon(), descriptors=[memory.descriptor]
    )
    server._one(_Seat(Link(right)))
    memory.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1  # noqa: PTH208  # its own socket
    link.close()


def test_what_is_loaded_for_whoever_connects_is_bounded() -> None:
    """Nine others later the first has to be loaded again."""
    opened: list[tuple[str, ...]] = []

    def load(names: Any) -> Any:
        opened.append(tuple(names))
        return lambda feeds: dict.fromkeys(names, feeds["x"])

    with socket.create_server(("127.0.0.1", 0)) as found:
        server = MiddleServer(PART, load, limits=Limits(max_bytes=1024))
        threading.Thread(target=server.serve, args=(found,), daemon=True).start()
        for number in (0, 0, *range(1, 10), 0):
            link = connected(found, Hello(DIGEST, (f"y{number}",), 0))
            link.receive_head(max_body=0, deadline=soon())
            link.close()
        found.shutdown(socket.SHUT_RDWR)
    assert opened == [(f"y{number}",) for number in (*range(10), 0)]


@pytest.mark.spec("OM-19")
def test_silent_connections_keep_nobody_out(listener: socket.socket) -> None:
    """The ninth is answered, and the one that was silent for longest has ended."""
    links = [connected(listener) for _ in range(8)]
    for link in links:
        assert link.receive_head(max_body=0, deadline=soon())[0] == ready_head(DIGEST)
    _, length = question(links[0], GIVEN)
    links[0].receive_into(memoryview(bytearray(length)), deadline=soon())
    test_batch_after_batch(listener)
    with pytest.raises(CloisterError) as caught:
        links[1].receive_head(max_body=0, deadline=soon())
    assert caught.value.code == "middle.unavailable"
    assert question(links[0], GIVEN)[1]
    for link in links:
        link.close()


@pytest.mark.spec("OM-19")
def test_who_is_answered_is_not_quiet(listener: socket.socket) -> None:
    """Who stalls within a batch is, after a while; where nobody is, one more is not taken in."""
    server = MiddleServer(PART, lambda _: lambda feeds: feeds)
    pairs = [socket.socketpair() for _ in range(9)]
    seats = [_Seat(Link(left)) for left, _ in pairs]
    for seat in seats[:8]:
        seat.doing = "answering"
        assert server._has_place(seat)
        assert not seat.is_quiet(seat.link.moved + 60)
    assert not server._has_place(seats[8])
    seats[5].doing = "taking"
    assert not seats[5].is_quiet(seats[5].link.moved + 1)
    assert seats[5].is_quiet(seats[5].link.moved + 3)
    seats[5].doing = "waiting"
    assert server._has_place(seats[8])
    assert pairs[5][1].recv(1) == b""
    for left, right in pairs:
        left.close()
        right.close()


def test_a_machine_that_is_gone_is_noticed(listener: socket.socket) -> None:
    """By the kernel, where nothing is sent any more."""
    with socket.create_connection(listener.getsockname()) as connection:
        _notice_its_end(connection)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
