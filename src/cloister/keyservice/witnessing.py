"""Have a checkpoint cosigned by enough witnesses, and wait for none of them too long.

Nothing that a witness answers is believed: its line counts when it verifies under the key that was
configured for it. Slow, silent and lying witnesses cost their own line and nothing else.

Example::

    circle = WitnessCircle(endpoints, required=2, deadline_s=3.0)
    note = circle.cosign(note, lambda old: prove_consistency(old, size, read_node))

Spec: release-log-v1, clause RL-44; c2sp.org/tlog-witness.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from cloister.errors import ConfigError, MalformedError, UnavailableError, WitnessError
from cloister.keyservice.cosigning import Quorum, WitnessKey
from cloister.keyservice.notes import Note, NoteLine, read_decimal
from cloister.keyservice.witness import (
    ADD_CHECKPOINT_PATH,
    SIZE_MEDIA_TYPE,
    TEXT_MEDIA_TYPE,
    AddCheckpoint,
)

__all__ = ["MAX_WITNESSES", "Prover", "WitnessCircle", "WitnessEndpoint"]

MAX_WITNESSES: Final = 16
_MAX_ANSWER_BYTES: Final = 16384
_OK, _CONFLICT = 200, 409

Prover = Callable[[int], Sequence[bytes]]
"""Returns the consistency proof from an older size, 1 at least, to the checkpoint's."""


@dataclass(frozen=True, slots=True)
class WitnessEndpoint:
    """A witness: where it answers, `http://host:port` with a path if it has one, and its key."""

    url: str
    key: WitnessKey

    def __post_init__(self) -> None:
        """An address that can be spoken to."""
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme == "http" and parts.hostname and parts.port
        except ValueError:
            usable = False
        if not usable or not self.url.isprintable() or " " in self.url:
            raise ConfigError(
                f"{self.url!r} is not the address of a witness",
                code="config.value",
                hint="use http://HOST:PORT",
            )

    @classmethod
    def from_text(cls, text: str) -> WitnessEndpoint:
        """Read `<address>=<key>`.

        Raises:
            ConfigError: Not an address (`config.value`).
            MalformedError: Not a key.
        """
        url, _, key = text.partition("=")
        return cls(url, WitnessKey.from_text(key))


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of one request; a status of 0 where nothing came, with the reason as body."""

    endpoint: WitnessEndpoint
    status: int
    media_type: str
    body: bytes


class _Round:
    """One checkpoint's requests: threads that only carry bytes, and an end for all of them."""

    def __init__(self, deadline_s: float) -> None:
        """Let the round end after so many seconds."""
        self._end: Final = time.monotonic() + deadline_s
        self._answers: Final[queue.SimpleQueue[_Answer]] = queue.SimpleQueue()
        self._sockets: Final[list[socket.socket]] = []
        self._lock: Final = threading.Lock()
        self._over = False

    def next(self, *, wait: bool) -> _Answer | None:
        """Return the next answer; None when there is none yet, or with `wait` none in time."""
        left = max(self._end - time.monotonic(), 0.0) if wait else 0.0
        try:
            return self._answers.get(timeout=left) if left else self._answers.get_nowait()
        except queue.Empty:
            return None

    def carry(self, endpoint: WitnessEndpoint, body: bytes, done: Callable[[], None]) -> None:
        """Carry one request and put what came of it; runs in a thread of its own."""
        try:
            answer = self._post(endpoint, body)
        except (OSError, http.client.HTTPException, ValueError) as e:
            answer = _Answer(endpoint, 0, "", repr(e).encode())
        done()
        self._answers.put(answer)

    def end(self) -> None:
        """Wake every thread that still waits for a witness."""
        with self._lock:
            self._over = True
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _post(self, endpoint: WitnessEndpoint, body: bytes) -> _Answer:
        parts = urlsplit(endpoint.url)
        left = max(self._end - time.monotonic(), 0.001)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=left)
        with contextlib.closing(connection):
            connection.connect()
            self._watch(connection.sock)
            path = parts.path.rstrip("/") + ADD_CHECKPOINT_PATH
            connection.request("POST", path, body, {"Content-Type": TEXT_MEDIA_TYPE})
            answer = connection.getresponse()
            data = answer.read(_MAX_ANSWER_BYTES)
            return _Answer(endpoint, answer.status, answer.getheader("Content-Type", ""), data)

    def _watch(self, connection: socket.socket) -> None:
        with self._lock:
            if self._over:
                raise TimeoutError("the round is over")
            self._sockets.append(connection)


