"""What the server's process says and does, with a channel but without a process."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from cloister.errors import TamperedError, WorkloadError
from cloister.testing import fuse_kernel
from cloister.testing.fuse_kernel import Reply
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.volume.filesystem import Filesystem
from cloister.volume.fuse.channel import Channel, Message
from cloister.volume.fuse.worker import work


class Bench:
    """A worker in a thread; the test is launcher and kernel."""

    def __init__(self) -> None:
        self.filesystem = MemoryFilesystem(clock=count(1).__next__)
        self.channel, theirs = Channel.pair()
        self.theirs = theirs
        self.raised: list[WorkloadError] = []
        self.thread = threading.Thread(target=self.work)
        self.thread.start()
        self.kernel, self.device = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.kernel.settimeout(10)

    def open_filesystem(self, config: bytes) -> Filesystem:
        assert config == b"config"
        return self.filesystem

    def work(self) -> None:
        try:
            work(
                self.theirs,
                open_filesystem=self.open_filesystem,
                describe=lambda _: b"%d" % self.filesystem.commits,
            )
        except WorkloadError as e:
            self.raised.append(e)
        self.theirs.close()

    def receive(self) -> Message:
        return self.channel.receive(timeout_s=10)

    def start(self) -> None:
        self.channel.send("open", config=b"config")
        assert self.receive().fields.octets("state") == b"0"
        self.channel.send("serve", descriptor=self.device.fileno(), writeback=True, uid=3, gid=4)
        self.device.close()
        assert self.ask(fuse_kernel.init()).errno == 0
        assert self.receive().kind == "ready"

    def ask(self, request: memoryview) -> Reply:
        self.kernel.send(request)
        return Reply.parse(self.kernel.recv(1 << 21))


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    signal.alarm(0)
    bench.kernel.close()
    bench.device.close()
    bench.channel.close()
    bench.thread.join(10)


def test_end_of_the_mount_commits_and_reports(bench: Bench) -> None:
    """When the mount is gone the file system is closed, then its state reported."""
    bench.start()
    assert bench.ask(fuse_kernel.request(3, bytes(16))).attributes().uid == 3
    bench.kernel.close()
    message = bench.receive()
    assert (message.kind, message.fields.octets("state")) == ("finished", b"1")
    assert bench.filesystem.closed


def test_trouble_is_told_once_for_each_kind(bench: Bench) -> None:
    """Failures of the store are reported while serving, and end in failure if they must."""
    bench.start()
    bench.filesystem.fail_with = TamperedError("a block was changed", code="volume.tampered")
    for _ in range(3):
        assert bench.ask(fuse_kernel.request(3, bytes(16))).errno == 5
    message = bench.receive()
    assert (message.kind, message.fields.text("code")) == ("trouble", "volume.tampered")
    bench.kernel.close()
    message = bench.receive()
    assert (message.kind, message.fields.text("code")) == ("failed", "volume.tampered")
    assert bench.filesystem.closed


def test_lost_parent_still_commits(bench: Bench) -> None:
    """Without a parent what was written is committed before the end."""
    bench.start()
    bench.channel.close()
    bench.thread.join(10)
    assert bench.filesystem.closed
    assert [e.code for e in bench.raised] == ["workload.volume-server"]


def test_stop_ends_serving_with_a_commit(bench: Bench) -> None:
    """Told to stop, the worker commits while the mount is still there."""
    bench.start()
    bench.channel.send("stop")
    assert bench.receive().kind == "finished"
    with pytest.raises((BrokenPipeError, ConnectionError)):
        bench.kernel.send(fuse_kernel.request(3, bytes(16)))


def test_messages_out_of_order_are_refused(bench: Bench) -> None:
    """Serving before opening is our own bug, and said to be."""
    bench.channel.send("serve")
    message = bench.receive()
    assert (message.kind, message.fields.text("code")) == ("failed", "protocol.local")


def test_serving_needs_a_device(bench: Bench) -> None:
    """A serve message without a descriptor is refused, and the file system closed."""
    bench.channel.send("open", config=b"config")
    bench.receive()
    bench.channel.send("serve", writeback=True)
    assert bench.receive().fields.text("code") == "protocol.local"
    bench.thread.join(10)
    assert bench.filesystem.closed
