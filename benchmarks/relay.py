"""A TCP relay on loopback that delivers every byte later, as a longer way would.

    python benchmarks/relay.py --target 127.0.0.1:8080 --one-way-ms 45

Each direction delivers what it got after the one-way time, in order and without a limit to what is
under way. A connection's first bytes wait one round trip more, which is what opening it takes on
such a way: the kernel opens ours on loopback at once. Loss and bandwidth are not modelled.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import socket
import sys
import threading
import time

_READ_BYTES = 65536


class Relay:
    """Listens on a port of its own while its context lasts."""

    def __init__(self, target: tuple[str, int], *, one_way_s: float) -> None:
        """Relay to `target`, each direction so much later."""
        self._target = target
        self._one_way_s = one_way_s
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: set[socket.socket] = set()
        self.address: tuple[str, int] = self._listener.getsockname()

    def __enter__(self) -> Relay:
        """Begin to accept."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port and every connection."""
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
            except OSError:
                return
            opened = time.monotonic() + 2 * self._one_way_s
            for connection in (near, far):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(connection)
            self._deliver(near, far, not_before=opened)
            self._deliver(far, near, not_before=opened)

    def _deliver(self, source: socket.socket, sink: socket.socket, *, not_before: float) -> None:
        """Start both ends of one direction."""
        under_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def take() -> None:
            data = b"."
            while data:
                try:
                    data = source.recv(_READ_BYTES)
                except OSError:
                    data = b""
                under_way.put((max(time.monotonic(), not_before) + self._one_way_s, data))

        def give() -> None:
            data = b"."
            while data:
                due, data = under_way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                with contextlib.suppress(OSError):  # who has gone gets nothing more
                    sink.sendall(data) if data else sink.shutdown(socket.SHUT_WR)

        for work in (take, give):
            threading.Thread(target=work, daemon=True).start()


def main() -> None:
    """Relay until standard input ends; the first line printed is the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--one-way-ms", type=float, required=True)
    options = parser.parse_args()
    host, _, port = options.target.rpartition(":")
    with Relay((host, int(port)), one_way_s=options.one_way_ms / 1e3) as relay:
        print(relay.address[1], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
