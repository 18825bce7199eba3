"""Ask sources: from the cache where it has what counts, once for all who ask, and with patience.

Whoever asks the same at the same time gets the same answer: threads wait for one flight, processes
for one lock. A source that is busy or away is asked again, less and less often, within a limit; one
that says when to come back is left alone until then by everybody who shares the cache.

Spec: endorsement-sources-v1, clauses ES-6 to ES-12.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

from cloister.crypto.kdf import random_bytes
from cloister.endorsing.cache import Cache, entry_name
from cloister.endorsing.questions import Answer, Question
from cloister.endorsing.services import Service, Services
from cloister.errors import (
    EndorsementError,
    MalformedError,
    RemoteProtocolError,
    UnavailableError,
)
from cloister.network.https import Response

__all__ = ["Asking", "Patience", "Send", "World", "retry_after_s"]

_OK, _NOT_FOUND, _TOO_MANY, _AWAY = 200, 404, 429, 503
_SERVER: Final = 500
_REDIRECTIONS: Final = range(300, 400)
_HALF: Final = 2


class Send(Protocol):
    """Sends one request; `network.https.ask`."""

    def __call__(
        self,
        address: tuple[str, int],
        target: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None,
        authorities: bytes | None,
        timeout_s: float,
        max_bytes: int,
    ) -> Response:
        """Return the answer."""
        ...


def _chance() -> float:
    return int.from_bytes(random_bytes(4)) / 2**32


@dataclass(frozen=True, slots=True)
class World:
    """What time does to a process.

    Attributes:
        now: Seconds since the epoch.
        uptime: Seconds by a clock that never goes back.
        sleep: Waits.
        chance: From 0 to 1, so that many who failed together do not come back together.
    """

    now: Callable[[], int] = lambda: int(time.time())  # noqa: TID251  # the edge
    uptime: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = _chance


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited.

    Attributes:
        request_s: For one request.
        total_s: For one question, with all that is asked again.
        attempts: How often at most.
        first_s: The first pause; each is twice as long as the one before, and random down to half.
        longest_s: The longest pause of our own choice.
    """

    request_s: float = 20.0
    total_s: float = 120.0
    attempts: int = 6
    first_s: float = 1.0
    longest_s: float = 30.0

    def pause_s(self, attempt: int, chance: float) -> float:
        """Return the pause after an attempt, the first of which is 1."""
        whole = min(self.first_s * 2.0 ** (attempt - 1), self.longest_s)
        return whole * (1 + chance) / _HALF


@dataclass(frozen=True, slots=True)
class _Later:
    """Why there is no answer yet, and when the source wants to be asked again."""

    error: UnavailableError
    after_s: float | None


