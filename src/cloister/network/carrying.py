"""One connection of a program, carried between its socket and a peer's relay.

Both directions are bounded: nothing is read from one side while the other has not taken what came
before. The end of a direction and a reset go through to the other program as what they are, and a
connection between relays that breaks off without its end is a reset (relay-v1).
"""

from __future__ import annotations

import logging
import mmap
import socket
import struct
from collections.abc import Callable
from typing import Final

from cloister.crypto.x509 import Identity
from cloister.errors import CloisterError, RemoteProtocolError
from cloister.network.counters import Traffic
from cloister.network.frames import ABORT, END, HEADER_BYTES, Mark, Unframer, header
from cloister.network.loop import BROKEN, READ, WRITE, Loop
from cloister.network.records import Records

__all__ = ["Buffers", "Carrier", "abandon", "is_dead", "prepare_link", "raise_error"]

_LOG: Final = logging.getLogger(__name__)
_CHUNK: Final = 131_072  # at a time; what a connection holds is at most two of these
_AT_ONCE: Final = 4  # chunks, before others have their turn
_SMALL_CHUNK: Final = 16_384  # for connections that have not shown that they carry much
_RECORD: Final = 32_768  # more than a record of TLS can be
_MAX_WAITING: Final = 4 * _CHUNK
_KEEPALIVE: Final = (10, 5, 3)  # idle, then every, so many times: 25 s
_DEAD_MS: Final = 20_000
_LINGER_NONE: Final = struct.pack("ii", 1, 0)
# Of `struct tcp_info`: 8 bytes, then words: the fifth is what nobody has acknowledged yet, the
# thirteenth how many milliseconds ago the last acknowledgement came.
_TCP_INFO: Final = struct.Struct("8x13I")
_UNACKNOWLEDGED, _LAST_ANSWER = 4, 12


class Buffers:
    """Room that all connections of one loop use in turn; nothing stays in it between two events.

    What the kernel copies to or from begins a page: elsewhere its copies take several times as
    long on some processors. So a frame's header ends where a page begins.

    Attributes:
        frame: Room for a frame, its header in front.
        data: The same without the header.
        wire: Room for what comes from a peer.
        clear: Room for what that carries.
    """

    __slots__ = ("clear", "data", "frame", "wire")

    def __init__(self) -> None:
        """Take the room once."""
        both = memoryview(mmap.mmap(-1, mmap.PAGESIZE + _CHUNK))
        self.frame: Final = both[mmap.PAGESIZE - HEADER_BYTES :]
        self.data: Final = both[mmap.PAGESIZE :]
        self.wire: Final = memoryview(mmap.mmap(-1, _CHUNK))
        self.clear: Final = memoryview(mmap.mmap(-1, _CHUNK + _RECORD))


