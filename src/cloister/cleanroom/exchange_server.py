"""The server's side of the exchange: sockets, threads and a clock around the coordinator.

One thread keeps the time: a little before each tick it adds what waits and writes the answers, and
at the tick lets them go, one to each trainer that is connected. Each connection has a thread that
reads and one that sends, so that a trainer that is slow or gone holds up nobody. Whatever a
connection brings, its end is all that it brings about.

Spec: training-round-v1, clauses TR-40 to TR-49.
"""

from __future__ import annotations

import logging
import math
import queue
import socket
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from cloister.cleanroom.checkpoint import Checkpoint
from cloister.cleanroom.coordinator import Coordinator
from cloister.cleanroom.exchange_link import Link, Now
from cloister.cleanroom.exchange_message import message_bytes, read_message, write_message
from cloister.cleanroom.round_rules import MAX_TRAINERS, RoundRules
from cloister.cleanroom.schedule import Ticker
from cloister.cleanroom.speakers import Speakers
from cloister.errors import CloisterError

__all__ = ["ExchangeServer", "Job", "Keep"]

_LOG: Final = logging.getLogger("cloister.cleanroom")
_LEAD_S: Final = 0.2
_GREETING_S: Final = 30.0
_STALLED_S: Final = 30.0
_LINGER_S: Final = 5.0
_OTHERS_S: Final = 2.0
_AGAIN_S: Final = 0.2
_STRANGERS: Final = 2 * MAX_TRAINERS
_WAITING: Final = 4  # jobs that wait to be done

Keep = Callable[[Checkpoint], None]
Job = Callable[[], None]


