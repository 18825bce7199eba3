"""The operator's tap: every byte that crosses the loopback interface of the demonstration.

The demonstration runs in a network namespace of its own, whose only interface is `lo`; a packet
socket there sees every frame of every connection. Streams are put together again by sequence
number, so that a marker that spans two segments is still found.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cloister.errors import UnsupportedError

__all__ = ["Capture", "Stream"]

_ETH_P_ALL: Final = 3
_ETHERNET_BYTES: Final = 14
_IPV4: Final = 0x0800
_TCP: Final = 6
_BUFFER_BYTES: Final = 64 << 20
_PACKET_OUTGOING: Final = 4
_MAX_FRAME: Final = 1 << 17

FlowKey = tuple[bytes, int, bytes, int]


@dataclass(slots=True)
class Stream:
    """One direction of one TCP connection: payload by sequence number."""

    source_port: int
    target_port: int
    segments: dict[int, bytes] = field(default_factory=dict)

    def add(self, sequence: int, payload: bytes) -> None:
        """Keep a segment; a retransmission keeps the longer one."""
        if len(self.segments.get(sequence, b"")) < len(payload):
            self.segments[sequence] = payload

    def content(self) -> bytes:
        """Return the payload in order of sequence numbers, wrapping once at 2^32."""
        if not self.segments:
            return b""
        first = next(iter(self.segments))
        ordered = sorted(self.segments.items(), key=lambda item: (item[0] - first) % (1 << 32))
        joined = bytearray()
        end = 0
        for sequence, payload in ordered:
            start = (sequence - first) % (1 << 32)
            joined += payload[max(0, end - start) :]
            end = max(end, start + len(payload))
        return bytes(joined)


class Capture:
    """Records what crosses `lo` from construction to `stop`."""

    def __init__(self) -> None:
        """Start recording.

        Raises:
            UnsupportedError: No packet socket may be opened here.
        """
        try:
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
            )
        except OSError as e:
            raise UnsupportedError(
                "no packet socket may be opened, so the operator's view cannot be recorded",
                code="machine.namespaces",
                hint="run as root, or where user and network namespaces are permitted",
            ) from e
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.2)
        self._streams: dict[FlowKey, Stream] = {}
        self._frames = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._record, name="capture", daemon=True)
        self._thread.start()

    @property
    def payload_bytes(self) -> int:
        """How many payload bytes have been seen so far."""
        with self._lock:
            return sum(len(p) for s in self._streams.values() for p in s.segments.values())

    def dropped(self) -> int:
        """Return how many frames the kernel could not hand over; must be 0 to claim anything."""
        packed = self._socket.getsockopt(263, 6, 8)  # SOL_PACKET, PACKET_STATISTICS
        return int(struct.unpack("II", packed)[1])

    def streams(self) -> Iterator[Stream]:
        """Iterate over both directions of every connection seen."""
        with self._lock:
            yield from list(self._streams.values())

    def stop(self) -> int:
        """Stop recording and return the number of frames lost; what crossed before is kept."""
        self._stopping.set()
        self._thread.join()
        lost = self.dropped()
        self._socket.close()
        return lost

    def _record(self) -> None:
        """Read frames until told to stop, and then those that still wait to be read."""
        while True:
            try:
                flags = socket.MSG_DONTWAIT if self._stopping.is_set() else 0
                frame, address = self._socket.recvfrom(_MAX_FRAME, flags)
            except (TimeoutError, BlockingIOError):
                if self._stopping.is_set():
                    return
                continue
            except OSError:
                return
            # Each frame on `lo` is seen twice, going out and coming in; one is enough.
            if address[2] != _PACKET_OUTGOING:
                self._keep(frame)

    def _keep(self, frame: bytes) -> None:
        segment = _tcp_segment(frame)
        if segment is None:
            return
        key, sequence, payload = segment
        with self._lock:
            self._frames += 1
            stream = self._streams.setdefault(key, Stream(key[1], key[3]))
            if payload:
                stream.add(sequence, payload)


def _tcp_segment(frame: bytes) -> tuple[FlowKey, int, bytes] | None:
    """Cut an IPv4 TCP segment out of an Ethernet frame; None for anything else."""
    if len(frame) < _ETHERNET_BYTES + 40 or int.from_bytes(frame[12:14], "big") != _IPV4:
        return None
    packet = frame[_ETHERNET_BYTES:]
    header_bytes = (packet[0] & 0x0F) * 4
    total_bytes = int.from_bytes(packet[2:4], "big") or len(packet)
    if packet[9] != _TCP:
        return None
    segment = packet[header_bytes:total_bytes]
    if len(segment) < 20:  # noqa: PLR2004  # a TCP header
        return None
    source, target, sequence = struct.unpack_from("!HHI", segment)
    payload = segment[(segment[12] >> 4) * 4 :]
    return (packet[12:16], source, packet[16:20], target), sequence, payload
