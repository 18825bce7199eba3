"""The relay of a run: forked early, given the run's key late, ended when the workload has ended.

It is a process of its own in the host's network, outside of the workload's namespaces. It holds
the key of the run's certificate and the secret of its membership, no key of a volume, and carries
what the policy allows. It asks the key service who is in the job as long as it lives.

Trusted: as the launcher is. What it is told by peers and by the workload is judged in `network`.
"""

from __future__ import annotations

import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from cloister.confinement import namespaces, syscalls
from cloister.confinement.channel import Channel
from cloister.crypto.x509 import Identity
from cloister.errors import (
    CloisterError,
    ConfigError,
    MalformedError,
    ReleaseDeniedError,
    WorkloadError,
    error_from_wire,
)
from cloister.keyservice.clock import read_clock
from cloister.keyservice.member_client import MemberClient
from cloister.keyservice.member_messages import MemberGrant
from cloister.keyservice.transport import HTTPTransport
from cloister.launcher.peers import PeerDirectory
from cloister.network.loop import since_boot
from cloister.network.members import Members
from cloister.network.relay import Doors, Inner, Relay
from cloister.network.tls import Credential
from cloister.wire import Fields, Value

if TYPE_CHECKING:
    from cloister.confinement.network import SandboxNetwork
    from cloister.confinement.nftables import RefusedPackets
    from cloister.keyservice.client import Release
    from cloister.keyservice.member_messages import RefusalNotice
    from cloister.keyservice.pinned import PinnedService
    from cloister.launcher.networking import NetworkPlan
    from cloister.network.counters import Event, Traffic

__all__ = ["RelaySettings", "RunRelay"]

_LOG: Final = logging.getLogger(__name__)
_OPEN_TIMEOUT_S: Final = 30.0
_DRAIN_S: Final = 3.0  # for what the workload said last, and its peers have not taken yet
_FINISH_TIMEOUT_S: Final = 8.0
_ROSTER_EVERY_S: Final = 1.0
_ROSTER_SOON_S: Final = 0.25  # while somebody is missing, who will not be let in before we know him
_ROSTER_DEADLINE_S: Final = 5.0
_REFUSALS_EVERY_S: Final = 5.0
_MEMBERS_A_SECOND: Final = 100  # of one job asking: the key service has others to serve
_BATCH: Final = 16  # descriptors in one message
_BACKLOG: Final = 1024
_MAX_TEXT: Final = 4096
_NOBODY: Final = "unreachable"
_CUT: Final = "connection with "  # so begins what the relay says of one that was carried
_FIRST_OTHER: Final = 3
_OPEN_FILES: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """What the relay of a run has to know beside the policy.

    Attributes:
        service: The pinned key service.
        url: Where it answers.
        peers: Where relays of the job are said to answer.
        address: Where this one answers; port 0 for any.
        tells: Whether what was refused is told by name: not where the policy drops the logs, since
            the workload chooses whom it tries to reach.
        static: What each inner listener stands for; None where connections are redirected.
    """

    service: PinnedService
    url: str
    peers: PeerDirectory
    address: tuple[str, int]
    tells: bool
    static: tuple[tuple[str, int], ...] | None


@dataclass(frozen=True, slots=True, repr=False)
class _Membership:
    """What a member shows the key service; in the form that `MemberClient` takes."""

    member: MemberGrant
    workload: str
    instance: str
    result: bytes = b""