class _Line:
    """One trainer's connection: a buffer that is written, then let go, then sent."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.welcome = True
        self.stalled = 0
        self._go = threading.Event()
        self._free = threading.Event()
        self._free.set()
        self._ready = False
        self.sender = threading.Thread(target=self._send, name="room-out", daemon=True)
        self.sender.start()

    @property
    def free(self) -> bool:
        """Whether the message before is sent."""
        return self._free.is_set()

    def ready(self) -> None:
        """Say that the buffer holds a message."""
        self._ready = True
        self._free.clear()

    def go(self) -> None:
        """Send it now."""
        if self._ready:
            self._ready = False
            self._go.set()

    def close(self) -> None:
        """End the connection and its threads."""
        self.link.end()
        self._go.set()
        self.sender.join()
        self.link.close()

    def _send(self) -> None:
        while not self.link.ended:
            self._go.wait()
            self._go.clear()
            if not self.link.send():
                self.link.end()
            self._free.set()


class ExchangeServer:
    """Serves one life of a room's parameters, from the first trainer to the schedule's end."""

    def __init__(
        self,
        listener: socket.socket,
        coordinator: Coordinator,
        rules: RoundRules,
        *,
        speakers: Speakers,
        keep: Keep,
        job: Callable[[Coordinator], Job | None],
        now: Now = time.monotonic,
    ) -> None:
        """Take what to listen on, who decides, and where checkpoints go.

        Args:
            listener: A listening stream socket; stays the caller's.
            coordinator: New, or resumed.
            rules: Of the room.
            speakers: Tells by a connection's address whether a trainer may be who it says.
            keep: Makes a checkpoint safe, or raises a `CloisterError`.
            job: Asked at every tick for something else to be written, which is done beside the
                exchange; it may raise a `CloisterError` too.
            now: A clock that only goes on.
        """
        self._listener = listener
        self._coordinator = coordinator
        self._rules = rules
        self._speakers = speakers
        self._keep = keep
        self._job = job
        self._now = now
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._lines: dict[int, _Line] = {}
        self._said: dict[int, tuple[int, float]] = {}
        self._ticker: Ticker | None = None
        self._strangers = 0
        self._links: dict[Link, threading.Thread] = {}
        self._jobs: queue.Queue[Job | None] = queue.Queue(_WAITING)
        self.jobs_lost = 0

    def serve(self) -> None:
        """Keep the schedule until its end, then end every connection.

        Raises:
            CloisterError: The first checkpoint, which says that this life has begun, was not kept:
                nothing has been told to anybody.
        """
        first = self._coordinator.snapshot()
        self._keep(first)
        self._coordinator.kept(first)
        accepting = threading.Thread(target=self._accept, name="room-accept", daemon=True)
        keeping = threading.Thread(target=self._keep_all, name="room-keep", daemon=True)
        accepting.start()
        keeping.start()
        try:
            self._keep_time(self._begin())
            self._linger()
        finally:
            self._stop.set()
            self._jobs.put(None)
            keeping.join()
            accepting.join()
            self._end_all()

    def stop(self) -> None:
        """End it before its time, as a test does."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def _begin(self) -> Ticker:
        """Wait for the trainers, as long as the terms say, and return the time.

        A later life waits for a moment only, once a trainer has come that knows the time.
        """
        deadline = self._now() + self._rules.join_s
        with self._changed:
            while len(self._lines) < self._rules.trainers and not self._stop.is_set():
                if self._coordinator.epoch > 1:
                    knowing = [at for tick, at in self._said.values() if tick > 0]
                    deadline = min([deadline, *(at + _OTHERS_S for at in knowing)])
                left = deadline - self._now()
                if left <= 0:
                    break
                self._changed.wait(min(left, _AGAIN_S))
            self._ticker = self._time()
            return self._ticker

    def _time(self) -> Ticker:
        """Return the time: from the beginning, or where most trainers say that it is."""
        schedule, now = self._rules.schedule, self._now()
        tick = self._coordinator.tick
        start = now - tick * schedule.tick_s
        starts = [at - said * schedule.tick_s for said, at in self._said.values() if said > 0]
        if self._coordinator.epoch > 1 and starts:
            start = min(start, statistics.median_high(starts))
        return Ticker(schedule, start=start, first=max(tick + 1, schedule.tick_after(start, now)))

    def _keep_time(self, ticker: Ticker) -> None:
        lead = min(_LEAD_S, self._rules.schedule.tick_s / 4)
        while not self._stop.is_set():
            tick = ticker.next(self._now())
            if tick is None:
                return
            self._stop.wait(max(0.0, ticker.instant(tick) - lead - self._now()))
            with self._changed:
                self._work(tick)
            self._stop.wait(max(0.0, ticker.instant(tick) - self._now()))
            with self._changed:
                for index in sorted(self._lines):
                    self._lines[index].go()

    def _work(self, tick: int) -> None:
        """Do a tick's work: add, write the answers, and take a checkpoint where one is due."""
        self._coordinator.advance(tick)
        stalled = math.ceil(_STALLED_S / self._rules.schedule.tick_s)
        for index in range(self._rules.trainers):
            line = self._lines.get(index)
            if line is None:
                continue
            if not line.free:
                line.stalled += 1
                if line.stalled > stalled:
                    line.link.end()
                continue
            line.stalled = 0
            message = self._coordinator.tell(index, welcome=line.welcome)
            line.welcome = False
            write_message(message, self._rules, line.link.outgoing)
            line.ready()
        due = self._coordinator.checkpoint_due()
        keep = partial(self._keep_one, self._coordinator.snapshot()) if due else None
        for job in (keep, self._job(self._coordinator)):
            if job is not None:
                try:
                    self._jobs.put_nowait(job)
                except queue.Full:  # those before are not done yet
                    self.jobs_lost += 1

    def _keep_one(self, checkpoint: Checkpoint) -> None:
        self._keep(checkpoint)
        with self._changed:
            self._coordinator.kept(checkpoint)

    def _keep_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except CloisterError as e:
                _LOG.warning("%s", e)
                self.jobs_lost += 1

    def _accept(self) -> None:
        self._listener.settimeout(_AGAIN_S)
        while not self._stop.is_set():
            try:
                sock, (address, *_) = self._listener.accept()
            except TimeoutError:
                continue
            except OSError as e:
                _LOG.debug("no connection was taken: %s", e)
                self._stop.wait(_AGAIN_S)
                continue
            with self._changed:
                if self._strangers >= _STRANGERS:
                    sock.close()
                    continue
                self._strangers += 1
                link = Link(sock, size=message_bytes(self._rules), now=self._now)
                reader = threading.Thread(
                    target=self._read, args=(link, address), name="room-in", daemon=True
                )
                self._links[link] = reader
            reader.start()

    def _read(self, link: Link, address: str) -> None:
        """Read one connection, which came from an address, until it ends."""
        timer = threading.Timer(_GREETING_S, link.end)
        timer.daemon = True
        timer.start()
        line: _Line | None = None
        index = -1
        try:
            there = link.receive() is not None
            timer.cancel()
            if there:
                index, line = self._greet(link, address)
            while line is not None and link.receive() is not None:
                message = read_message(link.incoming, self._rules)
                with self._changed:
                    if self._ticker is not None:
                        self._coordinator.observe(self._ticker.present(self._now()))
                    self._coordinator.take(index, message)
        except CloisterError as e:
            _LOG.debug("a connection ends for what it brought: %s", e)
            if line is not None:
                with self._changed:
                    self._coordinator.seats[index].refused += 1
        finally:
            timer.cancel()
            self._left(link, index, line)

    def _greet(self, link: Link, address: str) -> tuple[int, _Line]:
        """Take a greeting of who may give it; a trainer has one connection, its newest."""
        message = read_message(link.incoming, self._rules)
        self._speakers.require(address, message.sender)
        with self._changed:
            index = self._coordinator.hello(message)
            before = self._lines.get(index)
            line = self._lines[index] = _Line(link)
            self._said[index] = (message.tick, self._now())
            self._strangers -= 1
            self._changed.notify_all()
        if before is not None:
            before.link.end()
        return index, line

    def _left(self, link: Link, index: int, line: _Line | None) -> None:
        link.end()
        with self._changed:
            self._links.pop(link, None)
            if line is None:
                self._strangers -= 1
            elif self._lines.get(index) is line:
                del self._lines[index]
            self._changed.notify_all()
        if line is not None:
            line.close()
        else:
            link.close()

    def _linger(self) -> None:
        """Let trainers read the last message, and leave first."""
        deadline = self._now() + _LINGER_S
        with self._changed:
            while self._lines and not self._stop.is_set() and self._now() < deadline:
                self._changed.wait(_AGAIN_S)

    def _end_all(self) -> None:
        with self._changed:
            links = dict(self._links)
        for link in links:
            link.end()
        for reader in links.values():
            reader.join(timeout=_LINGER_S)
