"""A connection that came to the outer listener, until it is carried or refused.

Until its peer has been judged it is anybody's: it has little time, little room, and is one of few.
Then our program sees it come from an address that no other task's connections come from.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

from cloister.errors import CloisterError, MalformedError
from cloister.network.addresses import Task
from cloister.network.carrying import Buffers, abandon, prepare_link
from cloister.network.frames import ABORT, ALPN, GREETING_BYTES, Answer, Greeting
from cloister.network.loop import BROKEN, READ, WRITE, Loop, Timer
from cloister.network.makers import Maker
from cloister.network.members import task_of
from cloister.network.records import Records
from cloister.network.rules import FromPeer, Refused
from cloister.network.tls import TLSContext

__all__ = ["GREETING_S", "Acceptance"]

GREETING_S: Final = 10.0  # for handshake and greeting together
_CONNECT_S: Final = 5.0  # for the program to accept
_MAX_UNJUDGED: Final = 65_536  # bytes that a stranger may send; a handshake has some 3000
_BIND_ADDRESS_NO_PORT: Final = 24  # IP_BIND_ADDRESS_NO_PORT
_LOG: Final = logging.getLogger(__name__)


class Acceptance:
    """Judges one stranger, and joins him to our program where the policy says so."""

    def __init__(
        self,
        loop: Loop,
        buffers: Buffers,
        outer: socket.socket,
        *,
        context: TLSContext,
        maker: Maker,
        address: str,
        allow: Callable[[Task, int], FromPeer | Refused | Answer],
        joined: Callable[[Acceptance, socket.socket, FromPeer], None],
        failed: Callable[[Acceptance, str], None],
    ) -> None:
        """Begin.

        Args:
            loop: Calls us.
            buffers: Of the same loop.
            outer: The stranger's socket, taken over until `joined` or `failed`.
            context: TLS that judges peers.
            maker: Makes sockets in the workload's network.
            address: The program's, in that network.
            allow: What the rules say, or the answer that says why not now.
            joined: Told once, with the program's socket.
            failed: Or told once why not.
        """
        self._loop, self._buffers, self.outer = loop, buffers, outer
        self._maker, self._address = maker, address
        self._allow, self._joined, self._failed = allow, joined, failed
        self._greeting = b""
        self._heard = 0
        self._plain: socket.socket | None = None
        self._over = False
        self.peer: Task | None = None
        self.records = Records(context, opens=False, alpn=ALPN)
        self._timer: Timer = loop.later(GREETING_S, lambda: self.cut("slow"))
        prepare_link(outer)
        loop.watch(outer, self._ready, READ)

    def cut(self, reason: str) -> None:
        """Let go of the stranger, whom nothing is told."""
        if not self._over:
            self._end()
            abandon(self.outer, self._loop)
            self._failed(self, reason)

    def _ready(self, _events: int) -> None:
        if self._over:
            return
        try:
            size = self.outer.recv_into(self._buffers.wire)
            if size == 0:
                self.cut("left")
                return
            self._heard += size
            if self._heard > _MAX_UNJUDGED:
                raise MalformedError("too much before the answer", code="message.malformed")
            self._hear(self._buffers.wire[:size])
        except BlockingIOError:
            return
        except CloisterError as e:
            _LOG.info("a peer was refused: %s", e)
            self.cut(e.code)
        except OSError as e:
            _LOG.debug("a stranger broke off: %s", e)
            self.cut("left")
        except Exception:  # noqa: BLE001  # one stranger must not end the others
            _LOG.exception("a stranger was cut")
            self.cut("bug")

    def _hear(self, data: memoryview) -> None:
        if self.peer is None:
            try:
                done = self.records.shake(data)
            finally:
                self._send(self.records.waiting())
            if not done:
                return
            self.peer = task_of(self.records.peer.identity)
        else:
            self.records.take(data)
        # One byte more than a greeting: it may not be there before our answer is.
        self._greeting += self.records.read(GREETING_BYTES + 1 - len(self._greeting))
        if len(self._greeting) >= GREETING_BYTES:
            self._greeted(self.peer, Greeting.from_bytes(self._greeting))

    def _greeted(self, peer: Task, greeting: Greeting) -> None:
        verdict = self._allow(peer, greeting.port)
        if isinstance(verdict, Answer):
            self._refuse(verdict, "busy")
        elif isinstance(verdict, Refused):
            self._refuse(Answer.REFUSED, verdict.reason)
        else:
            self._timer.cancel()
            self._timer = self._loop.later(_CONNECT_S, self._not_there)
            self._loop.want(self.outer, 0)
            self._maker.take(lambda sock: self._connect(sock, verdict))

    def _connect(self, plain: socket.socket | None, source: FromPeer) -> None:
        if self._over or plain is None:
            if plain is not None:
                plain.close()
            self._not_there()
            return
        self._plain = plain
        try:
            # Which port it comes from means nothing: the kernel chooses one when it connects.
            plain.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            plain.bind((source.arrival, 0))
        except OSError as e:
            _LOG.warning("no connection to the program from %s: %s", source.arrival, e)
            self._not_there()
            return
        number = plain.connect_ex((self._address, source.port))
        if number not in {0, errno.EINPROGRESS}:
            self._not_there()
            return
        self._loop.watch(plain, lambda events: self._connected(events, source), WRITE)

    def _connected(self, events: int, source: FromPeer) -> None:
        plain = self._plain
        if self._over or plain is None:
            return
        number = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if events & BROKEN else 0
        if number == errno.ECONNRESET:  # it accepted, and had enough at once
            self._part(Answer.ACCEPTED.encoded() + ABORT, "")
            return
        if number:
            self._not_there()
            return
        try:
            self._send(self.records.seal(memoryview(Answer.ACCEPTED.encoded())))
        except OSError as e:
            _LOG.debug("a peer broke off: %s", e)
            self.cut("left")
            return
        self._plain = None  # not ours any more
        for sock in (plain, self.outer):
            self._loop.forget(sock)
        self._end()
        self._joined(self, plain, source)

    def _not_there(self) -> None:
        self._refuse(Answer.NOT_THERE, "")

    def _refuse(self, answer: Answer, reason: str) -> None:
        """Say no to a peer who was judged; he may know why."""
        self._part(answer.encoded(), reason)

    def _part(self, last: bytes, reason: str) -> None:
        if self._over:
            return
        self._end()
        try:
            self._send(self.records.seal(memoryview(last)))
        except OSError as e:
            _LOG.debug("no answer was sent: %s", e)
        self._loop.forget(self.outer)
        self.outer.close()
        self._failed(self, reason)

    def _end(self) -> None:
        self._over = True
        self._timer.cancel()
        if self._plain is not None:
            abandon(self._plain, self._loop)
            self._plain = None

    def _send(self, data: bytes) -> None:
        if data and self.outer.send(data) != len(data):
            raise OSError(errno.ENOBUFS, "no room for a handshake")
