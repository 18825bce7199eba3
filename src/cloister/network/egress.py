"""Connections to hosts outside that the policy names, within what it allows to each.

What goes there leaves the shield: its own TLS, if any, is the program's affair. The bound is on
bytes that are sent, over the life of the run, and on how many in a second. A host's name is
resolved outside, by the machine's resolver, at each connection, and is believed nothing.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Final

from cloister.network.carrying import abandon, raise_error
from cloister.network.counters import Traffic
from cloister.network.loop import BROKEN, READ, WRITE, Loop, Timer
from cloister.network.rules import EgressRule

__all__ = ["Budget", "EgressCarrier"]

_LOG: Final = logging.getLogger(__name__)
_CHUNK: Final = 65_536
_LEAST: Final = 1024  # bytes for which it is worth while to read again
OVER_BUDGET: Final = "egress-bytes"


class Budget:
    """What may go to one host still: all of a run's connections to it share one.

    A bucket of tokens, one for each byte, which a second of the rule's rate fills.
    """

    __slots__ = ("_at", "_rule", "_tokens", "_worth", "left")

    def __init__(self, rule: EgressRule, *, now: float) -> None:
        """Begin full."""
        self._rule = rule
        self.left = rule.bytes
        self._tokens = float(rule.rate)
        self._at = now
        self._worth = min(_LEAST, rule.rate)

    def allowance(self, now: float) -> int:
        """Return how many bytes may be read now; none rather than very few."""
        self._tokens = min(self._rule.rate, self._tokens + (now - self._at) * self._rule.rate)
        self._at = now
        return int(self._tokens) if self._tokens >= self._worth else 0

    def pause(self) -> float:
        """Return how many seconds it takes until sending is worth while again."""
        return max((self._worth - self._tokens) / self._rule.rate, 0.001)

    def spend(self, size: int) -> bool:
        """Take `size` from what is left; False, and nothing is taken, where that is too little."""
        if size > self.left:
            return False
        self.left -= size
        self._tokens -= size
        return True


class EgressCarrier:
    """A connection of the program and the one to a host outside."""

    __slots__ = (
        "_budget",
        "_closed",
        "_ended",
        "_loop",
        "_outside",
        "_plain",
        "_shut",
        "_timer",
        "_to_outside",
        "_to_plain",
        "_traffic",
        "is_open",
    )

    def __init__(
        self,
        loop: Loop,
        plain: socket.socket,
        outside: socket.socket,
        *,
        budget: Budget,
        traffic: Traffic,
        closed: Callable[[EgressCarrier, str], None],
    ) -> None:
        """Take both sockets over; they are closed here. `closed` is told why it was cut."""
        self._loop, self._plain, self._outside = loop, plain, outside
        self._budget, self._traffic, self._closed = budget, traffic, closed
        self._to_outside = self._to_plain = b""
        self._ended = {"up": False, "down": False}
        self._shut = {"up": False, "down": False}
        self._timer: Timer | None = None
        self.is_open = True

    def start(self) -> None:
        """Begin."""
        self._loop.watch(self._plain, self._ready, 0)
        self._loop.watch(self._outside, self._ready, 0)
        self._settle()

    def cut(self, reason: str) -> None:
        """Reset both sides now."""
        if self.is_open:
            self._finish(reason, reset=True)

    def _ready(self, events: int) -> None:
        if not self.is_open:
            return
        try:
            self._flush()
            self._pump_up()
            self._pump_down()
            if events & BROKEN:
                raise_error(self._plain)
                raise_error(self._outside)
        except OSError as e:
            _LOG.debug("egress broke: %s", e)
            self.cut("")
        if self.is_open:
            self._settle()

    def _pump_up(self) -> None:
        if self._to_outside or self._ended["up"] or self._timer is not None:
            return
        room = min(_CHUNK, self._budget.allowance(self._loop.now))
        if room < 1:
            self._timer = self._loop.later(self._budget.pause(), self._go_on)
            return
        data = _received(self._plain, room)
        if data is None:
            return
        if not data:
            self._ended["up"] = True
        elif not self._budget.spend(len(data)):
            self.cut(OVER_BUDGET)
            return
        self._traffic.sent += len(data)
        self._to_outside = data
        self._flush()

    def _pump_down(self) -> None:
        if not self.is_open or self._to_plain or self._ended["down"]:
            return
        data = _received(self._outside, _CHUNK)
        if data is None:
            return
        self._ended["down"] = not data
        self._traffic.received += len(data)
        self._to_plain = data
        self._flush()

    def _flush(self) -> None:
        self._to_outside = _sent(self._outside, self._to_outside)
        self._to_plain = _sent(self._plain, self._to_plain)
        for way, sock, waiting in (
            ("up", self._outside, self._to_outside),
            ("down", self._plain, self._to_plain),
        ):
            if self._ended[way] and not waiting and not self._shut[way]:
                self._shut[way] = True
                sock.shutdown(socket.SHUT_WR)

    def _go_on(self) -> None:
        self._timer = None
        self._ready(0)

    def _settle(self) -> None:
        if all(self._shut.values()):
            self._finish("", reset=False)
            return
        up = not self._to_outside and not self._ended["up"] and self._timer is None
        down = not self._to_plain and not self._ended["down"]
        plain = (READ if up else 0) | (WRITE if self._to_plain else 0)
        outside = (READ if down else 0) | (WRITE if self._to_outside else 0)
        self._loop.want(self._plain, plain)
        self._loop.want(self._outside, outside)

    def _finish(self, reason: str, *, reset: bool) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        for sock in (self._plain, self._outside):
            if reset:
                abandon(sock, self._loop)
            else:
                self._loop.forget(sock)
                sock.close()
        self._closed(self, reason)


def _received(sock: socket.socket, room: int) -> bytes | None:
    try:
        return sock.recv(room)
    except BlockingIOError:
        return None


def _sent(sock: socket.socket, data: bytes) -> bytes:
    """Send what can be sent; return what is left."""
    if not data:
        return data
    try:
        return data[sock.send(data) :]
    except BlockingIOError:
        return data