class RunRelay:
    """The relay of one run, as the launcher sees it."""

    def __init__(
        self, plan: NetworkPlan, settings: RelaySettings, *, tell: Callable[[str], None]
    ) -> None:
        """Fork it; call this before any secret is in memory and before threads exist.

        Args:
            plan: What it may carry.
            settings: As above.
            tell: Takes a sentence about something that was refused, for a person.

        Raises:
            ConfigError: Its address cannot be used (`config.value`).
        """
        self._plan, self._settings, self._tell = plan, settings, tell
        self._outer = _listen(settings.address)
        self.address: tuple[str, int] = self._outer.getsockname()[:2]
        self._announced = False
        self._failure: CloisterError | None = None
        self._channel, theirs = Channel.pair(gone=_gone)
        parent = os.getpid()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            _child(theirs, parent, plan, settings)
        theirs.close()

    def open(self, release: Release, network: SandboxNetwork) -> None:
        """Give it the run's key and its sockets; return when it carries.

        Args:
            release: What the key service granted.
            network: Sockets made inside; closed here.

        Raises:
            WorkloadError: `workload.relay`: it died.
        """
        bundle = release.bundle
        if bundle.member is None:
            raise MalformedError("the bundle has no membership", code="message.malformed")
        descriptors = [self._outer.fileno(), *network.descriptors()]
        try:
            for start in range(0, len(descriptors), _BATCH):
                batch = descriptors[start : start + _BATCH]
                last = start + _BATCH >= len(descriptors)
                self._channel.send({"do": "take", "last": last}, batch)
        finally:
            for descriptor in network.descriptors():
                os.close(descriptor)
            self._outer.close()
        config: dict[str, Value] = {
            "do": "open",
            "certificate": bundle.certificate,
            "key": release.tls_key,
            "ca": bundle.ca,
            "identity": bundle.identity,
            "policy": bundle.policy,
            "instance": bundle.instance,
            "member": bundle.member.to_value(),
        }
        self._channel.send(config)
        while self._take(_OPEN_TIMEOUT_S) != "ready":
            if self._failure is not None:
                raise self._failure
        self._settings.peers.announce(str(self._plan.task), self.address)
        self._announced = True

    def fileno(self) -> int:
        """Return a descriptor that is readable when `check` has something to say."""
        return self._channel.fileno()

    def check(self) -> None:
        """Take in what it reported, without waiting.

        Raises:
            WorkloadError: It died (`workload.relay`).
            CloisterError: What ended it, such as `release.not-member`.
        """
        while self._failure is None and self._is_waiting():
            self._take(_OPEN_TIMEOUT_S)
        if self._failure is not None:
            raise self._failure

    def replace(self, certificate: bytes) -> None:
        """Show this certificate in handshakes from now on; open connections go on."""
        if self._failure is None:
            try:
                self._channel.send({"do": "replace", "certificate": certificate})
            except CloisterError as e:
                self._failure = e

    def finish(self, refused: RefusedPackets | None) -> dict[str, Value]:
        """End it, and return what it counted, for the receipt (RR-7)."""
        counts: Fields | None = None
        deadline = time.monotonic() + _FINISH_TIMEOUT_S
        try:
            self._channel.send({"do": "finish"})
            while counts is None and time.monotonic() < deadline:
                message, _ = self._channel.receive(timeout_s=_FINISH_TIMEOUT_S)
                if message.has("counts"):
                    counts = message.submap("counts")
                else:
                    self._note(message)  # what it told while the workload ended
        except (CloisterError, OSError) as e:
            _LOG.info("relay.uncounted detail=%r", e)
        self.abandon()
        totals: dict[str, Value] = {}
        if counts is not None:
            said = counts.submap("refused")
            totals = {reason: said.integer(reason) for reason in said.keys()}  # noqa: SIM118  # not a mapping
        if refused is not None:
            totals |= {"udp": refused.udp, "other": refused.other}
        return {
            "task": str(self._plan.task),
            "address": self._plan.address,
            "epoch": None if counts is None else counts.integer("epoch"),
            "peers": None if counts is None else counts.anything("peers"),
            "egress": None if counts is None else counts.anything("egress"),
            "refused": totals,
        }

    def abandon(self) -> None:
        """End it at once; may be called at any time."""
        if self._announced:
            self._announced = False
            self._settings.peers.withdraw(str(self._plan.task), self.address)
        self._outer.close()
        self._channel.close()
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _is_waiting(self) -> bool:
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _take(self, timeout_s: float) -> str:
        """Take one report in and say what it was."""
        try:
            message, _ = self._channel.receive(timeout_s=timeout_s)
            return self._note(message)
        except (WorkloadError, MalformedError) as e:
            self._failure = self._failure or e
            return "gone"

    def _note(self, message: Fields) -> str:
        """Take note of one report and say what it was."""
        kind = message.text("told")
        if kind == "failed":
            public = message.text("message", max_length=_MAX_TEXT)
            self._failure = error_from_wire(message.text("code"), f"network: {public}")
        elif kind == "turned-away":
            role, code = message.text("role"), message.text("code")
            self._tell(f"a {role} was refused: {code}; it is not in the job")
        elif kind == "refused" and self._settings.tells:
            self._tell(_sentence(message))
        return kind


