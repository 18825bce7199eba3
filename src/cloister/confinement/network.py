"""The workload's network: an address of its own, names, and sockets that a relay outside serves.

The namespace has a loopback and nothing else, in every mode. What makes it a network is a process
outside, the relay, which holds sockets that were made inside: a socket belongs to the namespace it
was made in, whoever uses it. Pid 1 makes them before the workload exists, with privileges that the
workload never has. Invariants:

1. Nothing here opens a way out. Without the relay every connection is refused or has no route.
2. Redirected: all TCP that is not for the workload itself arrives at one listener, and the
   socket option SO_ORIGINAL_DST says where it was meant to go. It is no secret and no proof: the
   relay judges it by the policy.
3. Static: each listener stands for one address and port, and nothing else has a route.
4. Listeners and the resolver's socket are at ports below 1024, or taken before the workload starts:
   no program inside can have them as well. Pid 1 keeps no copy after it has handed them out, so
   that the relay's death is the end of them.
"""

from __future__ import annotations

import array
import contextlib
import errno
import ipaddress
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cloister.confinement import netlink, nftables
from cloister.errors import ConfigError

__all__ = [
    "MAX_ASKED",
    "Inside",
    "NetworkSpec",
    "SandboxNetwork",
    "SocketMaker",
    "hosts_text",
    "make_sockets",
    "original_destination",
    "prepare_interface",
    "redirect",
]

MAX_ASKED: Final = 64
_BACKLOG: Final = 1024
# Below 1024, where no workload can listen; it means nothing to anybody.
_RELAY_PORT: Final = 1
_RESOLVER: Final = ("127.0.0.1", 53)
_SO_ORIGINAL_DST: Final = 80
_SOCKADDR_IN: Final = struct.Struct("!HH4s8x")
# An address of documentation (RFC 5737), for one connection that ends at ourselves.
_TRIAL: Final = ("192.0.2.1", 9)
_TRIAL_TIMEOUT_S: Final = 2.0
_MAX_STATIC: Final = 512
_MAX_HOSTS: Final = 1 << 17
_MAX_PORT: Final = 65535
_MAX_NAME: Final = 253
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_PRIVATE_LOOPBACK: Final = ipaddress.IPv4Network("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """What the workload's network looks like from inside.

    Attributes:
        address: The workload's own IPv4 address.
        hosts: Addresses and their names, for `/etc/hosts`. The sandbox's hostname always is a name
            of `address`.
        static: None redirects every connection, which needs nftables. Otherwise these addresses
            and ports are all that can be connected to, each by a listener of its own.
    """

    address: str
    hosts: tuple[tuple[str, tuple[str, ...]], ...]
    static: tuple[tuple[str, int], ...] | None

    def __post_init__(self) -> None:
        """Plain addresses, names and ports, none twice.

        Raises:
            ConfigError: `config.value`, naming what is wrong.
        """
        _require_address(self.address)
        if len(self.hosts) > _MAX_HOSTS:
            raise _wrong(f"more than {_MAX_HOSTS} hosts")
        for address, names in self.hosts:
            _require_address(address)
            for name in names:
                _require_name(name)
        if self.static is not None:
            _require_static(self.static, self.address)


@dataclass(frozen=True, slots=True)
class SandboxNetwork:
    """Descriptors of sockets made inside, for the relay; the caller owns and closes them.

    Attributes:
        listeners: One where connections are redirected; else one for each static pair, in order.
        maker: A packet socket: one byte N from 1 to 64 asks for N fresh TCP sockets. The answer is
            one byte, how many came, with them; none comes where nobody fetched earlier ones.
        names: The UDP socket that is the workload's only resolver.
    """

    listeners: tuple[int, ...]
    maker: int
    names: int

    def descriptors(self) -> tuple[int, ...]:
        """Return all of them."""
        return (self.maker, self.names, *self.listeners)


@dataclass(slots=True)
class Inside:
    """The sockets while pid 1 has them."""

    listeners: list[socket.socket]
    names: socket.socket
    maker: SocketMaker
    others_end: socket.socket | None
    redirected: bool
    _handed: int = field(default=0, init=False)

    def next_batch(self, most: int) -> tuple[list[int], int]:
        """Return descriptors to hand out, in order, and how many are left after them."""
        everything = list(self._everything())
        batch = everything[self._handed : self._handed + most]
        self._handed += len(batch)
        return [each.fileno() for each in batch], len(everything) - self._handed

    def let_go(self) -> None:
        """Close what has been handed out, or never will be."""
        for each in self._everything():
            each.close()

    def _everything(self) -> Iterator[socket.socket]:
        if self.others_end is not None:
            yield self.others_end
        yield self.names
        yield from self.listeners


class SocketMaker:
    """Pid 1's end: makes sockets in its namespace for whoever has the other end.

    Nothing here waits. A request that cannot be served is dropped.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Take a connected packet socket."""
        connection.settimeout(0)
        self._end = connection

    @classmethod
    def pair(cls) -> tuple[SocketMaker, socket.socket]:
        """Make both ends."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    def fileno(self) -> int:
        """Return the descriptor, for selecting."""
        return self._end.fileno()

    def serve(self) -> bool:
        """Answer one request; False when the other end is gone."""
        try:
            request = self._end.recv(2)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not request:
            return False
        if len(request) == 1 and 1 <= request[0] <= MAX_ASKED:
            self._answer(request[0])
        return True

    def close(self) -> None:
        """Hang up."""
        self._end.close()

    def _answer(self, wanted: int) -> None:
        with contextlib.ExitStack() as stack:
            made: list[int] = []
            with contextlib.suppress(OSError):  # no descriptor is left: send what there is
                for _ in range(wanted):
                    fresh = stack.enter_context(_tcp_socket())
                    made.append(fresh.fileno())
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", made))
            with contextlib.suppress(OSError):  # full, or gone: the next `serve` tells which
                self._end.sendmsg([bytes([len(made)])], [rights] if made else [])


def prepare_interface(spec: NetworkSpec) -> None:
    """Give the loopback, which must be up, the addresses and the route of `spec`.

    Raises:
        OSError: The kernel refused.
    """
    loopback = socket.if_nametoindex("lo")
    netlink.add_address(loopback, spec.address)
    if spec.static is None:
        netlink.add_default_route(loopback, spec.address)
        return
    for address in dict.fromkeys(address for address, _port in spec.static):
        netlink.add_address(loopback, address)


def make_sockets(spec: NetworkSpec) -> Inside:
    """Make the listeners, the resolver's socket and the maker of more.

    Raises:
        OSError: One could not be made.
    """
    places = ((spec.address, _RELAY_PORT),) if spec.static is None else spec.static
    with contextlib.ExitStack() as stack:
        listeners = []
        for place in places:
            listener = stack.enter_context(_tcp_socket())
            listener.bind(place)
            listener.listen(_BACKLOG)
            listeners.append(listener)
        names = stack.enter_context(
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        )
        names.bind(_RESOLVER)
        stack.pop_all()
    maker, others_end = SocketMaker.pair()
    return Inside(listeners, names, maker, others_end, redirected=spec.static is None)


def redirect(spec: NetworkSpec, inside: Inside) -> None:
    """Put up the rules that bring every connection to the listener, and try them once.

    Raises:
        OSError: There is no `nft`, it or the kernel refused, or a connection did not arrive.
    """
    nftables.apply_rules(spec.address, _RELAY_PORT)
    (listener,) = inside.listeners
    listener.settimeout(_TRIAL_TIMEOUT_S)
    with _tcp_socket() as trial:
        trial.settimeout(_TRIAL_TIMEOUT_S)
        trial.connect(_TRIAL)
        arrived, _ = listener.accept()
        with arrived:
            if original_destination(arrived) != _TRIAL:
                raise OSError(
                    errno.EPROTO, "a redirected connection does not say where it was to go"
                )
    listener.settimeout(None)


def original_destination(connection: socket.socket) -> tuple[str, int]:
    """Return where the program that made a redirected connection wanted to go.

    Raises:
        OSError: The kernel does not know.
    """
    data = connection.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, _SOCKADDR_IN.size)
    _family, port, octets = _SOCKADDR_IN.unpack(data)
    return socket.inet_ntoa(octets), int(port)


