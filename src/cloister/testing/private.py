"""A gate with a model behind it, a carrier that may lie, and an asker: all in one process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from cloister.crypto.certificate_signature import CertificateKey
from cloister.crypto.signature import SigningKey
from cloister.errors import UnavailableError
from cloister.inference.http import HTTPServer, Limits, Service
from cloister.inference.private.channel import Pins, PrivateChannel
from cloister.inference.private.counting import Counter
from cloister.inference.private.gate import PrivateGate
from cloister.inference.private.keys import Sizes
from cloister.inference.private.replay import ReplayGuard
from cloister.inference.private.request_auth import Asker, Askers, Principal
from cloister.inference.private.ring import KeyRing, Terms
from cloister.inference.service import HTTPRequest, HTTPResponse, InferenceService
from cloister.inference.tensor import Array, TensorSpec
from cloister.network.tls import Credential
from cloister.testing.certificates import POLICY_HASH, FakeDomain

__all__ = ["NOW", "Balancer", "Doubling", "Enclave", "Trace", "served", "tap"]

NOW = int(time.time())  # noqa: TID251  # certificates are good around it


class Doubling:
    """A model of a row of four numbers, which it doubles."""

    platform = "test"
    inputs = (TensorSpec("x", "FP32", (-1, 4)),)
    outputs = (TensorSpec("y", "FP32", (-1, 4)),)

    def __init__(self) -> None:
        """Begin with no question."""
        self.asked = 0

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Double, and count."""
        self.asked += 1
        return {"y": inputs["x"] * 2}


class Enclave:
    """A server's gate, with everything that a test may want to change."""

    def __init__(
        self,
        domain: FakeDomain,
        *,
        role: str = "serve",
        policy_hash: bytes = POLICY_HASH,
        credential: Credential | None = None,
        sizes: Sizes | None = None,
        counters: tuple[Counter, ...] = (),
        lifetime_s: int = 3600,
        clock: Callable[[], int] = lambda: NOW,
    ) -> None:
        """Start: a fresh key, one principal `alice`, clients of the role `client`."""
        self.domain, self.role, self.clock = domain, role, clock
        self.model = Doubling()
        self.key = SigningKey.generate()
        self.credential = credential or domain.credential(role, policy_hash=policy_hash)
        self.ring = KeyRing(
            Terms(sizes or Sizes({"double": 4096}, 4096), 2**20, lifetime_s=lifetime_s),
            lambda: CertificateKey(self.credential.certificate_pem, self.credential.key_pem),
        )
        service = InferenceService({"double": self.model})
        self.gate = PrivateGate(
            service.handle,
            is_quick=service.is_quick,
            ring=self.ring,
            askers=Askers(
                keys={"alice": self.key.public},
                clients=(domain.identity("client"),),
                ca_pem=domain.ca_pem,
            ),
            guard=ReplayGuard(window_s=60),
            counters=counters,
            clock=clock,
        )

    @property
    def alice(self) -> Principal:
        """Who may ask."""
        return Principal("alice", self.key)

    def pins(self, *, policy: bytes = POLICY_HASH) -> Pins:
        """What a client of this server pins."""
        return Pins(self.domain.ca_pem, self.domain.identity(self.role), policy)

    def channel(
        self, url: str, *, asker: Asker | None = None, clock: Callable[[], int] | None = None
    ) -> PrivateChannel:
        """A client of this server, by way of `url`."""
        return PrivateChannel(
            url,
            pins=self.pins(),
            asker=asker or self.alice,
            clock=clock or self.clock,
            timeout_s=10,
        )


class Balancer:
    """Carries requests to a service; a test changes what passes."""

    def __init__(self, service: Service) -> None:
        """Carry everything as it is, and keep it."""
        self.service = service
        self.requests: list[HTTPRequest] = []
        self.responses: list[HTTPResponse] = []
        self.change_request: Callable[[HTTPRequest], HTTPRequest] = lambda request: request
        self.change_response: Callable[[HTTPRequest, HTTPResponse], HTTPResponse] = (
            lambda _, response: response
        )

    def handle(self, request: HTTPRequest) -> HTTPResponse:
        """Pass on, both ways."""
        passed = self.change_request(request)
        self.requests.append(passed)
        response = self.change_response(passed, self.service.handle(passed))
        self.responses.append(response)
        return response

    @staticmethod
    def is_quick(request: HTTPRequest) -> bool:  # noqa: ARG004  # a service's
        """Nothing is."""
        return False


@contextmanager
def served(service: Service) -> Iterator[str]:
    """Serve in a thread, without TLS; gives the URL."""
    ready, stopped = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        port = listener.getsockname()[1]
        held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

        async def run() -> None:
            stop = asyncio.Event()
            held.append((asyncio.get_running_loop(), stop))
            ready.set()
            await HTTPServer(service, context=None, limits=Limits(workers=4)).serve(
                listener, stop=stop
            )
            stopped.set()

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        if not ready.wait(10):
            raise UnavailableError("the server did not start", code="server.unreachable")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            loop, stop = held[0]
            loop.call_soon_threadsafe(stop.set)
            thread.join(20)


class Trace:
    """What went over a wire, both ways."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.seen = bytearray()
        self.port = 0


@contextmanager
def tap(port: int) -> Iterator[Trace]:
    """Listen on a port of its own, pass everything to `port` and back, and keep it."""
    trace, stop = Trace(), threading.Event()

    def carry(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                trace.seen += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            stop.is_set()  # an end has gone; the other thread sees the same

    def accept(listener: socket.socket) -> None:
        while not stop.is_set():
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
            except OSError:
                return
            for pair in ((near, far), (far, near)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        trace.port = listener.getsockname()[1]
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        try:
            yield trace
        finally:
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)