class Carrier:
    """A connection of a program and the one between relays that carries it."""

    __slots__ = (
        "_buffers",
        "_closed",
        "_down_size",
        "_loop",
        "_plain",
        "_records",
        "_shut",
        "_to_outer",
        "_to_plain",
        "_traffic",
        "_unframer",
        "_up_ended",
        "_up_size",
        "is_open",
        "outer",
    )

    def __init__(
        self,
        loop: Loop,
        buffers: Buffers,
        plain: socket.socket,
        outer: socket.socket,
        records: Records,
        *,
        traffic: Traffic,
        closed: Callable[[Carrier, str], None],
    ) -> None:
        """Take both sockets over; they are closed here.

        Args:
            loop: Calls us.
            buffers: Of the same loop.
            plain: The program's.
            outer: The other relay's.
            records: TLS on it; the peer has been judged and has been answered.
            traffic: Where bytes are counted.
            closed: Called once at the end, with why it was cut; empty for an end in order.
        """
        self._loop, self._buffers = loop, buffers
        self._plain, self.outer, self._records = plain, outer, records
        self._traffic, self._closed = traffic, closed
        self._unframer = Unframer()
        self._to_outer: memoryview | None = None
        self._to_plain: memoryview | None = None
        self._up_size = self._down_size = _SMALL_CHUNK
        self._up_ended = self._shut = False
        self.is_open = True

    @property
    def identity(self) -> Identity:
        """Who the peer is."""
        return self._records.peer.identity

    def start(self) -> None:
        """Begin, with frames that may have come with the answer."""
        self._loop.watch(self._plain, self._plain_ready, 0)
        self._loop.watch(self.outer, self._outer_ready, 0)
        self._guarded(self._deliver, 0)

    def cut(self, reason: str) -> None:
        """Reset both sides now."""
        if self.is_open:
            abandon(self.outer, self._loop)
            self._close(reason)

    # What the loop calls.

    def _plain_ready(self, events: int) -> None:
        self._guarded(self._on_plain, events)

    def _outer_ready(self, events: int) -> None:
        self._guarded(self._on_outer, events)

    def _guarded(self, step: Callable[[int], None], events: int) -> None:
        if not self.is_open:
            return
        try:
            step(events)
            if self.is_open:
                self._settle()
        except BlockingIOError:
            self._settle()
        except _ProgramReset:
            self._tell_abort()
            self._close("")
        except _PeerReset:
            self._close("")
        except CloisterError as e:
            self.cut(e.code)
        except OSError as e:
            _LOG.debug("link broke: %s", e)
            self.cut("link")
        except Exception:  # noqa: BLE001  # one connection's bug must not end the others
            _LOG.exception("a connection was cut")
            self.cut("bug")

    def _on_plain(self, events: int) -> None:
        if self._to_plain is not None:
            self._flush_plain()
        if events & ~WRITE and self._to_outer is None and not self._up_ended:
            for _ in range(_AT_ONCE):
                if not self._pump_up():
                    break
        elif events & BROKEN:
            _raise_program_reset(self._plain)

    def _on_outer(self, events: int) -> None:
        if self._to_outer is not None:
            self._flush_outer()
        if events & ~WRITE and self._to_plain is None:
            for _ in range(_AT_ONCE):
                if not self._pump_down():
                    break
        elif events & BROKEN:
            raise_error(self.outer)

    # From the program to its peer.

    def _pump_up(self) -> bool:
        """Carry one chunk; return whether there is likely to be more at once."""
        try:
            size = self._plain.recv_into(self._buffers.data, self._up_size)
        except BlockingIOError:
            return False
        except OSError as e:
            raise _ProgramReset from e
        if size == 0:
            self._up_ended = True
            self._send(self._records.seal(memoryview(END)))
            return False
        frame = self._buffers.frame
        frame[:HEADER_BYTES] = header(size)
        is_full = size == self._up_size
        if is_full:
            self._up_size = min(2 * size, _CHUNK)
        self._traffic.sent += size
        self._send(self._records.seal(frame[: HEADER_BYTES + size]))
        return is_full and self._to_outer is None

    def _send(self, data: bytes) -> None:
        if self._to_outer is not None:
            if len(self._to_outer) + len(data) > _MAX_WAITING:
                raise RemoteProtocolError(
                    "the peer asks and does not listen", code="protocol.remote"
                )
            self._to_outer = memoryview(bytes(self._to_outer) + data)
            return
        try:
            sent = self.outer.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._to_outer = memoryview(data)[sent:]

    def _flush_outer(self) -> None:
        if self._to_outer is not None:
            rest = self._to_outer[self.outer.send(self._to_outer) :]
            self._to_outer = rest or None

    # From the peer to our program.

    def _pump_down(self) -> bool:
        """As `_pump_up`, the other way."""
        wire = self._buffers.wire
        try:
            size = self.outer.recv_into(wire, self._down_size)
        except BlockingIOError:
            return False
        if size == 0:
            raise RemoteProtocolError("the relay broke off", code="protocol.remote")
        is_full = size == self._down_size
        if is_full:
            self._down_size = min(2 * size, _CHUNK)
        self._records.take(wire[:size])
        self._deliver(0)
        return is_full and self._to_plain is None

    def _deliver(self, _events: int) -> None:
        clear = self._buffers.clear
        size = self._records.open_frames(self._unframer, clear)
        if self._unframer.mark is Mark.ABORTED:
            raise _PeerReset
        if size:
            self._traffic.received += size
            self._hand_on(clear[:size])
        self._shut_if_ended()
        answer = self._records.waiting()
        if answer:
            self._send(answer)

    def _hand_on(self, data: memoryview) -> None:
        try:
            sent = self._plain.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as e:
            raise _ProgramReset from e
        if sent < len(data):
            self._to_plain = memoryview(bytes(data[sent:]))

    def _flush_plain(self) -> None:
        if self._to_plain is not None:
            try:
                rest = self._to_plain[self._plain.send(self._to_plain) :]
            except BlockingIOError:
                return
            except OSError as e:
                raise _ProgramReset from e
            self._to_plain = rest or None
            self._shut_if_ended()

    def _shut_if_ended(self) -> None:
        if self._unframer.mark is Mark.ENDED and self._to_plain is None and not self._shut:
            self._shut = True
            try:
                self._plain.shutdown(socket.SHUT_WR)
            except OSError as e:
                raise _ProgramReset from e

    # Both.

    def _settle(self) -> None:
        """Watch for what can be done now, or end where both directions have."""
        reading = self._to_outer is None and not self._up_ended
        if self._up_ended and self._shut and self._to_outer is None:
            self._loop.forget(self._plain)
            self._plain.close()
            self._finish("")
            return
        plain = (READ if reading else 0) | (WRITE if self._to_plain is not None else 0)
        outer = (READ if self._to_plain is None else 0) | (
            WRITE if self._to_outer is not None else 0
        )
        self._loop.want(self._plain, plain)
        self._loop.want(self.outer, outer)

    def _tell_abort(self) -> None:
        """Say that the program's connection was reset; a link that breaks says the same."""
        if self._to_outer is None:
            try:
                self.outer.send(self._records.seal(memoryview(ABORT)))
            except OSError as e:
                _LOG.debug("no abort was sent: %s", e)

    def _close(self, reason: str) -> None:
        abandon(self._plain, self._loop)
        self._finish(reason)

    def _finish(self, reason: str) -> None:
        self.is_open = False
        self._loop.forget(self.outer)
        self.outer.close()
        self._closed(self, reason)


