"""A short computation by a process beside this one, while this one still loads modules.

Begin it before the first secret is in memory and before threads exist: it is a fork.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

__all__ = ["Errand"]


class Errand:
    """Bytes of a known size in the making; used as a context, it leaves no process behind."""

    def __init__(self, compute: Callable[[], bytes | None], *, size: int) -> None:
        """Fork a process that computes; what it says is lost if it fails or has another size."""
        self._size: Final = size
        self._result: bytes | None = None
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setpgid(0, 0)
                os.close(self._reader)
                os.write(writer, compute() or b"")
            finally:
                os._exit(0)
        os.close(writer)

    def __enter__(self) -> Errand:
        """Use as a context that ends the process."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process if it still runs."""
        self.close()

    def value(self) -> bytes | None:
        """Wait for it and return the bytes, or None where it failed or was ended."""
        if self._pid:
            data = os.read(self._reader, self._size + 1)
            self._result = data if len(data) == self._size else None
            self.close()
        return self._result

    def close(self) -> None:
        """End the process, and what it started, if it still runs; may be called at any time."""
        if not self._pid:
            return
        os.close(self._reader)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._pid = 0