class Asking:
    """Asks sources on behalf of one process; its threads may share it."""

    def __init__(
        self,
        services: Services,
        cache: Cache,
        *,
        send: Send,
        authorities: bytes | None,
        world: World = World(),
        patience: Patience = Patience(),
        offline: bool = False,
        anew: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Take what it needs.

        Args:
            services: Who is asked.
            cache: Where answers are kept.
            send: Reaches a server.
            authorities: PEM of those that may certify the servers; None for this machine's.
            world: Clocks.
            patience: Limits.
            offline: Whether nobody is asked: only what the cache has counts.
            anew: Whether nothing counts that the cache had before.
            tell: Is told in words what takes long.
        """
        self._services = services
        self._cache = cache
        self._send = send
        self._authorities = authorities
        self._world = world
        self._patience = patience
        self._offline = offline
        self._since: Final = world.now() if anew else 0
        self._tell = tell
        self._guard = threading.Lock()
        self._flights: dict[str, Future[Answer]] = {}

    def answer(self, question: Question) -> Answer:
        """Return an answer that counts now.

        Raises:
            UnavailableError: The source is away or busy (`server.unreachable`, `server.busy`), gave
                what does not count now (`endorsement.stale`), or may not be asked
                (`endorsement.missing`).
            RemoteProtocolError: It does not have this, or answered something else
                (`endorsement.source`, `protocol.remote`).
            IdentityError: No accepted authority certifies it (`identity.tls`).
            ConfigError: The cache cannot be used.
        """
        service = self._services.found[question.service]
        url = service.url(question.target)
        name = entry_name(url, question.post.identity if question.post else b"")
        with self._guard:
            flight = self._flights.get(name)
            mine = flight is None
            if flight is None:
                flight = self._flights[name] = Future()
        if not mine:
            return flight.result()
        try:
            found = self._answer(question, service, name)
        except BaseException as e:
            flight.set_exception(e)
            raise
        else:
            flight.set_result(found)
            return found
        finally:
            with self._guard:
                del self._flights[name]

    def _answer(self, question: Question, service: Service, name: str) -> Answer:
        kept = self._kept(question, service, name)
        if kept is not None:
            return kept
        if self._offline:
            raise UnavailableError(
                f"the cache has no {question.about} that counts now",
                code="endorsement.missing",
                hint="ask without --offline",
            )
        deadline = self._world.uptime() + self._patience.total_s

        def left() -> float:
            return deadline - self._world.uptime()

        with self._cache.lock(name, left=left, sleep=self._world.sleep):
            # Another process may have asked while this one waited.
            kept = self._kept(question, service, name)
            if kept is None:
                kept = self._ask(question, service, left)
                self._cache.write(name, kept)
            return kept

    def _kept(self, question: Question, service: Service, name: str) -> Answer | None:
        """Return what the cache has, if it answers the question and counts now."""
        kept = self._cache.read(name)
        now = self._world.now()
        if kept is None or kept.url != service.url(question.target):
            return None
        if not self._since <= kept.at <= now:
            return None
        try:
            return kept if question.judge(kept).holds(now) else None
        except (MalformedError, EndorsementError):
            return None

    def _ask(self, question: Question, service: Service, left: Callable[[], float]) -> Answer:
        attempt = 0
        while True:
            self._wait_for(service, left)
            found = self._once(question, service, left())
            if isinstance(found, Answer):
                return found
            attempt += 1
            pause = self._patience.pause_s(attempt, self._world.chance())
            if found.after_s is not None:
                pause = max(found.after_s, pause)
                self._cache.pause(service.host, now=self._world.now(), for_s=pause)
            if attempt >= self._patience.attempts or pause >= left():
                raise found.error
            again = f"asking for {question.about} again in {pause:.0f} s"
            self._tell(f"{service.host} is busy or away: {again}")
            self._world.sleep(pause)

    def _wait_for(self, service: Service, left: Callable[[], float]) -> None:
        """Leave a host alone that asked for it, by whomever of those who share the cache."""
        now = self._world.now()
        until = self._cache.paused(service.host, now=now)
        if not until:
            return
        if until - now >= left():
            raise _busy(service, until - now)
        self._tell(f"{service.host} asked to be left alone for {until - now} s")
        self._world.sleep(until - now)

    def _once(self, question: Question, service: Service, left_s: float) -> Answer | _Later:
        post = question.post
        headers = {"Accept": "*/*", "User-Agent": "cloister"}
        if post is not None:
            headers["Content-Type"] = post.media_type
        try:
            response = self._send(
                (service.host, service.port),
                service.path + question.target or "/",
                headers,
                body=None if post is None else post.body,
                authorities=self._authorities,
                timeout_s=min(self._patience.request_s, max(left_s, 0.001)),
                max_bytes=question.max_bytes,
            )
        except UnavailableError as e:
            return _Later(e, None)
        if response.status == _OK:
            return self._read(question, service, response)
        return self._refused(question, service, response)

    def _refused(self, question: Question, service: Service, response: Response) -> _Later:
        """Say what an answer without content means; raise where asking again changes nothing."""
        if response.status in (_TOO_MANY, _AWAY):
            said = next((text for name, text in response.headers if name == "retry-after"), "")
            after_s = retry_after_s(said, now=self._world.now())
            return _Later(_busy(service, after_s), after_s)
        if response.status >= _SERVER:
            error = UnavailableError(
                f"{service.host} fails (status {response.status})", code="server.unreachable"
            )
            return _Later(error, None)
        hint = "follow no redirections: name the address itself with --source"
        if response.status not in _REDIRECTIONS:
            hint = "check what is asked for, and --source"
        known = "does not have" if response.status == _NOT_FOUND else "does not give"
        raise RemoteProtocolError(
            f"{service.host} {known} {question.about} (status {response.status})",
            code="endorsement.source",
            hint=hint,
        )

    def _read(self, question: Question, service: Service, response: Response) -> Answer:
        answer = Answer(
            url=service.url(question.target),
            at=self._world.now(),
            headers=tuple(each for each in response.headers if each[0] in question.headers),
            body=response.body,
        )
        try:
            window = question.judge(answer)
            if question.post is not None:
                question.post.require_fresh(answer.body)
        except (MalformedError, EndorsementError) as e:
            raise RemoteProtocolError(
                f"{service.host} answered something else than {question.about}",
                code="endorsement.source",
                detail=f"{e.public} {e.detail or ''}".strip(),
            ) from e
        if not window.holds(answer.at):
            raise UnavailableError(
                f"{service.host} gave {question.about} that does not count now",
                code="endorsement.stale",
                detail=f"{window.start} to {window.end}, not {answer.at}",
                hint="check this machine's clock; another source may have it newer",
            )
        return answer


def retry_after_s(text: str, *, now: int) -> float:
    """Return how long to wait, from a `Retry-After` header (RFC 9110, 10.2.3); 0 where it is none.

    Args:
        text: Untrusted; empty where there was none.
        now: Seconds since the epoch.
    """
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return max(0.0, when.timestamp() - now)


def _busy(service: Service, after_s: float) -> UnavailableError:
    return UnavailableError(
        f"{service.host} has more to do than it accepts",
        code="server.busy",
        hint=f"try again in {after_s:.0f} s" if after_s else "try again later",
    )
