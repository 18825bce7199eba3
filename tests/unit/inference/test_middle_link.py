"""Frames over sockets: deadlines, addresses, and who may connect."""

from __future__ import annotations

import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from cloister.errors import CloisterError, ConfigError
from cloister.inference.middle_link import Link, SharedMemory, connect, listen


def pair() -> tuple[Link, Link]:
    left, right = socket.socketpair()
    return Link(left), Link(right)


def soon(seconds: float = 5) -> float:
    return time.monotonic() + seconds


def test_a_frame_arrives_whole_with_its_memory() -> None:
    left, right = pair()
    memory = SharedMemory.create(4096)
    sent = bytes(range(256)) * 5000
    thread = threading.Thread(
        target=left.send, args=(b"head", sent),
        kwargs={"deadline": soon(), "descriptors": [memory.descriptor]},
    )  # fmt: skip
    thread.start()
    head, length, descriptors = right.receive_head(max_body=len(sent), deadline=soon())
    assert (head, length, len(descriptors)) == (b"head", len(sent), 1)
    body = bytearray(length)
    right.receive_into(memoryview(body), deadline=soon())
    assert body == sent
    thread.join()
    theirs = SharedMemory(descriptors[0], 4096)
    memory.view[7] = 9
    assert theirs.view[7] == 9
    for each in (memory, theirs, left, right):
        each.close()


@pytest.mark.parametrize("slow", ["silent", "drip"])
def test_a_deadline_is_for_all_of_it(slow: str) -> None:
    left, right = pair()
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.05):
            left._socket.send(b"C" if slow == "drip" else b"", socket.MSG_DONTWAIT)

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    with pytest.raises(CloisterError) as caught:
        right.receive_head(max_body=0, deadline=soon(0.2))
    assert time.monotonic() - began < 5
    assert caught.value.code == "middle.unavailable"
    stop.set()
    thread.join()
    left.close()
    right.close()


def test_nobody_reads_what_is_sent() -> None:
    left, right = pair()
    with pytest.raises(CloisterError) as caught:
        left.send(b"h", bytes(64 << 20), deadline=soon(0.2))
    assert caught.value.code == "middle.unavailable"
    with pytest.raises(CloisterError):
        left.send(b"h", deadline=time.monotonic() - 1)
    left.close()
    right.close()


def test_over_tcp() -> None:
    listener = listen("tcp:127.0.0.1:0")
    link = connect(f"tcp:127.0.0.1:{listener.getsockname()[1]}", deadline=soon())
    other = Link(listener.accept()[0])
    link.send(b"x", deadline=soon())
    assert other.receive_head(max_body=0, deadline=soon())[0] == b"x"
    for each in (listener, link, other):
        each.close()


def test_a_local_socket_is_for_its_user(tmp_path: Path) -> None:
    listener = listen(f"unix:{tmp_path}/s")
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) & 0o077 == 0
    listener.close()


@pytest.mark.parametrize(
    "address", ["", "unix:relative", "tcp:host", "tcp:host:x", "tcp::1", "tcp:h:70000", "http://x"]
)
def test_other_addresses(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(address, deadline=soon())
    assert caught.value.code == "config.value"


def test_places_that_cannot_be_had(tmp_path: Path) -> None:
    listener = listen(f"unix:{tmp_path}/s")
    with pytest.raises(ConfigError) as caught:
        listen(f"unix:{tmp_path}/s")
    assert caught.value.code == "config.value"
    listener.close()
    with pytest.raises(CloisterError) as nobody:
        connect(f"unix:{tmp_path}/s", deadline=soon())
    assert nobody.value.code == "middle.unavailable"


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    """Its socket's file, where nobody answers there; and never another file."""
    listen(f"unix:{tmp_path}/s").close()  # a listener does not remove its file
    listener = listen(f"unix:{tmp_path}/s")
    connect(f"unix:{tmp_path}/s", deadline=soon()).close()
    listener.close()
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ConfigError) as caught:
        listen(f"unix:{tmp_path}/file")
    assert caught.value.code == "config.value"
    assert (tmp_path / "file").read_text() == "kept"
