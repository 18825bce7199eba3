"""Text on its way to whoever may not take it now."""

from __future__ import annotations

import os
from pathlib import Path

from cloister.training.outbox import Outbox


def test_a_pipe_that_is_full_is_not_waited_for() -> None:
    """What does not fit stays, in order."""
    reader, writer = os.pipe()
    try:
        outbox = Outbox(writer)
        assert outbox.waits_for is None
        text = "".join(f"line {n}\n" for n in range(40000))
        outbox.put(text)
        outbox.flush()
        assert outbox.waits_for == writer
        found = b""
        while outbox.waits_for is not None:
            found += os.read(reader, 1 << 16)
            outbox.flush()
        os.set_blocking(reader, False)
        assert (found + os.read(reader, 1 << 20)).decode() == text
    finally:
        os.close(reader)
        os.close(writer)


def test_it_says_when_it_is_full() -> None:
    """And is not any more when something was taken out."""
    reader, writer = os.pipe()
    try:
        outbox = Outbox(writer)
        outbox.put("x" * ((1 << 20) + 100))
        assert outbox.full
        outbox.flush()
        assert not outbox.full
        outbox.finish(timeout_s=0.01)  # nobody reads: it gives up
        assert outbox.waits_for == writer
    finally:
        os.close(reader)
        os.close(writer)


def test_once_the_reader_is_gone_text_is_dropped() -> None:
    """Without an error."""
    reader, writer = os.pipe()
    os.close(reader)
    outbox = Outbox(writer)
    outbox.put("x")
    outbox.flush()
    outbox.put("y")
    assert (outbox.waits_for, outbox.full) == (None, False)
    os.close(writer)


def test_a_file_takes_all(tmp_path: Path) -> None:
    """At once."""
    with (tmp_path / "out").open("wb") as file:
        outbox = Outbox(file.fileno())
        outbox.put("ä" * 10000)
        outbox.finish(timeout_s=1)
    assert (tmp_path / "out").read_text() == "ä" * 10000
