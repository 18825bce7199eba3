"""A stand-in for a hardware vendor's attestation service, for comparing where evidence is judged.

    python benchmarks/vendor.py --domain DIR

It judges simulated evidence as the key service does and signs what it found. `ask` opens a
connection for each piece of evidence and exchanges twice on it: a greeting, in the place of TLS
1.3's handshake, and the evidence for the verdict. Behind a `relay`, with the one round trip that
opening takes, that is three round trips, as few as a vendor's HTTPS interface needs.
"""

from __future__ import annotations

import argparse
import socket
import socketserver
import sys
import threading
from pathlib import Path

from cloister.attestation.evidence import Evidence
from cloister.crypto.signature import SIGNATURE_BYTES, SigningKey, VerifyingKey
from cloister.errors import EvidenceError
from cloister.keyservice.domain import TrustDomain
from cloister.tee.sim.verifier import SimVerifier

GREETING = b"g" * 1500
LABEL = b"benchmark/vendor-verdict"
_SIZE_BYTES = 4


def exchange(connection: socket.socket, message: bytes) -> bytes:
    """Send one message and return the next that comes."""
    send(connection, message)
    return receive(connection)


def send(connection: socket.socket, message: bytes) -> None:
    """Send a message behind its length."""
    connection.sendall(len(message).to_bytes(_SIZE_BYTES, "big") + message)


def receive(connection: socket.socket) -> bytes:
    """Return the next message."""
    return _read(connection, int.from_bytes(_read(connection, _SIZE_BYTES), "big"))


def _read(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def ask(address: tuple[str, int], evidence: Evidence, *, vendor: VerifyingKey) -> None:
    """Have the vendor judge evidence; raise unless it signs that it is genuine."""
    body = evidence.to_bytes()
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        exchange(connection, GREETING)
        signature = exchange(connection, body)
    error = EvidenceError("the vendor does not vouch for this", code="evidence.signature")
    vendor.verify(LABEL, body, signature[:SIGNATURE_BYTES], error=error)


class Vendor(socketserver.ThreadingTCPServer):
    """Judges until its context ends."""

    daemon_threads = True

    def __init__(self, anchors: list[VerifyingKey]) -> None:
        """Vouch for platforms with these keys."""
        super().__init__(("127.0.0.1", 0), _Judging)
        self.verifier = SimVerifier(anchors)
        self.key = SigningKey.generate()

    def __enter__(self) -> Vendor:
        """Begin to accept."""
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: whose evidence is not genuine finds the connection closed."""


class _Judging(socketserver.BaseRequestHandler):
    server: Vendor

    def handle(self) -> None:
        """A greeting, then evidence for a verdict."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(self.request, receive(self.request))
        body = receive(self.request)
        self.server.verifier.verify(Evidence.from_bytes(body), (), at=0)
        send(self.request, self.server.key.sign(LABEL, body))


def main() -> None:
    """Judge until standard input ends; the first line printed is port and key."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domain", type=Path, required=True)
    domain = TrustDomain.load(parser.parse_args().domain)
    with Vendor(list(domain.anchors["sim"])) as vendor:
        print(vendor.server_address[1], vendor.key.public.text, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
