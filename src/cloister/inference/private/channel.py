"""Carries requests to an attested server inside envelopes, by way of anybody.

Before a byte of a request leaves, the server's key configuration has been verified: authority,
identity, policy, signature and time. What is not an answer to exactly the request that was sent is
refused. Nothing rests on the connection.

Spec: private-query-v1, clauses PQ-60 to PQ-67.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from cloister.crypto.kdf import random_bytes
from cloister.crypto.x509 import Identity, PeerCertificate
from cloister.errors import (
    ConfigError,
    MalformedError,
    RemoteProtocolError,
    TamperedError,
    UnavailableError,
    error_from_wire,
)
from cloister.inference.channel import HTTPChannel
from cloister.inference.private.binary_http import read_response, write_request
from cloister.inference.private.envelope import (
    OVERHEAD_BYTES,
    PRIVATE,
    SUITE,
    SealedRequest,
    encapsulate,
    seal_request,
)
from cloister.inference.private.gate import (
    ANSWER_TYPE,
    CODE_FIELD,
    KEYS_TARGET,
    QUERY_TARGET,
    QUERY_TYPE,
    UNKNOWN_KEY,
)
from cloister.inference.private.keys import MAX_BYTES, AnyPolicy, PrivateKeys, verify_keys
from cloister.inference.private.request_auth import NONCE_BYTES, ROOM_BYTES, Asker, Binding
from cloister.inference.service import HTTPRequest, HTTPResponse
from cloister.network.outer import connect_outer

__all__ = ["Pins", "PrivateChannel", "raise_refusal"]

_STEP_BYTES: Final = 4096  # requests are told apart by size only this coarsely
_MARGIN_S: Final = 30  # keys that end sooner are asked for again
_CONNECTIONS: Final = 16
_OVERHEAD: Final = 65536
_OK, _BAD_REQUEST, _TOO_LARGE, _BUSY = 200, 400, 413, 503
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Pins:
    """What a server must be.

    Attributes:
        ca_pem: The trust domain's CA.
        identity: Its SPIFFE ID; the instance may be `*`.
        policy: Hash of the policy that it runs under; or the reason why any will do.
    """

    ca_pem: bytes
    identity: Identity
    policy: bytes | AnyPolicy


class PrivateChannel:
    """The way to one server. Threads may share it; each exchange has a connection of its own."""

    def __init__(
        self,
        url: str,
        *,
        pins: Pins,
        asker: Asker,
        clock: Callable[[], int],
        timeout_s: float,
    ) -> None:
        """Take where to send, whom to believe, and who asks; nothing is opened yet.

        Args:
            url: `http://…` or `https://…` of the server or of anything before it; only a way.
            pins: What the server must be.
            asker: Signs each request.
            clock: Seconds since the epoch.
            timeout_s: For each exchange with what is at `url`.

        Raises:
            ConfigError: No such URL (`config.value`).
        """
        self._tls, self._address, self._prefix = _place(url)
        self._pins = pins
        self._asker = asker
        self._clock = clock
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._idle: list[HTTPChannel] = []
        self._found: tuple[PrivateKeys, PeerCertificate] | None = None

    @property
    def where(self) -> str:
        """The address, for messages."""
        return f"{self._address[0]}:{self._address[1]}"

    @property
    def peer(self) -> PeerCertificate:
        """What the server proved with its present key; asks where that has not happened."""
        return self._keys()[1]

    def answer_bytes(self, target: str) -> int:
        """Return how long answers to requests for `target` are."""
        return self._keys()[0].sizes.of(target)

    def request_bytes(self) -> int:
        """Return how long an inner request may be: a body, with its target and fields."""
        sealed = self._keys()[0].request_bytes - OVERHEAD_BYTES
        whole = sealed - sealed % _STEP_BYTES
        return max(whole - max(self._asker.before_bytes, ROOM_BYTES), 0)

    def exchange(self, request: HTTPRequest) -> HTTPResponse:
        """Return the server's answer to a request, refusals among them.

        Where the server does not have the key any more, its new one is asked for, once: whatever
        carriers do, the request is sent whole twice at most, and computed twice at most.

        Raises:
            IdentityError: The key configuration is not one of the pinned server; nothing was sent.
            TamperedError: What came back is no answer to this request (`private.answer`).
            UnavailableError: Nobody there, busy, too slow, or without the key twice in a row.
            ConfigError: The request is longer than the server takes (`config.value`).
            RemoteProtocolError: What came back is no HTTP of ours (`protocol.remote`).
        """
        answer = self._once(request)
        if answer is None:
            self._forget()
            answer = self._once(request)
        if answer is None:
            raise UnavailableError(
                "the server does not have the key that it just showed",
                code="private.keys-unknown",
                hint="a balancer between several servers has to keep a client at one of them",
            )
        return answer

    def close(self) -> None:
        """Close idle connections; the next exchange opens another."""
        with self._lock:
            idle, self._idle = self._idle, []
        for each in idle:
            each.close()

    def _once(self, request: HTTPRequest) -> HTTPResponse | None:
        """Ask with the present key; None where the server does not have it."""
        keys, _ = self._keys()
        inner = self._padded(write_request(request))
        sealed: list[SealedRequest] = []

        def make() -> HTTPRequest:
            sealed.append(self._sealed(inner, keys))
            body = sealed[-1].data
            if len(body) > keys.request_bytes:
                raise ConfigError(
                    f"the query has {len(body)} bytes, and the server takes {keys.request_bytes}",
                    code="config.value",
                )
            target = self._prefix + QUERY_TARGET
            return HTTPRequest("POST", target, {"content-type": QUERY_TYPE}, body)

        size = keys.sizes.of(request.target)
        response = self._outside(make, limit=max(size, keys.sizes.other) + _OVERHEAD)
        if response.status == _BAD_REQUEST and _is_unknown_key(response):
            return None
        _require_passed(response, self.where)
        return _opened(sealed[-1], response.body, {size, keys.sizes.other})

    def _padded(self, inner: bytes) -> bytes:
        """Return an inner request with zeros: what is sealed has one size, whoever asks."""
        before = self._asker.before_bytes
        least = max(before, ROOM_BYTES) + len(inner)
        return inner.ljust(least + -least % _STEP_BYTES - before, b"\0")

    def _sealed(self, inner: bytes, keys: PrivateKeys) -> SealedRequest:
        encapsulated = encapsulate(keys.configuration)
        key_id = keys.configuration.key_id
        signed = self._asker.sign(
            inner,
            Binding(keys.digest, key_id, encapsulated.enc),
            time=self._clock(),
            nonce=random_bytes(NONCE_BYTES),
        )
        return seal_request(
            signed.to_bytes(),
            key_id=key_id,
            suite=SUITE,
            encapsulated=encapsulated,
            purpose=PRIVATE,
        )

    def _keys(self) -> tuple[PrivateKeys, PeerCertificate]:
        at = self._clock()
        with self._lock:
            found = self._found
        if found is not None and at + _MARGIN_S < found[0].not_after and at <= found[1].not_after:
            return found
        request = HTTPRequest("GET", self._prefix + KEYS_TARGET, {}, b"")
        response = self._outside(lambda: request, limit=MAX_BYTES)
        if response.status != _OK:
            _require_passed(response, self.where)
        found = verify_keys(
            response.body,
            ca_pem=self._pins.ca_pem,
            expected=self._pins.identity,
            policy=self._pins.policy,
            at=at,
        )
        with self._lock:
            self._found = found
        return found

    def _forget(self) -> None:
        with self._lock:
            self._found = None

    def _outside(self, make: Callable[[], HTTPRequest], *, limit: int) -> HTTPResponse:
        with self._lock:
            channel = self._idle.pop() if self._idle else None
        if channel is None:
            channel = HTTPChannel(
                self._address,
                opener=lambda: connect_outer(
                    self._address, tls=self._tls, timeout_s=self._timeout_s
                ),
                timeout_s=self._timeout_s,
                max_response_bytes=limit,
            )
        channel.max_response_bytes = limit
        kept = False
        try:
            response = channel.exchange_fresh(make)
            with self._lock:
                if len(self._idle) < _CONNECTIONS:
                    self._idle.append(channel)
                    kept = True
        finally:
            if not kept:
                channel.close()
        return response


def raise_refusal(response: HTTPResponse) -> None:
    """Raise what a server's answer says instead of one, by its code; return where it says none.

    Raises:
        CloisterError: By the code.
    """
    code = response.headers.get(CODE_FIELD)
    if code is None:
        return
    try:
        record = json.loads(response.body)
        sentence = str(record["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        sentence = "no reason given"
    clean = "".join(c if c.isprintable() else " " for c in sentence[:500])
    raise error_from_wire(code, clean)


def _opened(sealed: SealedRequest, body: bytes, sizes: set[int]) -> HTTPResponse:
    plaintext = sealed.open_response(body)
    try:
        if len(plaintext) not in sizes:
            raise MalformedError("an answer of another size", code="message.malformed")
        return read_response(plaintext)
    except MalformedError as e:
        raise TamperedError(
            "what the server answered is no answer of this format", code="private.answer"
        ) from e


def _require_passed(response: HTTPResponse, where: str) -> None:
    """Raise unless what carries requests passed this one on; it is not trusted, and says why."""
    if response.status == _OK and response.headers.get("content-type") == ANSWER_TYPE:
        return
    if response.status == _BUSY:
        raise UnavailableError(f"{where} has too much to do", code="server.busy")
    if response.status == _TOO_LARGE:
        raise ConfigError(f"the query is longer than {where} takes", code="config.value")
    if response.status >= 500:  # noqa: PLR2004  # HTTP's classes
        raise UnavailableError(
            f"{where} did not pass the query on (status {response.status})",
            code="server.unreachable",
        )
    raise RemoteProtocolError(
        f"{where} answers no private queries (status {response.status})", code="protocol.remote"
    )


def _is_unknown_key(response: HTTPResponse) -> bool:
    try:
        record = json.loads(response.body[:4096])
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("type") == UNKNOWN_KEY


def _place(url: str) -> tuple[bool, tuple[str, int], str]:
    """Cut a URL into whether it is TLS, host and port, and the path before ours."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise ConfigError("not a URL", code="config.value") from e
    if parts.scheme not in _PORTS or not host or parts.query or parts.fragment:
        raise ConfigError("a server's URL is https://host or http://host", code="config.value")
    return parts.scheme == "https", (host, port or _PORTS[parts.scheme]), parts.path.rstrip("/")
