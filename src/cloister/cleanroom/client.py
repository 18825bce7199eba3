"""Ask a clean room's model, after it has proved that it keeps the terms.

Example::

    from cloister.cleanroom import client

    room = client.connect("https://10.0.0.7:8443", terms="terms.cbor", trust="trust.json",
                          principal="clinic", key=my_key)
    print(room.ask(record).labels)

What must hold before a byte is sent: both owners signed the terms, the authority is that of the
terms' namespace or key service, and the server's certificate is of that authority, and of the role
`query` of exactly the policy that follows from the terms. There is no way to ask another.

Spec: cleanroom-query-v1, clauses CQ-50 to CQ-53.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from cloister.cleanroom.agreement import Room, load_room, read_bounded
from cloister.cleanroom.query_message import (
    ALPN,
    CODE_OF,
    GREETING_BYTES,
    Answer,
    Ask,
    Greeting,
    Outcome,
    QueryRules,
    Request,
    Session,
    Standing,
)
from cloister.cleanroom.room_policy import QUERY, policy_of
from cloister.crypto.signature import SigningKey
from cloister.crypto.x509 import Identity, PeerCertificate
from cloister.errors import (
    ConfigError,
    IdentityError,
    MalformedError,
    RemoteProtocolError,
    UnavailableError,
    error_from_wire,
)
from cloister.keyservice.policy import parse_policy, policy_hash
from cloister.network.tls import Connection, client_context, transfer_error
from cloister.network.tls import connect as connect_tls

__all__ = ["Labels", "RoomClient", "Tally", "connect"]

_MAX_TRUST_BYTES: Final = 65536
_SENTENCES: Final = {
    Outcome.PRINCIPAL: "the room does not know this principal by this key",
    Outcome.MALFORMED: "the record is none that the terms describe",
    Outcome.SPENT: "no query is left",
    Outcome.COPYING: "the room answers no more: these queries look like copying its model",
    Outcome.BUSY: "an answer to this principal is still on its way",
    Outcome.LATE: "there was no time to begin; nothing was spent",
    Outcome.UNCOUNTED: "the key service could not be asked to count the query",
    Outcome.FAILED: "there was no answer in time; the query may be spent",
}


@dataclass(frozen=True, slots=True)
class Labels:
    """An answer.

    Attributes:
        labels: The most likely first.
        scores: As many, rounded as the terms say; None where they give none.
        left: Queries that are left.
    """

    labels: tuple[int, ...]
    scores: tuple[float, ...] | None
    left: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How a principal stands.

    Attributes:
        left: Queries that are left.
        standing: What the enclave has counted since it began; zeros for all but the owners.
    """

    left: int
    standing: Standing


