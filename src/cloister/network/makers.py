"""Sockets that were made in the workload's network, from whoever can make them there.

The relay is outside of that network and has no privileges. It asks over a Unix socket: one byte
says how many fresh TCP sockets are wanted, and they come as file descriptors. Some are kept ready.
The other end is the run's own stage, which is trusted.
"""

from __future__ import annotations

import collections
import logging
import socket
from collections.abc import Callable
from typing import Final

from cloister.network.loop import READ, Loop

__all__ = ["Maker"]

_READY: Final = 8
_MOST: Final = 64  # in one request
_LOG: Final = logging.getLogger(__name__)

Taker = Callable[[socket.socket | None], None]


class Maker:
    """Hands out sockets of the workload's network."""

    def __init__(self, loop: Loop, channel: socket.socket) -> None:
        """Ask for the first.

        Args:
            loop: Calls us.
            channel: A connected Unix socket, taken over.
        """
        self._loop, self._channel = loop, channel
        self._made: collections.deque[socket.socket] = collections.deque()
        self._takers: collections.deque[Taker] = collections.deque()
        self._asked = 0
        self.is_broken = False
        channel.settimeout(0)
        loop.watch(channel, self._ready, READ)
        self._ask()

    def take(self, taker: Taker) -> None:
        """Give `taker` a socket, now or soon; None where there are no more."""
        if self.is_broken:
            taker(None)
            return
        self._takers.append(taker)
        self._serve()

    def close(self) -> None:
        """Close what was not used."""
        self._break()

    def _serve(self) -> None:
        while self._made and self._takers:
            self._takers.popleft()(self._made.popleft())
        self._ask()

    def _ask(self) -> None:
        wanted = _READY + len(self._takers) - len(self._made) - self._asked
        if wanted < _READY // 2 or self.is_broken:
            return
        wanted = min(wanted, _MOST)
        try:
            self._channel.send(bytes([wanted]))
        except BlockingIOError:
            return
        except OSError as e:
            _LOG.info("no sockets inside: %s", e)
            self._break()
            return
        self._asked += wanted

    def _ready(self, _events: int) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._channel, 256, _MOST)
        except BlockingIOError:
            return
        except OSError as e:
            _LOG.info("no sockets inside: %s", e)
            data, descriptors = b"", []
        for descriptor in descriptors:
            sock = socket.socket(fileno=descriptor)
            sock.settimeout(0)
            self._made.append(sock)
        if not data and not descriptors:
            self._break()
        elif descriptors:
            self._asked = max(self._asked - len(descriptors), 0)
            self._serve()
        else:  # it could make none now; whoever comes next asks again
            self._asked = 0

    def _break(self) -> None:
        if self.is_broken:
            return
        self.is_broken = True
        self._loop.forget(self._channel)
        self._channel.close()
        while self._made:
            self._made.popleft().close()
        while self._takers:
            self._takers.popleft()(None)
