"""Fetch what policies want from other stores: in threads, beside the loop that decides.

A slow, lying or dead store delays nobody but those who wait for its values: threads do nothing but
fetch, at most `MAX_AT_ONCE` of them and one for each tenant, each within `FETCH_TIMEOUT_S`. What
failed is tried again, less and less often. Only addresses that the operator allowed are reached.

Spec: external-secret-v1, clauses EXT-35 to EXT-39; secret-export-v1, clause EXP-40.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from cloister.errors import CloisterError, LocalProtocolError, TamperedError, UnavailableError
from cloister.keyservice.clock import Clock
from cloister.keyservice.external_secrets import Errand, ExternalSecrets
from cloister.keyservice.importing import Importer
from cloister.keyservice.kv2 import MAX_ANSWER_BYTES, kv2_headers, kv2_target, kv2_value
from cloister.keyservice.policy.secret_rules import ExternalForm, RemoteForm
from cloister.keyservice.source_messages import read_address, require_allowed
from cloister.keyservice.source_records import Fetched, Refusal, ServiceSource, SourceRecord

__all__ = ["FETCH_TIMEOUT_S", "MAX_AT_ONCE", "Fetching", "Get", "fetch"]

FETCH_TIMEOUT_S: Final = 10.0
MAX_AT_ONCE: Final = 8
_TICK_S: Final = 0.5
_FIRST_PAUSE_S: Final = 2.0
_LAST_PAUSE_S: Final = 60.0
_LOG: Final = logging.getLogger(__name__)


class Get(Protocol):
    """Asks a server that a pinned authority certifies for one resource; `network.https.get`."""

    def __call__(
        self,
        address: tuple[str, int],
        target: str,
        headers: Mapping[str, str],
        *,
        ca_pem: bytes,
        timeout_s: float,
        max_bytes: int,
    ) -> tuple[int, bytes]:
        """Return status and body."""
        ...


@dataclass(frozen=True, slots=True)
class _Retry:
    """When to try an errand again, by the uptime, and how long to wait after that."""

    at: float
    pause_s: float


def fetch(
    errand: Errand, get: Get, importer: Importer, *, allowed: frozenset[str]
) -> Fetched | Refusal:
    """Return a value as its source has it now, or another key service's signed refusal.

    Args:
        errand: What and where.
        get: Reaches a vault.
        importer: Asks another key service.
        allowed: Addresses that whoever runs this service allows.

    Raises:
        ReleaseDeniedError: The address is none of those (`source.address`); nothing was sent.
        CloisterError: By `get` and `kv2_value`, or by `Importer.fetch`.
    """
    source, form = errand.source, errand.wanted.form
    if isinstance(source, ServiceSource) and isinstance(form, RemoteForm):
        return importer.fetch(
            errand.wanted, form, source, allowed=allowed, timeout_s=FETCH_TIMEOUT_S
        )
    if not isinstance(source, SourceRecord) or not isinstance(form, ExternalForm):
        raise LocalProtocolError("a source of another kind", code="protocol.local")
    require_allowed(source.address, allowed)
    status, body = get(
        read_address(source.address),
        kv2_target(form),
        kv2_headers(source.token),
        ca_pem=source.ca,
        timeout_s=FETCH_TIMEOUT_S,
        max_bytes=MAX_ANSWER_BYTES,
    )
    return Fetched(kv2_value(status, body, form), until=0)


class Fetching:
    """The errands of one service. All of it but `fetch` runs in the service's own loop."""

    def __init__(
        self,
        external: ExternalSecrets,
        *,
        settle: Callable[[Callable[[], None]], None],
        get: Get,
        importer: Importer,
        allowed: frozenset[str],
        clock: Clock,
        stop: Callable[[], None],
    ) -> None:
        """Take what it needs.

        Args:
            external: Says what is wanted, and keeps what was fetched.
            settle: Makes a change of the service durable, as between two groups of requests.
            get: Reaches a vault.
            importer: Asks another key service.
            allowed: `HOST:PORT` of those that may be reached.
            clock: Time and uptime.
            stop: Ends the server, when its state cannot be trusted any more.
        """
        self._external = external
        self._settle = settle
        self._get = get
        self._importer = importer
        self._allowed = allowed
        self._clock = clock
        self._stop = stop
        self._busy: set[str] = set()
        self._retries: dict[Errand, _Retry] = {}

    async def run(self) -> None:
        """Fetch until cancelled."""
        while True:
            self.start_due()
            await asyncio.sleep(_TICK_S)

    def start_due(self) -> None:
        """Start the errands whose time has come, those that waited longest first."""
        errands = self._external.errands()
        never = _Retry(0.0, _FIRST_PAUSE_S)
        self._retries = {each: self._retries.get(each, never) for each in errands}
        for errand in sorted(errands, key=lambda each: self._retries[each].at):
            now = self._clock()
            due = self._retries[errand].at <= now.uptime and errand.due <= now.at
            if due and errand.tenant not in self._busy and len(self._busy) < MAX_AT_ONCE:
                loop = asyncio.get_running_loop()
                # A daemon: a store that does not answer must not keep the service from ending.
                threading.Thread(target=self._work, args=(errand, loop), daemon=True).start()
                self._busy.add(errand.tenant)

    def _work(self, errand: Errand, loop: asyncio.AbstractEventLoop) -> None:
        """Fetch, in a thread of its own, which touches nothing of the service."""
        outcome: Fetched | Refusal | CloisterError = UnavailableError(
            "fetching ended unexpectedly", code="server.unreachable"
        )
        try:
            outcome = fetch(errand, self._get, self._importer, allowed=self._allowed)
        except CloisterError as e:
            outcome = e
        finally:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._done, errand, outcome)

    def _done(self, errand: Errand, outcome: Fetched | Refusal | CloisterError) -> None:
        self._busy.discard(errand.tenant)
        label = errand.wanted.label
        try:
            if isinstance(outcome, CloisterError):
                raise outcome
            self._settle(partial(self._conclude, errand, outcome))
            if isinstance(outcome, Refusal):
                raise outcome.error
        except TamperedError as e:
            _LOG.error("external.failed secret=%s code=%s detail=%s", label, e.code, e.detail)
            self._stop()
        except CloisterError as e:
            _LOG.info("external.failed secret=%s code=%s", label, e.code)
            self._external.note_trouble(errand, code=e.code, message=e.public)
            pause_s = self._retries.get(errand, _Retry(0.0, _FIRST_PAUSE_S)).pause_s
            self._retries[errand] = _Retry(
                self._clock().uptime + pause_s, min(2 * pause_s, _LAST_PAUSE_S)
            )
        else:
            _LOG.info("external.fetched secret=%s", label)

    def _conclude(self, errand: Errand, outcome: Fetched | Refusal) -> None:
        """Make of an answer what becomes durable."""
        if isinstance(outcome, Refusal):
            self._external.refused(errand, self._clock(), code=outcome.error.code)
        else:
            self._external.keep(errand, outcome, self._clock())