class RoomClient:
    """A connection to a room's query enclave. Threads may share it; queries go one at a time."""

    def __init__(
        self,
        connection: Connection,
        room: Room,
        *,
        principal: str,
        key: SigningKey,
        timeout_s: float,
    ) -> None:
        """Take over a connection whose server was judged; `connect` makes it.

        Raises:
            IdentityError: The greeting is of other terms (`identity.peer`).
            UnavailableError: There was none.
        """
        self._connection = connection
        self._rules = QueryRules.of(room)
        self._principal = principal
        self._key = key
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._number = 0
        self._broken = False
        where = connection.getpeername()
        self._where = f"{where[0]}:{where[1]}"
        greeting = self._read_greeting()
        if greeting.room != self._rules.room:
            raise IdentityError("the server keeps other terms", code="identity.peer")
        self._nonce = greeting.nonce

    @property
    def peer(self) -> PeerCertificate:
        """What the enclave proved: identity, policy hash, whether hardware vouches for it."""
        return self._connection.peer

    def ask(self, record: npt.ArrayLike) -> Labels:
        """Return what the model says of one record; it costs one query.

        Args:
            record: Of the terms' shape; whole numbers of 8 bits are taken as 0 to 1, as in shards.

        Raises:
            ConfigError: The record has another shape, or numbers that are none (`config.value`).
            CloisterError: What the room says instead of an answer, by its code.
            UnavailableError: The enclave is gone, or too slow.
        """
        answer = self._exchange(Ask.LABELS, self._principal, self._octets(record))
        if answer.left is None or not answer.labels:
            raise RemoteProtocolError("an answer without labels", code="protocol.remote")
        scores = None
        if self._rules.kind == "rounded":
            unit: int = 10**self._rules.digits
            scores = tuple(score / unit for score in answer.scores)
        return Labels(answer.labels, scores, answer.left)

    def standing(self, principal: str | None = None) -> Tally:
        """Return what is left, without spending any.

        Args:
            principal: Somebody else, where an owner's key asks.

        Raises:
            CloisterError: As from `ask`.
        """
        empty = bytes(self._rules.record_bytes)
        answer = self._exchange(Ask.STANDING, principal or self._principal, empty)
        if answer.left is None or answer.labels:
            raise RemoteProtocolError("an answer to something else", code="protocol.remote")
        return Tally(answer.left, answer.standing)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Use it as a context."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up."""
        self.close()

    def _octets(self, record: npt.ArrayLike) -> bytes:
        found = np.asarray(record)
        if found.shape != self._rules.shape or found.dtype.kind not in "iuf":
            raise ConfigError(
                f"a record of {found.dtype} and shape {found.shape}; "
                f"the terms say {self._rules.shape}",
                code="config.value",
            )
        numbers = found.astype("<f4")
        if found.dtype == np.uint8:
            numbers /= np.float32(255)
        if not np.isfinite(numbers).all():
            raise ConfigError("a record holds what is not a number", code="config.value")
        return numbers.tobytes()

    def _exchange(self, ask: Ask, principal: str, record: bytes) -> Answer:
        with self._lock:
            if self._broken:
                raise UnavailableError(
                    "this connection is of no use any more", code="server.unreachable"
                )
            session = Session(self._rules.room, self.peer.identity.uri, self._nonce, self._number)
            request = Request.make(ask, session, principal=principal, record=record, key=self._key)
            self._broken = True  # until there is a whole answer
            deadline = time.monotonic() + self._timeout_s
            try:
                self._connection.settimeout(self._timeout_s)
                self._connection.sendall(request.to_bytes())
            except OSError as e:
                raise transfer_error(e, where=self._where) from e
            data = self._receive(self._rules.answer_bytes, deadline)
            try:
                answer = Answer.from_bytes(data, self._rules)
            except MalformedError as e:
                raise RemoteProtocolError(e.public, code="protocol.remote") from e
            if answer.number != session.number:
                raise RemoteProtocolError("an answer to another request", code="protocol.remote")
            self._number += 1
            self._broken = False
        if answer.outcome is not Outcome.ANSWERED:
            raise error_from_wire(CODE_OF[answer.outcome], _SENTENCES[answer.outcome])
        return answer

    def _read_greeting(self) -> Greeting:
        data = self._receive(GREETING_BYTES, time.monotonic() + self._timeout_s)
        try:
            return Greeting.from_bytes(data)
        except MalformedError as e:
            raise RemoteProtocolError(e.public, code="protocol.remote") from e

    def _receive(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise UnavailableError(
                    f"the room at {self._where} takes too long", code="server.unreachable"
                )
            try:
                self._connection.settimeout(left)
                piece = self._connection.recv(size - len(data))
            except OSError as e:
                raise transfer_error(e, where=self._where) from e
            if not piece:
                raise UnavailableError(
                    f"the room at {self._where} closed the connection", code="server.unreachable"
                )
            data += piece
        return bytes(data)


def connect(
    url: str,
    *,
    terms: str | Path | Room,
    trust: str | Path,
    principal: str,
    key: SigningKey,
    timeout_s: float = 60.0,
) -> RoomClient:
    """Connect to a room's query enclave, and return when it has proved what it is.

    Args:
        url: `https://host:port`; only a way to get there.
        terms: The room's signed terms (`code/terms.cbor`).
        trust: The room's `trust.json`, from an owner; or, where the room's namespace has no
            authority of its own, the trust domain's `domain.json`.
        principal: The name that the terms give to the key.
        key: The principal's; an owner's, to look at how others stand.
        timeout_s: For connecting, and for each answer.

    Raises:
        ConfigError: An argument that cannot be meant.
        IdentityError: Not both owners signed the terms; or the server is not of the terms' domain,
            role or policy.
        UnavailableError: Nobody there, or too slow.
    """
    room = terms if isinstance(terms, Room) else load_room(Path(terms))
    name, ca = _authority(Path(trust), room)
    agreed = room.terms
    expected = Identity(name, agreed.namespace, agreed.name, QUERY, "*")
    policy = policy_hash(parse_policy(policy_of(room.agreement).encode(), source="the room"))
    context = client_context(ca_pem=ca, expected=expected, credential=None, clock=_now, alpn=ALPN)
    connection = connect_tls(_address(url), context=context, timeout_s=timeout_s, alpn=ALPN)
    try:
        if connection.peer.policy_hash != policy:
            raise IdentityError(
                "the server runs under another policy than the one of these terms",
                code="identity.peer",
            )
        return RoomClient(connection, room, principal=principal, key=key, timeout_s=timeout_s)
    except BaseException:
        connection.close()
        raise


def _authority(path: Path, room: Room) -> tuple[str, bytes]:
    """Return name and authority that the room's certificates have, from a file that fits it."""
    wrong = ConfigError(f"{path} says no authority", code="config.file")
    try:
        facts = json.loads(read_bounded(path, _MAX_TRUST_BYTES))
        name, ca = facts["name"], facts["ca"]
        # A room's own file says of which namespace it is; a trust domain's, whose service's.
        scope = facts["namespace"] if "namespace" in facts else facts["identity"]
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise wrong from e
    if not (isinstance(name, str) and isinstance(ca, str) and isinstance(scope, str)):
        raise wrong
    agreed = room.terms
    if "namespace" in facts:
        fits = scope and f"{agreed.namespace}/".startswith(f"{scope}/")
    else:
        fits = scope == agreed.service
    if not fits:
        raise IdentityError(
            f"{path} is of {scope}, and the terms are of {agreed.namespace} at {agreed.service}",
            code="identity.peer",
        )
    return name, ca.encode()


def _address(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise ConfigError("not a URL", code="config.value") from e
    if parts.scheme != "https" or not host or port is None or parts.path not in {"", "/"}:
        raise ConfigError("a room's URL is https://host:port", code="config.value")
    return host, port


def _now() -> int:
    return int(time.time())  # noqa: TID251  # the caller's process is this module's edge
