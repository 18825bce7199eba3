"""A connection that our program opened, until it is carried or given up.

The program sees one that is slow: its relay tries for `PATIENCE_S`, since peers of a job start when
they start. Then it sees a reset. A peer that refuses by its policy is not asked twice.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Final

from cloister.errors import CloisterError, IdentityError
from cloister.network.carrying import Buffers, abandon, prepare_link, raise_error
from cloister.network.frames import ALPN, ANSWER_BYTES, Answer, Greeting
from cloister.network.loop import BROKEN, READ, WRITE, Loop, Timer
from cloister.network.members import task_of
from cloister.network.records import Records
from cloister.network.rules import ToEgress, ToPeer
from cloister.network.tls import TLSContext

__all__ = ["PATIENCE_S", "Opening", "Place", "resolve"]

PATIENCE_S: Final = 20.0
_ATTEMPT_S: Final = 10.0
_CONNECT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_MAX_ADDRESSES: Final = 8
_MAX_PORT: Final = 65535
_THIS_MACHINE: Final = ".localhost"
_LOG: Final = logging.getLogger(__name__)

Place = tuple[str, int]
Addresses = tuple[tuple[int, tuple[object, ...]], ...]  # families with socket addresses


class Opening:
    """Tries to reach where one connection of the program goes."""

    def __init__(
        self,
        loop: Loop,
        buffers: Buffers,
        plain: socket.socket,
        target: ToPeer | ToEgress,
        *,
        find: Callable[[], Place | None],
        context: TLSContext | None,
        reached: Callable[[Opening, socket.socket, Records | None], None],
        failed: Callable[[Opening, str], None],
    ) -> None:
        """Begin.

        Args:
            loop: Calls us.
            buffers: Of the same loop.
            plain: The program's socket, taken over until `reached` or `failed`.
            target: Where it goes.
            find: Says where that can be reached, in a thread of its own; it is believed nothing.
            context: TLS towards peers; None towards a host outside.
            reached: Told once, with the socket and TLS on it.
            failed: Or told once why not; the program's socket has been reset.
        """
        self._loop, self._buffers = loop, buffers
        self.plain, self.target = plain, target
        self._find, self._context = find, context
        self._reached, self._failed = reached, failed
        self._outer: socket.socket | None = None
        self._records: Records | None = None
        self._answer = b""
        self._tries = 0
        self._over = False
        self._deadline = loop.now + PATIENCE_S
        self._timer: Timer | None = None
        loop.watch(plain, self._plain_ready, 0)
        self._attempt()

    def cut(self, reason: str) -> None:
        """Give up."""
        if not self._over:
            self._end()
            abandon(self.plain, self._loop)
            self._failed(self, reason)

    def _plain_ready(self, events: int) -> None:
        if events & BROKEN and self.plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.cut("")  # the program has lost its patience

    # One attempt.

    def _attempt(self) -> None:
        self._timer = None
        find = self._find
        self._loop.aside(lambda: resolve(find()), self._found)

    def _found(self, future: Future[Addresses]) -> None:
        if self._over:
            return
        if future.exception() is not None:
            _LOG.debug("not found: %s", future.exception())
            self._again("not-found")
            return
        addresses = future.result()
        if not addresses:
            self._again("not-found")
            return
        family, address = addresses[self._tries % len(addresses)]
        self._tries += 1
        self._outer = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._answer = b""
        self._give(_CONNECT_S, "unreachable")
        try:
            prepare_link(self._outer)
            number = self._outer.connect_ex(address)
            if number not in {0, errno.EINPROGRESS}:
                raise OSError(number, "no connection")
        except OSError as e:
            _LOG.debug("no connection: %s", e)
            self._again("unreachable")
            return
        self._loop.watch(self._outer, self._connected, WRITE)

    def _connected(self, _events: int) -> None:
        outer = self._outer
        if outer is None:
            return
        try:
            raise_error(outer)
        except OSError as e:
            _LOG.debug("no connection: %s", e)
            if self._context is None and e.errno == errno.ECONNRESET:
                self.cut("")  # the host accepted, and had enough at once
            else:
                self._again("unreachable")
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._context is None:
            self._reach()
            return
        self._give(_ATTEMPT_S, "slow")
        self._records = Records(self._context, opens=True, alpn=ALPN)
        self._loop.watch(outer, self._shaking, READ)
        self._shaking(0)

    def _shaking(self, events: int) -> None:
        outer, records = self._outer, self._records
        if outer is None or records is None:
            return
        try:
            data = memoryview(b"")
            if events:
                data = self._buffers.wire[: outer.recv_into(self._buffers.wire)]
                if not data:
                    self._again("refused-by-peer")
                    return
            try:
                done = records.shake(data)
            finally:
                _send_small(outer, records.waiting())
            if not done:
                return
            self._require_target(records)
            _send_small(outer, records.seal(memoryview(Greeting(self.target.port).to_bytes())))
            self._loop.watch(outer, self._answering, READ)
            self._hear(records)
        except BlockingIOError:
            return
        except CloisterError as e:
            self._again(e.code)
        except OSError as e:
            _LOG.debug("handshake broke: %s", e)
            self._again("refused-by-peer")
        except Exception:  # noqa: BLE001  # one connection's bug must not end the others
            _LOG.exception("a connection was not opened")
            self.cut("bug")

    def _require_target(self, records: Records) -> None:
        found = task_of(records.peer.identity)
        if not isinstance(self.target, ToPeer) or found != self.target.task:
            raise IdentityError(f"the peer proved to be {found}", code="identity.peer")

    def _answering(self, _events: int) -> None:
        outer, records = self._outer, self._records
        if outer is None or records is None:
            return
        try:
            size = outer.recv_into(self._buffers.wire)
            if size == 0:
                self._again("refused-by-peer")
                return
            records.take(self._buffers.wire[:size])
            self._hear(records)
        except BlockingIOError:
            return
        except CloisterError as e:
            self._again(e.code if e.code != "protocol.remote" else "refused-by-peer")
        except OSError as e:
            _LOG.debug("no answer: %s", e)
            self._again("refused-by-peer")
        except Exception:  # noqa: BLE001  # one connection's bug must not end the others
            _LOG.exception("a connection was not opened")
            self.cut("bug")

    def _hear(self, records: Records) -> None:
        self._answer += records.read(ANSWER_BYTES - len(self._answer))
        if len(self._answer) < ANSWER_BYTES:
            return
        answer = Answer.read_from(self._answer)
        if answer is Answer.ACCEPTED:
            self._reach()
        elif answer is Answer.REFUSED:
            self.cut("refused-by-policy")
        else:
            self._again("not-there" if answer is Answer.NOT_THERE else "busy")

    # How it ends.

    def _reach(self) -> None:
        outer, records = self._outer, self._records
        if outer is None:
            return
        self._outer = None  # not ours any more
        self._loop.forget(outer)
        self._loop.forget(self.plain)
        self._end()
        self._reached(self, outer, records)

    def _again(self, why: str) -> None:
        """Try again after a pause, or give up where none is left."""
        self._drop()
        pause = min(_FIRST_PAUSE_S * 2 ** min(self._tries, 10), _LONGEST_PAUSE_S)
        if self._loop.now + pause > self._deadline:
            self.cut(why)
            return
        self._timer = self._loop.later(pause, self._attempt)

    def _give(self, seconds: float, why: str) -> None:
        """Allow so much time for what comes next, and no more than is left for everything."""
        left = max(self._deadline - self._loop.now, 0.0)
        self._timer = self._loop.later(min(seconds, left), lambda: self._again(why))

    def _drop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._outer is not None:
            self._loop.forget(self._outer)
            self._outer.close()
            self._outer = None
        self._records = None

    def _end(self) -> None:
        self._over = True
        self._drop()


def resolve(place: Place | None) -> Addresses:
    """Return the socket addresses of a host and port; may wait for a resolver.

    A name below `localhost` is this machine, which no resolver is asked about (RFC 6761, 6.3).
    """
    if place is None:
        return ()
    host, port = place
    if not 1 <= port <= _MAX_PORT:
        raise OSError(errno.EINVAL, "not a host and a port")
    if host.lower().endswith(_THIS_MACHINE):
        host = "127.0.0.1"
    try:
        version = ip_address(host).version
    except ValueError:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return tuple((family, address) for family, _, _, _, address in found[:_MAX_ADDRESSES])
    return ((socket.AF_INET if version == 4 else socket.AF_INET6, (host, port)),)  # noqa: PLR2004


def _send_small(sock: socket.socket, data: bytes) -> None:
    """Send what a fresh connection's buffer has room for."""
    if data and sock.send(data) != len(data):
        raise OSError(errno.ENOBUFS, "no room for a handshake")
