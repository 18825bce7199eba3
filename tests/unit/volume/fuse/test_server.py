"""The loop, over a socket pair that stands in for the device."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from cloister.errors import MalformedError
from cloister.testing import fuse_kernel
from cloister.testing.fuse_kernel import Reply
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.fuse.server import Server
from cloister.volume.fuse.session import Session, SessionOptions


class Bench:
    def __init__(self) -> None:
        self.kernel, self.device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.kernel.settimeout(10)
        self.wake_read, self.wake_write = os.pipe()
        self.filesystem = MemoryFilesystem(clock=count(1).__next__)
        self.ready = threading.Event()
        session = Session(self.filesystem, options=SessionOptions(), on_failure=lambda _: None)
        self.session = session
        self.server = Server(
            self.device.fileno(),
            session,
            control=self.wake_read,
            on_control=self.on_control,
            on_ready=self.ready.set,
        )
        self.raised: list[BaseException] = []
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self) -> None:
        try:
            self.server.run()
        except MalformedError as e:
            self.raised.append(e)

    def on_control(self) -> bool:
        return os.read(self.wake_read, 1) == b"s"

    def ask(self, request: memoryview) -> Reply:
        self.kernel.send(request)
        return Reply.parse(self.kernel.recv(1 << 21))

    def close(self) -> None:
        self.kernel.close()
        self.thread.join(10)
        self.device.close()
        os.close(self.wake_read)
        os.close(self.wake_write)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_requests_are_answered_in_order_until_the_mount_is_gone(bench: Bench) -> None:
    """Replies carry the numbers of their requests; the end of the device ends the loop."""
    assert bench.ask(fuse_kernel.init()).errno == 0
    assert bench.ready.wait(10)
    for number in range(600):
        bench.kernel.send(fuse_kernel.request(3, bytes(16), unique=number))
        assert Reply.parse(bench.kernel.recv(4096)).unique == number
    bench.kernel.close()
    bench.thread.join(10)
    assert not bench.thread.is_alive()


def test_control_can_end_serving_and_gives_holds_back(bench: Bench) -> None:
    """Control is asked when it has something, and ends the loop by saying so."""
    bench.ask(fuse_kernel.init())
    made = bench.ask(fuse_kernel.request(35, bytes(16) + b"f\0")).entry()
    bench.ask(fuse_kernel.request(10, b"f\0"))
    assert bench.filesystem.attributes(made.nodeid).nlink == 0
    os.write(bench.wake_write, b"x")
    assert bench.ask(fuse_kernel.request(17)).errno == 0
    os.write(bench.wake_write, b"s")
    bench.thread.join(10)
    assert not bench.thread.is_alive()
    assert bench.filesystem.live_inodes == 1


def test_what_cannot_be_answered_ends_the_loop(bench: Bench) -> None:
    """Bytes without a header end the server: it fails closed."""
    bench.kernel.send(b"garbage")
    bench.thread.join(10)
    assert [e.code for e in bench.raised if isinstance(e, MalformedError)] == ["message.malformed"]
