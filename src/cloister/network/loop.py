"""The relay's loop: readiness, deadlines, and work that would block.

One thread runs it. Others may only `post`. What may wait for somebody else (a resolver, a file) is
done by a few threads of a pool, and its result is posted.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

__all__ = ["BROKEN", "READ", "WRITE", "Loop", "Timer", "since_boot"]

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
BROKEN: Final = select.EPOLLERR
_GONE: Final = select.EPOLLERR | select.EPOLLHUP
_MAX_EVENTS: Final = 256
_HELPERS: Final = 4

_T = TypeVar("_T")
Handler = Callable[[int], None]
Call = Callable[[], None]


def since_boot() -> float:
    """Return seconds of a clock that never goes back and runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Timer:
    """A call to come; it can be called off."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        """Remember what to call."""
        self.call: Call | None = call

    def cancel(self) -> None:
        """Call it off; a second time does nothing."""
        self.call = None


class Loop:
    """Calls handlers when their sockets are ready; that is a hint, handlers look themselves."""

    def __init__(self) -> None:
        """Make the descriptors that the loop needs."""
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._masks: dict[int, int] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._posted: collections.deque[Call] = collections.deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, READ)
        self._pool = ThreadPoolExecutor(_HELPERS, thread_name_prefix="relay")
        self._stopped = self._closed = False
        self._lock = threading.Lock()
        self.now = since_boot()

    def watch(self, sock: socket.socket, handler: Handler, mask: int) -> None:
        """Call `handler` when `sock` is ready for what `mask` says, or broken."""
        fd = sock.fileno()
        if fd in self._masks:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
        self._handlers[fd] = handler
        self._masks[fd] = mask

    def want(self, sock: socket.socket, mask: int) -> None:
        """Change what a watched socket is watched for."""
        fd = sock.fileno()
        known = self._masks.get(fd)
        if known is None:
            if mask == 0:  # it has told that it is broken, and would again
                return
            self._epoll.register(fd, mask)
        elif known != mask:
            self._epoll.modify(fd, mask)
        self._masks[fd] = mask

    def forget(self, sock: socket.socket) -> None:
        """Watch a socket no more; one that is not watched is none of our business."""
        fd = sock.fileno()
        self._handlers.pop(fd, None)
        if self._masks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def later(self, delay_s: float, call: Call) -> Timer:
        """Call once, in a while."""
        timer = Timer(call)
        heapq.heappush(self._timers, (since_boot() + delay_s, next(self._numbers), timer))
        return timer

    def post(self, call: Call) -> None:
        """Call soon, in the loop's thread; not at all once it is closed. For every thread."""
        with self._lock:
            if not self._closed:
                self._posted.append(call)
                os.eventfd_write(self._wake, 1)

    def aside(self, work: Callable[[], _T], done: Callable[[Future[_T]], None]) -> None:
        """Do `work` in a thread of the pool, and then `done` here with what came of it."""
        future = self._pool.submit(work)
        future.add_done_callback(lambda each: self.post(lambda: done(each)))

    def stop(self) -> None:
        """Return from `run` soon. For every thread."""
        self.post(self._stop)

    def run(self) -> None:
        """Run until stopped."""
        while not self._stopped:
            ready = self._epoll.poll(self._patience(), _MAX_EVENTS)
            self.now = since_boot()
            for fd, events in ready:
                if fd == self._wake:
                    os.eventfd_read(self._wake)
                else:
                    self._ready(fd, events)
            self._run_timers()
            for _ in range(len(self._posted)):
                self._posted.popleft()()

    def close(self) -> None:
        """Give the loop's own descriptors back, after `run`."""
        with self._lock:
            self._closed = self._stopped = True
            os.close(self._wake)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._epoll.close()

    def _ready(self, fd: int, events: int) -> None:
        handler = self._handlers.get(fd)
        if handler is None:
            return
        if events & _GONE and not events & self._masks.get(fd, 0):
            # Told again and again, whatever the mask; once is enough.
            self._masks.pop(fd)
            self._epoll.unregister(fd)
        handler(events)

    def _run_timers(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            timer = heapq.heappop(self._timers)[2]
            if timer.call is not None:
                timer.call()

    def _patience(self) -> float:
        if self._posted:
            return 0
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return max(self._timers[0][0] - since_boot(), 0) if self._timers else -1

    def _stop(self) -> None:
        self._stopped = True
