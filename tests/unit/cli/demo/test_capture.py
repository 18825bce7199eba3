"""The operator's tap."""

import contextlib
import socket
import struct

import pytest

from cloister.cli.demo.capture import Capture, Stream, _tcp_segment
from cloister.errors import UnsupportedError


def frame(
    payload: bytes, *, sequence: int = 7, protocol: int = 6, ethertype: int = 0x0800
) -> bytes:
    """An Ethernet frame with an IPv4 TCP segment."""
    tcp = struct.pack("!HHIIBBHHH", 1000, 2000, sequence, 0, 5 << 4, 0, 0, 0, 0) + payload
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, protocol, 0, b"\x7f\0\0\1", b"\x7f\0\0\2"
    )
    return bytes(12) + ethertype.to_bytes(2, "big") + ip + tcp


def test_segments_are_joined_in_order_of_sequence_numbers() -> None:
    """Out of order, overlapping and repeated segments give the stream once."""
    stream = Stream(1, 2)
    stream.add(2**32 - 2, b"ab")
    stream.add(3, b"fgh")
    stream.add(0, b"cde")
    stream.add(1, b"de")
    stream.add(3, b"f")
    assert stream.content() == b"abcdefgh"
    assert Stream(1, 2).content() == b""


def test_only_tcp_over_ipv4_is_kept() -> None:
    """Frames are cut at the lengths their headers say; other protocols are ignored."""
    segment = _tcp_segment(frame(b"marker") + b"padding")
    assert segment is not None
    key, sequence, payload = segment
    assert (key[1], key[3], sequence, payload) == (1000, 2000, 7, b"marker")
    assert _tcp_segment(frame(b"x", protocol=17)) is None
    assert _tcp_segment(frame(b"x", ethertype=0x86DD)) is None
    assert _tcp_segment(b"short") is None


def test_what_crossed_before_the_end_is_kept_however_slow_the_reader_is() -> None:
    """A busy machine delays the reader; stopping waits for it."""
    try:
        capture = Capture()
    except UnsupportedError:
        pytest.skip("no packet socket may be opened here: needs root")
    marker = b"crossed just before the end "
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        sender = stack.enter_context(socket.create_connection(listener.getsockname()))
        receiver = stack.enter_context(listener.accept()[0])
        with capture._lock:  # the reader waits here after its first frame
            for number in range(100):
                sender.sendall(marker + b"%03d" % number)
                receiver.recv(1024)
    assert capture.stop() == 0
    found = b"".join(stream.content() for stream in capture.streams())
    assert all(marker + b"%03d" % number in found for number in range(100))
