"""A workload's output on its way."""

from __future__ import annotations

import os
import threading

from cloister.crypto.digest import sha256
from cloister.launcher.logs import LogRelay


def test_lines_arrive_in_order_and_are_hashed() -> None:
    """Each stream keeps its order; what was passed on is counted and hashed."""
    seen: list[tuple[str, bytes]] = []
    relay = LogRelay(lambda stream, text: seen.append((stream, text)))
    out, err = (os.dup(writer) for writer in relay.writers)
    relay.start()
    for n in range(100):
        os.write(out, b"line %d\n" % n)
    os.write(err, b"no line end")
    os.close(out)
    os.close(err)
    assert relay.finish(timeout_s=10)
    text = b"".join(part for stream, part in seen if stream == "stdout")
    assert text == b"".join(b"line %d\n" % n for n in range(100))
    assert relay.digests() == {
        "stdout": (len(text), sha256(text)),
        "stderr": (11, sha256(b"no line end")),
    }


def test_half_a_line_is_passed_on_when_nothing_follows() -> None:
    """Progress bars move, though they end no line."""
    arrived = threading.Event()
    relay = LogRelay(lambda _stream, _text: arrived.set())
    out = os.dup(relay.writers[0])
    relay.start()
    os.write(out, b"50%\r")
    assert arrived.wait(10)
    os.close(out)
    assert relay.finish(timeout_s=10)


def test_a_slow_reader_holds_up_the_writer_and_not_us() -> None:
    """The pipe fills; `finish` says that the end did not come in time."""
    gate = threading.Event()
    relay = LogRelay(lambda _stream, _text: gate.wait(10))
    out = os.dup(relay.writers[0])
    relay.start()
    os.set_blocking(out, False)
    written = 0
    try:
        for _ in range(1000):
            written += os.write(out, bytes(65536))
    except BlockingIOError:
        pass
    assert written < 1000 * 65536
    assert not relay.finish(timeout_s=0.01)
    gate.set()
    os.close(out)
    assert relay.finish(timeout_s=10)


def test_a_reader_who_leaves_does_not_stop_the_workload() -> None:
    """After an error of the sink the rest is dropped, and still hashed."""

    def gone(_stream: str, _text: bytes) -> None:
        raise BrokenPipeError

    relay = LogRelay(gone)
    out = os.dup(relay.writers[0])
    relay.start()
    os.write(out, b"a\nb\n")
    os.close(out)
    assert relay.finish(timeout_s=10)
    assert relay.digests()["stdout"] == (4, sha256(b"a\nb\n"))


def test_a_relay_that_never_started_gives_everything_back() -> None:
    """A run that fails before its workload starts leaks no descriptor."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a path would open one more
    relay = LogRelay(lambda _stream, _text: None)
    assert relay.finish(timeout_s=1)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # a path would open one more