def hosts_text(spec: NetworkSpec, hostname: str) -> str:
    """Return `/etc/hosts`: the loopback, the workload itself, then the hosts of `spec`.

    Raises:
        ConfigError: `hostname` is no name, or another host's.
    """
    _require_name(hostname)
    lines = ["127.0.0.1 localhost", "::1 localhost", f"{spec.address} {hostname}"]
    for address, names in spec.hosts:
        if hostname in names and address != spec.address:
            raise _wrong(f"{hostname} is the name of {address}, and of the sandbox")
        others = [name for name in names if name != hostname]
        if others:
            lines.append(" ".join((address, *others)))
    return "\n".join(lines) + "\n"


def _tcp_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)


def _require_static(static: tuple[tuple[str, int], ...], own: str) -> None:
    if len(static) > _MAX_STATIC or len(set(static)) != len(static):
        raise _wrong(f"static pairs are different ones, at most {_MAX_STATIC}")
    for address, port in static:
        _require_address(address)
        if address == own:
            raise _wrong(f"{address} is the workload's own address")
        if not 1 <= port <= _MAX_PORT:
            raise _wrong(f"{port} is no port")


def _require_address(address: str) -> None:
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError as e:
        raise _wrong(f"{address!r} is no IPv4 address") from e
    special = (parsed.is_multicast, parsed.is_unspecified, parsed.is_reserved, parsed.is_link_local)
    if parsed in _PRIVATE_LOOPBACK or any(special):
        raise _wrong(f"{address} cannot be anybody's address")


def _require_name(name: str) -> None:
    if len(name) > _MAX_NAME or _NAME.fullmatch(name) is None:
        raise _wrong(f"{name[:80]!r} is no host name")
    if name == "localhost":
        raise _wrong("localhost is a name of the loopback")


def _wrong(what: str) -> ConfigError:
    return ConfigError(f"the sandbox's network: {what}", code="config.value")