class _ProgramReset(Exception):  # noqa: N818  # not an error: what happened to the program's side
    """The program's connection was reset."""


class _PeerReset(Exception):  # noqa: N818  # as above
    """The peer's program's connection was reset."""


def abandon(sock: socket.socket, loop: Loop) -> None:
    """Close a socket so that its other end sees a reset."""
    if sock.fileno() < 0:
        return
    loop.forget(sock)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    except OSError as e:  # it is broken already
        _LOG.debug("no linger: %s", e)
    sock.close()


def prepare_link(sock: socket.socket) -> None:
    """Make a connection between relays quick, and noticed when it is dead."""
    sock.settimeout(0)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle, every, times = _KEEPALIVE
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, times)


def is_dead(sock: socket.socket) -> bool:
    """Return whether what was sent has not been acknowledged for too long.

    TCP_USER_TIMEOUT would also end connections whose peer is well and slow to read.
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    if len(info) < _TCP_INFO.size:
        return False
    words = _TCP_INFO.unpack(info)
    return bool(words[_UNACKNOWLEDGED]) and words[_LAST_ANSWER] > _DEAD_MS


def raise_error(sock: socket.socket) -> None:
    """Raise what is wrong with a socket, if anything is."""
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, "the connection broke")


def _raise_program_reset(sock: socket.socket) -> None:
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise _ProgramReset
