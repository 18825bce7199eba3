"""A way between two places that somebody can cut, hold up, slow down, shuffle and change.

    with BadLink(target) as link:
        link.mend()
        link.delay_s, link.rate = 0.05, 200_000
        link.cut()

TCP gives each connection its bytes in order or not at all, so what can be shuffled is which
connection gets its bytes first: with `spread_s` each has a delay of its own. `corrupt` changes a
byte now and then, which a plain program believes, and a shielded one must not.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import numpy as np

_CHUNK = 16_384
_LOOK_S = 0.02

Address = tuple[str, int]


class BadLink:
    """Listens on a port of its own while its context lasts, and carries to whatever is behind.

    Attributes:
        address: Where it listens.
        delay_s: How much later each piece arrives.
        spread_s: Up to how much more, drawn for each connection when it is opened.
        rate: Bytes a second in each direction of each connection; 0 for no limit.
        held: Whether nothing moves at all.
        down: Whether new connections are hung up.
        corrupt: Whether a byte of each piece is changed.
    """

    def __init__(self, target: Callable[[], Address | None], *, seed: int = 0) -> None:
        """Carry to what `target` says when a connection comes; None hangs up."""
        self._target = target
        self._rng = np.random.default_rng(seed)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._over = False
        self.address: Address = self._listener.getsockname()
        self.carried = 0
        self.mend()

    def mend(self) -> None:
        """Be a good link."""
        self.delay_s = self.spread_s = 0.0
        self.rate = 0
        self.held = self.down = self.corrupt = False

    def cut(self) -> None:
        """End every connection that is open, in the middle of whatever it carries.

        It looks like an orderly end of data, which is harder to tell from one than a reset.
        """
        with self._lock:
            cut, self._open = self._open, set()
        for connection in cut:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> BadLink:
        """Begin to accept."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port and every connection."""
        self._over = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._over:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        target = None if self.down else self._target()
        try:
            if target is None:
                raise ConnectionRefusedError
            far = socket.create_connection(target, timeout=10)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        extra = float(self._rng.uniform(0, self.spread_s))
        with self._lock:
            self._open |= {near, far}
        ways = [
            threading.Thread(target=self._pump, args=pair, daemon=True)
            for pair in ((near, far, extra), (far, near, extra))
        ]
        for way in ways:
            way.start()
        for way in ways:
            way.join()
        with self._lock:
            self._open -= {near, far}
        near.close()
        far.close()

    def _pump(self, source: socket.socket, sink: socket.socket, extra: float) -> None:
        try:
            while data := source.recv(_CHUNK):
                self._wait(len(data), extra)
                if self.corrupt:
                    place = int(self._rng.integers(len(data)))
                    data = data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]
                sink.sendall(data)
                self.carried += len(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for connection in (source, sink):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _wait(self, size: int, extra: float) -> None:
        time.sleep(self.delay_s + (extra if self.spread_s else 0.0))
        rate = self.rate
        if rate:
            time.sleep(size / rate)
        while self.held and not self._over:
            time.sleep(_LOOK_S)
