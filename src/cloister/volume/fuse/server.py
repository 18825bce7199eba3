"""The loop between `/dev/fuse` and a `Session`: reads requests, writes replies, decides nothing.

One thread, one preallocated buffer in each direction, one system call each way for a request.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable
from errno import EAGAIN, ECONNABORTED, EINTR, EINVAL, ENODEV, ENOENT
from typing import Final

from cloister.volume.fuse.session import REQUEST_BYTES, Session

__all__ = ["Server"]

_GONE: Final = frozenset({ENODEV, ECONNABORTED})
_TRY_AGAIN: Final = frozenset({ENOENT, EINTR, EAGAIN})
_BURST: Final = 256


class Server:
    """Serves one mount until it is unmounted or told to stop.

    Args:
        device: An open `/dev/fuse` whose mount(2) has happened. Stays the caller's to close.
        session: Decides the replies.
        control: A descriptor that becomes readable when somebody wants attention.
        on_control: Called then; True ends serving.
        on_ready: Called once when the kernel has been answered for the first time.
    """

    def __init__(
        self,
        device: int,
        session: Session,
        *,
        control: int,
        on_control: Callable[[], bool],
        on_ready: Callable[[], None],
    ) -> None:
        """Prepare buffers; nothing is read yet."""
        self._device = device
        self._session = session
        self._control = control
        self._on_control = on_control
        self._on_ready = on_ready
        self._buffer = memoryview(bytearray(REQUEST_BYTES))

    def run(self) -> None:
        """Serve until the mount is gone or `on_control` says so.

        The kernel's hold on files is given back; closing the file system is left to the caller.

        Raises:
            MalformedError: The kernel sent something that cannot even be answered.
        """
        os.set_blocking(self._device, False)
        waiting = select.poll()
        waiting.register(self._device, select.POLLIN)
        waiting.register(self._control, select.POLLIN)
        announced = False
        try:
            while True:
                idle_ms = max(0, math.ceil(self._session.tick() * 1000))
                ready = dict(waiting.poll(idle_ms))
                if self._control in ready and self._on_control():
                    return
                if self._device in ready and not self._burst():
                    return
                if self._session.ready and not announced:
                    announced = True
                    self._on_ready()
        finally:
            self._session.end()

    def _burst(self) -> bool:
        """Answer what is waiting, up to a limit; False where the mount is gone."""
        for _ in range(_BURST):
            try:
                size = os.readv(self._device, [self._buffer])
            except OSError as e:
                if e.errno in _GONE:
                    return False
                if e.errno in _TRY_AGAIN:
                    return True
                raise
            if size == 0:
                return False
            reply = self._session.handle(self._buffer[:size])
            if reply is not None and not self._send(reply):
                return False
        return True

    def _send(self, reply: memoryview) -> bool:
        try:
            os.writev(self._device, [reply])
        except OSError as e:
            # ENOENT: whoever asked was killed. EINVAL: the kernel refused the reply and has
            # answered EIO itself. Neither concerns other requests.
            if e.errno not in (ENOENT, EINVAL):
                return e.errno not in _GONE
        return True