def _sentence(message: Fields) -> str:
    reason = message.text("reason")
    place = message.text("place", max_length=_MAX_TEXT)
    line = message.text("line", max_length=_MAX_TEXT)
    if place.startswith(_CUT):
        return f"{place} was cut ({reason})"
    if reason == _NOBODY:
        return f"nobody answers at {place} ({reason}); the policy allows it"
    said = f"the network shield refused {place} ({reason})"
    return f"{said}; the policy would allow it by {line}" if line else said


def _listen(address: tuple[str, int]) -> socket.socket:
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as e:
        raise ConfigError(
            f"the relay cannot use {host} port {port}: {e.strerror}",
            code="config.value",
            hint="name another address by --relay, or port 0",
        ) from e


def _gone(detail: str) -> CloisterError:
    return WorkloadError("the network's relay ended early", code="workload.relay", detail=detail)


# The child.


def _child(channel: Channel, parent: int, plan: NetworkPlan, settings: RelaySettings) -> NoReturn:
    """Be the relay; never return into the launcher's code, whatever happens."""
    try:
        _harden(channel, parent)
        _Child(channel, plan, settings).obey()
    except CloisterError as e:
        _report(channel, {"told": "failed", "code": e.code, "message": e.public})
    except BaseException:  # noqa: BLE001  # the outermost frame of this process
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(0)


