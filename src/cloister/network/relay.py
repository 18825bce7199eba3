"""The network shield of one workload: every connection of its programs goes through here, or not.

The workload's network is a loopback. What its programs open is redirected to listeners that were
made inside and handed out; the relay carries it to the peer's relay over TLS 1.3, in which both
prove to be members of the job now, and to a host outside only where the policy says so. What comes
from peers is handed to the program over sockets that were made inside.

Trusted: the policy's rules, the roster (verified by the caller), and whoever made the sockets. Not
trusted: the network, `locate`, strangers, other members, and the workload's own programs.

ADR 0040; spec: relay-v1.
"""

from __future__ import annotations

import collections
import functools
import logging
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.crypto.x509 import PeerCertificate
from cloister.errors import IdentityError, LocalProtocolError
from cloister.network.accepting import Acceptance
from cloister.network.addresses import Task
from cloister.network.carrying import Buffers, Carrier, abandon, is_dead
from cloister.network.counters import Counters, Event
from cloister.network.egress import OVER_BUDGET, Budget, EgressCarrier
from cloister.network.frames import ALPN, Answer
from cloister.network.loop import READ, Loop, since_boot
from cloister.network.makers import Maker
from cloister.network.members import Members
from cloister.network.names import NameServer
from cloister.network.opening import Opening, Place
from cloister.network.records import Records
from cloister.network.rules import FromPeer, Refused, ShieldRules, ToEgress, ToPeer, name_line
from cloister.network.tls import Credential, TLSContext, peers_context

__all__ = ["Doors", "Inner", "Relay"]

MAX_CONNECTIONS: Final = 4096
MAX_OF_ONE_PEER: Final = 1024
MAX_STRANGERS: Final = 256
_AT_ONCE: Final = 64
_SWEEP_S: Final = 1.0
_SWEEPS_FOR_LINKS: Final = 5
_NO_ROOM_S: Final = 1.0
_ORIGINAL_DESTINATION: Final = 80  # SO_ORIGINAL_DST of netfilter
_SOCKADDR_IN: Final = struct.Struct("!2xH4s8x")
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inner:
    """A listener in the workload's network.

    Attributes:
        listener: Listens already.
        destination: Where everything goes that comes to it; None where netfilter redirects to it,
            and each connection says where it was going.
    """

    listener: socket.socket
    destination: Place | None


@dataclass(frozen=True, slots=True)
class Doors:
    """The sockets of a relay, all made by others and taken over.

    Attributes:
        inner: Listeners in the workload's network.
        outer: Where peers come; None where nobody may.
        maker: A Unix socket to whoever makes sockets in the workload's network; as `outer`.
        names: A UDP socket in the workload's network at which its resolver asks; None for none.
        inside: The address at which programs listen there: the task's own, of the plan.
    """

    inner: tuple[Inner, ...]
    outer: socket.socket | None
    maker: socket.socket | None
    names: socket.socket | None
    inside: str


