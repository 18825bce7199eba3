"""A gate with a model behind it, a carrier that may lie, and an asker: all in one process."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np

from cloister.crypto.certificate_signature import CertificateKey
from cloister.crypto.signature import SigningKey
from cloister.errors import UnavailableError
from cloister.inference.asking import Asking
from cloister.inference.http import HTTPServer, Limits, Pages
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

_MADE: list[tuple[str, PrivateChannel]] = []

__all__ = ["NOW", "Balancer", "Doubling", "Enclave", "Trace", "served", "tap"]

_LIMITS = Limits()
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
        """Double, and count; what is beyond every number is infinite."""
        self.asked += 1
        with np.errstate(over="ignore"):
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
        alice: SigningKey | None = None,
        show_metrics: bool = False,
        request_bytes: int = 2**20,
    ) -> None:
        """Start: a fresh key, one principal `alice`, clients of the role `client`."""
        self.domain, self.role, self.clock = domain, role, clock
        self.model = Doubling()
        self.key = alice or SigningKey.generate()
        self.credential = credential or domain.credential(role, policy_hash=policy_hash)
        sizes = sizes or Sizes({"double": 4096}, 4096)
        self.ring = KeyRing(
            Terms(sizes, request_bytes, lifetime_s=lifetime_s),
            lambda: CertificateKey(self.credential.certificate_pem, self.credential.key_pem),
        )
        service = InferenceService(
            {"double": self.model},
            asking=Asking(answer_bytes=sizes.about),
            show_metrics=show_metrics,
        )
        self.gate = PrivateGate(
            service.handle,
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
        """A client of this server, by way of `url`; `served` closes it."""
        made = PrivateChannel(
            url,
            pins=self.pins(),
            asker=asker or self.alice,
            clock=clock or self.clock,
            timeout_s=10,
        )
        _MADE.append((url, made))
        return made


class Balancer:
    """Carries requests to a service; a test changes what passes."""

    def __init__(self, service: Pages) -> None:
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
def served(service: Pages, *, limits: Limits = _LIMITS) -> Iterator[str]:
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
            await HTTPServer(service, context=None, limits=limits).serve(listener, stop=stop)
            stopped.set()

        thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
        thread.start()
        if not ready.wait(10):
            raise UnavailableError("the server did not start", code="server.unreachable")
        url = f"http://127.0.0.1:{port}"
        try:
            yield url
        finally:
            for way, channel in [each for each in _MADE if each[0].startswith(url)]:
                channel.close()
                _MADE.remove((way, channel))
            loop, stop = held[0]
            loop.call_soon_threadsafe(stop.set)
            thread.join(20)


class Trace:
    """What goes over a wire, both ways: listens on a port of its own, and passes everything on."""

    def __init__(self, port: int) -> None:
        """Listen, and carry to `port`."""
        self.seen = bytearray()
        self._target = port
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def close(self) -> None:
        """End every connection."""
        for end in (self._listener, *self._ends):
            _end(end)
        for thread in list(self._threads):
            thread.join(5)
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._ends.append(near)
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends.append(far)
                self._start(self._carry, near, far)
                self._start(self._carry, far, near)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self.seen += data
                target.sendall(data)
        _end(source)
        _end(target)

    def _start(self, run: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


@contextmanager
def tap(port: int) -> Iterator[Trace]:
    """Keep what passes on the way to a port; send to the trace's own."""
    trace = Trace(port)
    try:
        yield trace
    finally:
        trace.close()


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
