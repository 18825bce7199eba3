"""Questions about names: own hosts are known, nothing else exists, nothing is forwarded."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import MalformedError
from cloister.network.loop import Loop
from cloister.network.names import NameServer, Question, answer_to

A, AAAA = 1, 28


def question(name: str, kind: int = A, *, number: int = 7, flags: int = 0x0100) -> bytes:
    """As a resolver asks."""
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack(">6H", number, flags, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)


@contextmanager
def server(known: dict[str, str], missing: list[str]) -> Iterator[socket.socket]:
    """A socket that is connected to a running server."""
    loop = Loop()
    inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        inside.bind(("127.0.0.1", 0))
        asking.connect(inside.getsockname())
        asking.settimeout(5)
        NameServer(loop, inside, known=known, missing=missing.append)
        thread = threading.Thread(target=loop.run)
        thread.start()
        try:
            yield asking
        finally:
            loop.stop()
            thread.join(5)
            loop.close()


def test_known_and_unknown_names() -> None:
    """An address, none of this kind, no such name; what is no question gets no answer."""
    missing: list[str] = []
    with server({"ps-0": "10.77.0.1"}, missing) as asking:
        asking.send(b"\x00")
        asking.send(question("PS-0"))
        found = asking.recv(512)
        assert found[:8] == b"\x00\x07\x81\x80\x00\x01\x00\x01"
        assert found.endswith(b"\x00\x04\x0a\x4d\x00\x01")
        asking.send(question("ps-0", AAAA))
        assert asking.recv(512)[:8] == b"\x00\x07\x81\x80\x00\x01\x00\x00"
        for kind in (A, AAAA):
            asking.send(question("api.example.org", kind, flags=0))
            found = asking.recv(512)
            assert found[:8] == b"\x00\x07\x80\x83\x00\x01\x00\x00"
            assert found[12:] == question("api.example.org", kind)[12:]
    assert missing == ["api.example.org"] * 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        question("a")[:-1],
        question("a", flags=0x8000),
        question("a", flags=0x2800),
        struct.pack(">6H", 7, 0, 0, 0, 0, 0),
        struct.pack(">6H", 7, 0, 2, 0, 0, 0) + question("a")[12:],
        struct.pack(">6H", 7, 0, 1, 0, 0, 0) + b"\xc0\x0c\x00\x01\x00\x01",
        question("a")[:-1] + b"\x03",
        question(".".join(["abcdefg"] * 32)),
        question("a") + bytes(1300),
    ],
)
def test_what_is_no_question_is_refused(data: bytes) -> None:
    """Short, an answer, none or two, a pointer, another network, too long."""
    with pytest.raises(MalformedError):
        Question.from_bytes(data)


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_our_error_alone(data: bytes) -> None:
    """And an answer is never much longer than its question: nobody is flooded with it."""
    for message in (data, question("a")[:12] + data):
        try:
            asked = Question.from_bytes(message)
        except MalformedError:
            continue
        assert len(answer_to(asked, "10.77.0.1", is_known=True)) <= len(message) + 16
        assert asked.name.isprintable()


def test_a_name_is_shown_without_what_a_terminal_obeys() -> None:
    """Bytes of the program's choosing go to a report."""
    data = question("a")[:12] + b"\x03\x1b[2" + question("a")[14:]
    assert Question.from_bytes(data).name == "\\027\\0912"