def _harden(channel: Channel, parent: int) -> None:
    """Keep nothing but the channel and standard error, and end with the launcher."""
    namespaces.reset_signals()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.setsid()
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.closerange(_FIRST_OTHER, channel.fileno())
    syscalls.close_from(channel.fileno() + 1)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(hard, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    namespaces.forbid_core_dumps()
    syscalls.set_dumpable(0)
    syscalls.forbid_new_privileges()


def _report(channel: Channel, message: Mapping[str, Value]) -> None:
    try:
        channel.send(message)
    except CloisterError:
        os._exit(1)  # nobody is left to be told


@dataclass
class _Child:
    """What the relay's process does: one thread carries, one asks for rosters, one obeys."""

    channel: Channel
    plan: NetworkPlan
    settings: RelaySettings
    _relay: Relay | None = None
    _key: bytes = b""
    _epoch: int = 0
    _carrying: threading.Thread | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def obey(self) -> None:
        """Do what the launcher says until it is gone."""
        taken: list[int] = []
        while True:
            message, descriptors = self.channel.receive(timeout_s=None)
            order = message.text("do")
            if order == "take":
                taken += descriptors
            elif order == "open":
                self._open(message, taken)
                self._tell({"told": "ready"})
            elif order == "replace" and self._relay is not None:
                certificate = message.octets("certificate")
                self._relay.replace_credential(Credential(certificate, self._key))
            elif order == "finish":
                self._finish()
                return

    def _open(self, message: Fields, taken: list[int]) -> None:
        outer, maker, names, *inner = taken
        static = self.settings.static
        destinations: tuple[tuple[str, int] | None, ...] = (None,) if static is None else static
        self._key = message.octets("key")
        identity = Identity.from_uri(message.text("identity", max_length=1024))
        grant = MemberGrant.from_fields(message.submap("member"))
        membership = _Membership(grant, self.plan.task.role, message.text("instance"))
        self._relay = Relay(
            rules=self.plan.rules,
            members=Members.nobody(identity, message.octets("policy", length=32)),
            credential=Credential(message.octets("certificate"), self._key),
            ca_pem=message.octets("ca"),
            doors=Doors(
                outer=socket.socket(fileno=outer),
                inner=tuple(
                    Inner(socket.socket(fileno=each), destination)
                    for each, destination in zip(inner, destinations, strict=True)
                ),
                maker=socket.socket(fileno=maker),
                names=socket.socket(fileno=names),
                inside=self.plan.address,
            ),
            locate=lambda task: self.settings.peers.locate(str(task)),
            report=self._refused,
            clock=lambda: read_clock().at,
        )
        client = MemberClient(
            HTTPTransport(self.settings.url),
            self.settings.service,
            membership,
            clock=read_clock,
            deadline_s=_ROSTER_DEADLINE_S,
        )
        self._ask(client)  # the first before anything is carried
        self._carrying = threading.Thread(target=self._carry, name="relay", daemon=True)
        self._carrying.start()
        threading.Thread(
            target=self._keep_asking, args=(client,), name="roster", daemon=True
        ).start()

    def _carry(self) -> None:
        if self._relay is None:
            raise LookupError("opened before")
        try:
            self._relay.run()
        except BaseException:  # noqa: BLE001  # a thread's end must be the process's
            traceback.print_exc()
            os._exit(1)

    def _keep_asking(self, client: MemberClient) -> None:
        pause = threading.Event()
        every = _ROSTER_SOON_S
        refusals = _Refusals(since=read_clock().at)
        while not pause.wait(every):
            try:
                count = self._ask(client)
                for notice in refusals.news(client, now=since_boot()):
                    self._tell({"told": "turned-away", "role": notice.role, "code": notice.code})
            except ReleaseDeniedError as e:
                # Not a member any more: nothing may be carried from here on, least of all the end
                # of a program that is stopped once this is told. Its peers see a reset.
                self._stop_carrying()
                self._tell({"told": "failed", "code": e.code, "message": e.public})
                os._exit(0)
            except CloisterError as e:
                # What came is no roster of ours, or an old one, as anybody on the way can send. The
                # one that is here goes on to age, and counts for nothing when it is too old.
                _LOG.info("roster.later code=%s", e.code)
                continue
            missing = count < sum(number for _, number in self.plan.rules.plan.counts)
            every = _ROSTER_SOON_S if missing else _ROSTER_EVERY_S
            every = max(every, count / _MEMBERS_A_SECOND)

    def _ask(self, client: MemberClient) -> int:
        """Ask who is in the job and tell the relay; return how many there are."""
        if self._relay is None:
            raise LookupError("opened before")
        fetched = since_boot()
        roster = client.roster()
        self._epoch = roster.epoch
        self._relay.update_members(
            {member.identity: member.expires for member in roster.members},
            epoch=roster.epoch,
            fetched=fetched,
        )
        return sum(self.plan.rules.plan.count(member.role) > 0 for member in roster.members)

    def _refused(self, event: Event) -> None:
        # Counted all the same: who has just come is not known yet, and tries again; and resolvers
        # ask for the names of addresses that they know.
        if event.reason == "identity.member" or event.place.endswith(".in-addr.arpa"):
            return
        self._tell(
            {
                "told": "refused",
                "reason": event.reason,
                "place": event.place[:_MAX_TEXT] if self.settings.tells else "",
                "line": event.line[:_MAX_TEXT] if self.settings.tells else "",
            }
        )

    def _stop_carrying(self) -> None:
        if self._relay is not None and self._carrying is not None:
            self._relay.stop()
            self._carrying.join(_DRAIN_S)

    def _finish(self) -> None:
        counts: dict[str, Value] = {"epoch": self._epoch, "peers": {}, "egress": {}, "refused": {}}
        if self._relay is not None and self._carrying is not None:
            self._relay.stop(drain_s=_DRAIN_S)
            self._carrying.join(_DRAIN_S + 1)
            counters = self._relay.counters
            counts |= {
                "peers": {str(task): _traffic(found) for task, found in counters.peers.items()},
                "egress": {host: _traffic(found) for host, found in counters.egress.items()},
                "refused": dict(counters.refused),
            }
        self._tell({"told": "counts", "counts": counts})

    def _tell(self, message: Mapping[str, Value]) -> None:
        with self._lock:
            _report(self.channel, message)


@dataclass
class _Refusals:
    """Whom the job's policy refused since this run began; each is told once."""

    since: int
    _seen: set[int] = field(default_factory=set)
    _due: float = 0.0

    def news(self, client: MemberClient, *, now: float) -> list[RefusalNotice]:
        """Ask now and then, and return what is new."""
        if now < self._due:
            return []
        self._due = now + _REFUSALS_EVERY_S
        told = client.refusals(self.since)
        fresh = [notice for notice in told if notice.entry not in self._seen]
        self._seen = {notice.entry for notice in told}
        return fresh


def _traffic(found: Traffic) -> dict[str, Value]:
    return {
        "opened": found.opened,
        "accepted": found.accepted,
        "sent": found.sent,
        "received": found.received,
    }
