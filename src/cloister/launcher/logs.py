"""A workload's output on its way to the operator: live, in order, and hashed.

A thread moves it, so that a reader who does not read holds up the workload (its pipe fills) and not
the launcher. What arrives is passed on at the end of a line, or as soon as nothing more follows for
a moment, so that progress bars move.
"""

from __future__ import annotations

import hashlib
import os
import select
import threading
from collections.abc import Callable
from typing import Final

__all__ = ["LogRelay", "LogSink"]

LogSink = Callable[[str, bytes], None]
"""Called with `stdout` or `stderr` and bytes; may block. After an `OSError`, output is dropped."""

_CHUNK_BYTES: Final = 65536
_PAUSE_MS: Final = 50
_STREAMS: Final = ("stdout", "stderr")


class LogRelay:
    """Two pipes, from the workload to a sink."""

    def __init__(self, sink: LogSink) -> None:
        """Make the pipes; `writers` go to the workload."""
        self._sink = sink
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in _STREAMS]
        self._readers = {reader: name for (reader, _), name in zip(pipes, _STREAMS, strict=True)}
        self.writers: tuple[int, ...] = tuple(writer for _, writer in pipes)
        self._hashes = {name: hashlib.sha256() for name in _STREAMS}
        self._sizes = dict.fromkeys(_STREAMS, 0)
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._closed = False

    def start(self) -> None:
        """Let go of the writing ends, which the workload has by now, and begin."""
        self._close_writers()
        self._thread.start()

    def finish(self, *, timeout_s: float) -> bool:
        """Wait for the end of both streams; tell whether it came in time."""
        self._close_writers()
        if self._thread.ident is None:
            for reader in self._readers:
                os.close(reader)
            self._readers.clear()
        else:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def digests(self) -> dict[str, tuple[int, bytes]]:
        """Return for each stream how many bytes passed, and their SHA-256; after `finish`."""
        return {name: (self._sizes[name], self._hashes[name].digest()) for name in _STREAMS}

    def _close_writers(self) -> None:
        if not self._closed:
            self._closed = True
            for writer in self.writers:
                os.close(writer)

    def _run(self) -> None:
        poll = select.poll()
        for reader in self._readers:
            poll.register(reader, select.POLLIN | select.POLLHUP)
        held = dict.fromkeys(self._readers, b"")
        while held:
            ready = [reader for reader, _ in poll.poll(_PAUSE_MS if any(held.values()) else None)]
            if not ready:
                for reader, text in held.items():
                    self._pass_on(reader, text)
                held = dict.fromkeys(held, b"")
            for reader in ready:
                chunk = os.read(reader, _CHUNK_BYTES)
                text = held[reader] + chunk
                if not chunk:
                    self._pass_on(reader, text)
                    poll.unregister(reader)
                    os.close(reader)
                    del held[reader]
                    continue
                end = len(text) if len(text) > _CHUNK_BYTES else text.rfind(b"\n") + 1
                self._pass_on(reader, text[:end])
                held[reader] = text[end:]

    def _pass_on(self, reader: int, text: bytes) -> None:
        if text:
            name = self._readers[reader]
            self._hashes[name].update(text)
            self._sizes[name] += len(text)
            try:
                self._sink(name, text)
            except OSError:  # the reader went away; the workload goes on
                self._sink = _discard


def _discard(_stream: str, _text: bytes) -> None:
    """Drop output that nobody can take any more."""