class WitnessCircle:
    """Some witnesses, of whom a number is required; remembers how far each has seen the log.

    Calls one at a time: the caller serialises.
    """

    def __init__(
        self, endpoints: Sequence[WitnessEndpoint], *, required: int, deadline_s: float
    ) -> None:
        """Take the witnesses, how many of them a checkpoint needs, and how long it may take.

        Raises:
            ConfigError: The number cannot be met, a key stands twice, or there are too many.
        """
        if len(endpoints) > MAX_WITNESSES:
            raise ConfigError(
                f"a checkpoint has room for {MAX_WITNESSES} witnesses", code="config.value"
            )
        self.quorum: Final = Quorum(tuple(each.key for each in endpoints), required)
        self._endpoints: Final = tuple(endpoints)
        self._deadline_s: Final = deadline_s
        self._sizes: Final[dict[WitnessEndpoint, int]] = {}
        self._busy: Final[set[WitnessEndpoint]] = set()

    def cosign(self, note: str, prove: Prover) -> str:
        """Return the note with the lines of at least the required number of witnesses.

        Args:
            note: Our own signed checkpoint.
            prove: Proves that its tree extends an older one; called in this thread only.

        Raises:
            UnavailableError: Too few cosigned before the deadline (`keyservice.witnesses`).
        """
        parsed = Note.from_text(note)
        size = read_decimal(parsed.body.split("\n")[1])
        current = _Round(self._deadline_s)
        lines: dict[WitnessEndpoint, NoteLine] = {}
        reasons = dict.fromkeys(self._endpoints, "no answer in time")

        def ask(endpoint: WitnessEndpoint, old: int) -> int:
            request = AddCheckpoint(old, tuple(prove(old)) if old else (), note)
            return self._start(current, endpoint, request.to_bytes(), reasons)

        try:
            known = {each: min(self._sizes.get(each, 0), size) for each in self._endpoints}
            asked = sum(ask(endpoint, old) for endpoint, old in known.items())
            again: set[WitnessEndpoint] = set()
            while asked and (answer := current.next(wait=len(lines) < self.quorum.required)):
                asked -= 1
                endpoint, held = answer.endpoint, _held_size(answer)
                if held is not None and held <= size and endpoint not in again:
                    again.add(endpoint)
                    asked += ask(endpoint, held)
                elif (line := _line_of(answer, parsed)) is not None:
                    lines[endpoint], self._sizes[endpoint] = line, size
                else:
                    reasons[endpoint] = _reason(answer)
        finally:
            current.end()
        if len(lines) < self.quorum.required:
            missing = {each: why for each, why in reasons.items() if each not in lines}
            raise _too_few(self.quorum, len(lines), missing)
        return Note(parsed.body, (*parsed.lines, *lines.values())).to_text()

    def _start(
        self,
        current: _Round,
        endpoint: WitnessEndpoint,
        body: bytes,
        reasons: dict[WitnessEndpoint, str],
    ) -> int:
        """Start one request, unless that witness still has one; returns how many were started."""
        if endpoint in self._busy:
            reasons[endpoint] = "still busy with an earlier request"
            return 0
        self._busy.add(endpoint)
        arguments = (endpoint, body, lambda: self._busy.discard(endpoint))
        threading.Thread(target=current.carry, args=arguments, daemon=True).start()
        return 1


def _held_size(answer: _Answer) -> int | None:
    """Return the size that a witness says it holds; None where it says something else."""
    media_type = answer.media_type.partition(";")[0].strip()
    if answer.status != _CONFLICT or media_type != SIZE_MEDIA_TYPE:
        return None
    try:
        return read_decimal(answer.body.decode("ascii", "replace").removesuffix("\n"))
    except MalformedError:
        return None


def _line_of(answer: _Answer, note: Note) -> NoteLine | None:
    """Return the witness's line for this note, verified; None where there is none."""
    key = answer.endpoint.key
    if answer.status != _OK:
        return None
    try:
        found = [NoteLine.from_text(text) for text in answer.body.decode().split("\n")[:-1]]
        ours = [line for line in found if (line.name, line.key_id) == (key.name, key.id)][:1]
        return ours[0] if key.verify(Note(note.body, tuple(ours))) else None
    except (MalformedError, WitnessError, UnicodeDecodeError):
        return None


def _reason(answer: _Answer) -> str:
    """Say for the operator's log why a witness's answer did not count."""
    held = _held_size(answer)
    if held is not None:
        return f"holds {held} entries"
    if answer.status == _OK:
        return "its line does not hold"
    if answer.status:
        return f"answered {answer.status}"
    return f"cannot be reached: {answer.body.decode()}"


def _too_few(quorum: Quorum, count: int, reasons: dict[WitnessEndpoint, str]) -> UnavailableError:
    said = "; ".join(f"{each.key.name}: {reason}" for each, reason in reasons.items())
    return UnavailableError(
        f"{count} of {len(quorum.witnesses)} witnesses cosigned the log in time, and "
        f"{quorum.required} are required",
        code="keyservice.witnesses",
        detail=said,
        hint=f"see to those that did not: {said}",
    )