class Relay:
    """One workload's relay. `run` is its thread; what else is public may be called from any."""

    def __init__(
        self,
        *,
        rules: ShieldRules,
        members: Members,
        credential: Credential,
        ca_pem: bytes,
        doors: Doors,
        locate: Callable[[Task], Place | None],
        report: Callable[[Event], None],
        clock: Callable[[], int],
    ) -> None:
        """Take the sockets over.

        Args:
            rules: What the policy allows.
            members: Who is in the job; `Members.nobody` until the first roster.
            credential: Our certificate and key.
            ca_pem: The trust domain's CA, pinned.
            doors: The sockets.
            locate: Says where a task's relay answers; asked at each attempt, from several threads,
                and believed nothing: a lie leads to somebody who has no certificate.
            report: Told what was refused, once for each place and reason, from the relay's thread.
            clock: Seconds since the epoch.
        """
        if (doors.outer is None) != (doors.maker is None):
            raise LocalProtocolError("peers need a listener and a maker", code="protocol.local")
        self.counters: Final = Counters()
        self._rules, self._ca_pem, self._clock = rules, ca_pem, clock
        self._locate, self._report, self._doors = locate, report, doors
        self._lock = threading.Lock()
        self._members = members
        self._opens, self._accepts = self._contexts(credential)
        self._loop = Loop()
        self._buffers = Buffers()
        self._budgets = {
            host: Budget(rule, now=since_boot()) for host, rule in rules.egress.items()
        }
        self._carriers: dict[Carrier, Task] = {}
        self._openings: set[Opening] = set()
        self._strangers: set[Acceptance] = set()
        self._outside: dict[EgressCarrier, str] = {}
        self._of_peer: collections.Counter[Task] = collections.Counter()
        self._sweeps = 0
        self._leave_at: float | None = None
        self._maker = None if doors.maker is None else Maker(self._loop, doors.maker)
        self._listen()

    def run(self) -> None:
        """Carry until `stop`; then everything is closed."""
        self._sweep()
        try:
            self._loop.run()
        finally:
            self._close()

    def stop(self, *, drain_s: float = 0.0) -> None:
        """Return from `run`: when nothing is carried any more, or after `drain_s`."""
        self._loop.post(lambda: self._leave(drain_s))

    def update_members(self, expires: Mapping[str, int], *, epoch: int, fetched: float) -> None:
        """Say who is in the job now; whoever is not any more is cut off.

        Args:
            expires: From a verified roster: SPIFFE IDs with the second at which each lapses.
            epoch: The roster's.
            fetched: `since_boot()` from before it was asked for.

        Raises:
            EvidenceError: Older than what is known (`roster.stale`).
        """
        with self._lock:
            self._members = self._members.renewed(expires, epoch=epoch, fetched=fetched)
        self._loop.post(self._cut_strays)

    def replace_credential(self, credential: Credential) -> None:
        """Show another certificate from now on; open connections go on as they are.

        Raises:
            MalformedError: Not a certificate with its key; then nothing changes.
        """
        contexts = self._contexts(credential)
        self._loop.post(lambda: self._show(contexts))

    # Setting up.

    def _contexts(self, credential: Credential) -> tuple[TLSContext, TLSContext]:
        opens, accepts = (
            peers_context(
                credential,
                ca_pem=self._ca_pem,
                admit=self._admit,
                clock=self._clock,
                alpn=ALPN,
                opens=side,
            )
            for side in (True, False)
        )
        return opens, accepts

    def _show(self, contexts: tuple[TLSContext, TLSContext]) -> None:
        self._opens, self._accepts = contexts

    def _admit(self, peer: PeerCertificate) -> Task:
        return self._members.judge(peer, at=self._clock(), now=since_boot())

    def _listen(self) -> None:
        for inner in self._doors.inner:
            self._watch(inner.listener, functools.partial(self._accept_inner, inner))
        if self._doors.outer is not None:
            self._watch(self._doors.outer, self._accept_outer)
        if self._doors.names is not None:
            known = {name.lower(): at for at, some in self._rules.plan.hosts() for name in some}
            NameServer(self._loop, self._doors.names, known=known, missing=self._missing_name)

    def _watch(self, listener: socket.socket, ready: Callable[[int], None]) -> None:
        listener.settimeout(0)
        self._loop.watch(listener, ready, READ)

    # What our program opens.

    def _accept_inner(self, inner: Inner, _events: int) -> None:
        for plain in self._accepted(inner.listener):
            plain.settimeout(0)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            place = inner.destination or _original_destination(plain)
            if place is None:
                self._refuse(plain, Event("address", "the relay itself"))
                continue
            target = self._rules.outbound(*place)
            if isinstance(target, Refused):
                self._refuse(plain, Event(target.reason, f"{place[0]}:{place[1]}", target.line))
            elif self._is_full():
                self._refuse(plain, Event("busy", f"{place[0]}:{place[1]}"))
            elif isinstance(target, ToPeer):
                self._open(plain, target, self._opens, functools.partial(self._locate, target.task))
            else:
                self._open(
                    plain, target, None, functools.partial(_itself, (target.host, target.port))
                )

    def _open(
        self,
        plain: socket.socket,
        target: ToPeer | ToEgress,
        context: TLSContext | None,
        find: Callable[[], Place | None],
    ) -> None:
        opening = Opening(
            self._loop,
            self._buffers,
            plain,
            target,
            find=find,
            context=context,
            reached=self._opened,
            failed=self._not_opened,
        )
        self._openings.add(opening)

    def _opened(self, opening: Opening, outer: socket.socket, records: Records | None) -> None:
        self._openings.discard(opening)
        target = opening.target
        if isinstance(target, ToPeer) and records is not None:
            self.counters.peer(target.task).opened += 1
            self._carry(target.task, opening.plain, outer, records)
        elif isinstance(target, ToEgress):
            traffic = self.counters.host(target.host)
            traffic.opened += 1
            carrier = EgressCarrier(
                self._loop,
                opening.plain,
                outer,
                budget=self._budgets[target.host],
                traffic=traffic,
                closed=self._egress_closed,
            )
            self._outside[carrier] = target.host
            carrier.start()

    def _not_opened(self, opening: Opening, reason: str) -> None:
        self._openings.discard(opening)
        if reason:
            target = opening.target
            place = str(target.task) if isinstance(target, ToPeer) else target.host
            self._tell(Event(reason, f"{place}:{target.port}"))

    # What peers open.

    def _accept_outer(self, _events: int) -> None:
        if self._doors.outer is None or self._maker is None:
            return
        for outer in self._accepted(self._doors.outer):
            if len(self._strangers) >= MAX_STRANGERS or self._is_full():
                self._refuse(outer, Event("busy", "a stranger"))
                continue
            stranger = Acceptance(
                self._loop,
                self._buffers,
                outer,
                context=self._accepts,
                maker=self._maker,
                address=self._doors.inside,
                allow=self._allow,
                joined=self._joined,
                failed=self._not_joined,
            )
            self._strangers.add(stranger)

    def _allow(self, peer: Task, port: int) -> FromPeer | Refused | Answer:
        verdict = self._rules.inbound(peer, port)
        if isinstance(verdict, Refused):
            self._tell(Event(verdict.reason, f"from {peer} to port {port}", verdict.line))
        elif self._of_peer[peer] >= MAX_OF_ONE_PEER:
            return Answer.BUSY
        return verdict

    def _joined(self, stranger: Acceptance, plain: socket.socket, source: FromPeer) -> None:
        self._strangers.discard(stranger)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.counters.peer(source.task).accepted += 1
        self._carry(source.task, plain, stranger.outer, stranger.records)

    def _not_joined(self, stranger: Acceptance, reason: str) -> None:
        self._strangers.discard(stranger)
        if stranger.peer is None or reason not in {"role", "port", "instance", "self", ""}:
            self._tell(Event(reason, "a stranger" if stranger.peer is None else str(stranger.peer)))

    # What is carried.

    def _carry(
        self,
        peer: Task,
        plain: socket.socket,
        outer: socket.socket,
        records: Records,
    ) -> None:
        carrier = Carrier(
            self._loop,
            self._buffers,
            plain,
            outer,
            records,
            traffic=self.counters.peer(peer),
            closed=self._carried,
        )
        self._carriers[carrier] = peer
        self._of_peer[peer] += 1
        carrier.start()
        self._cut_if_stray(carrier)  # the roster may have changed since the handshake

    def _carried(self, carrier: Carrier, reason: str) -> None:
        peer = self._carriers.pop(carrier)
        self._of_peer[peer] -= 1
        if reason:
            self._tell(Event(reason, f"connection with {peer}"))

    def _egress_closed(self, carrier: EgressCarrier, reason: str) -> None:
        host = self._outside.pop(carrier)
        if reason == OVER_BUDGET:
            line = f"workloads.{self._rules.own.role}.egress.{host}.bytes"
            self._tell(Event(reason, host, line))

    # Looking after it.

    def _sweep(self) -> None:
        self._sweeps += 1
        self._cut_strays()
        if self._sweeps % _SWEEPS_FOR_LINKS == 0:
            for carrier in list(self._carriers):
                if is_dead(carrier.outer):
                    carrier.cut("link")
        if self._leave_at is not None:
            busy = self._carriers or self._outside
            if not busy or self._loop.now >= self._leave_at:
                self._loop.stop()
        self._loop.later(_SWEEP_S if self._leave_at is None else _SWEEP_S / 20, self._sweep)

    def _cut_strays(self) -> None:
        for carrier in list(self._carriers):
            self._cut_if_stray(carrier)

    def _cut_if_stray(self, carrier: Carrier) -> None:
        try:
            self._members.require_live(carrier.identity, at=self._clock(), now=since_boot())
        except IdentityError as e:
            carrier.cut(e.code)

    def _is_full(self) -> bool:
        busy = len(self._carriers) + len(self._openings) + len(self._outside)
        return busy + len(self._strangers) >= MAX_CONNECTIONS

    def _accepted(self, listener: socket.socket) -> list[socket.socket]:
        found: list[socket.socket] = []
        try:
            while len(found) < _AT_ONCE:
                found.append(listener.accept()[0])
        except BlockingIOError:
            pass
        except OSError as e:
            # No descriptors are left, or one stranger left early. Readiness would be told at once.
            _LOG.info("nobody is accepted for a while: %s", e)
            self._loop.want(listener, 0)
            self._loop.later(_NO_ROOM_S, lambda: self._loop.want(listener, READ))
        return found

    def _missing_name(self, name: str) -> None:
        self.counters.names += 1
        self._tell(Event("name", name, name_line(self._rules.own, name)))

    def _refuse(self, sock: socket.socket, event: Event) -> None:
        abandon(sock, self._loop)
        self._tell(event)

    def _tell(self, event: Event) -> None:
        if self.counters.is_news(event):
            self._report(event)

    def _leave(self, drain_s: float) -> None:
        self._leave_at = since_boot() + drain_s
        self._sweep()

    def _close(self) -> None:
        connections: list[Opening | Acceptance | Carrier | EgressCarrier] = []
        connections += [*self._openings, *self._strangers, *self._carriers, *self._outside]
        for each in connections:
            each.cut("")
        for inner in self._doors.inner:
            inner.listener.close()
        for sock in (self._doors.outer, self._doors.names):
            if sock is not None:
                sock.close()
        if self._maker is not None:
            self._maker.close()
        self._loop.close()


def _itself(place: Place) -> Place:
    return place


def _original_destination(sock: socket.socket) -> Place | None:
    try:
        found = sock.getsockopt(socket.SOL_IP, _ORIGINAL_DESTINATION, _SOCKADDR_IN.size)
    except OSError:
        return None
    port, address = _SOCKADDR_IN.unpack(found)
    return socket.inet_ntoa(address), port
