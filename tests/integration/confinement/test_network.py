"""The workload's network, with a toy in the relay's place: what arrives there, and what cannot go.

Everything happens in namespaces that end with the test; as root and as an ordinary user.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cloister.confinement import (
    Bind,
    Command,
    Exit,
    NetworkSpec,
    Sandbox,
    SandboxNetwork,
    SandboxSpec,
    namespaces,
    netlink,
    network,
    nftables,
    syscalls,
)
from cloister.confinement.network import original_destination
from integration.apart import run_apart, users

_BASE = str(Path(sys.base_prefix).resolve())
_PYTHON = str(Path(sys.executable).resolve())
_OWN = "10.77.4.1"
_HOSTS = (("10.77.0.1", ("ps-0", "ps")), (_OWN, ("worker-0",)), ("10.78.0.1", ("hub.example",)))
_REDIRECTED = NetworkSpec(_OWN, _HOSTS, None)
_STATIC = NetworkSpec(_OWN, _HOSTS, (("10.77.0.1", 2222), ("10.77.0.1", 2223), ("10.78.0.1", 443)))

everybody = pytest.mark.parametrize("user_id", users())
needs_nft = pytest.mark.skipif(
    not any(Path(path).exists() for path in nftables.PROGRAMS),
    reason="needs nft: apt-get install nftables",
)
both_kinds = pytest.mark.parametrize(
    "spec", [pytest.param(_REDIRECTED, marks=needs_nft), _STATIC], ids=["redirected", "static"]
)


@contextlib.contextmanager
def _sandbox(spec: NetworkSpec | None) -> Iterator[Sandbox]:
    plan = SandboxSpec(binds=(Bind(_BASE, _BASE),), hostname="worker-0", network=spec)
    with Sandbox(plan) as sandbox:
        sandbox.start()
        yield sandbox


def _go(sandbox: Sandbox, code: str) -> int:
    """Start a program inside; return where its output can be read."""
    out, out_end = os.pipe()
    command = Command((_PYTHON, "-I", "-c", code), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, "/")
    sandbox.go(command, stdout=out_end, stderr=2, listeners={})
    os.close(out_end)
    return out


def _end(sandbox: Sandbox, out: int) -> tuple[str, Exit]:
    with os.fdopen(out, "rb") as stream:
        text = stream.read().decode()
    found = sandbox.wait(timeout_s=20)
    assert found is not None
    return text, found


def _tell_destinations(listener: socket.socket, *, asked: bool) -> None:
    """Be a relay that tells everybody where they wanted to go."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    place = original_destination(connection) if asked else listener.getsockname()
                    connection.sendall(json.dumps(place).encode())

    threading.Thread(target=serve, daemon=True).start()


def _relayed(spec: NetworkSpec, code: str) -> list[Any]:
    """Run `code` beside the toy; return its output, line by line, and what was counted."""
    with _sandbox(spec) as sandbox:
        found = sandbox.network()
        for descriptor in found.listeners:
            _tell_destinations(socket.socket(fileno=descriptor), asked=spec.static is None)
        text, ended = _end(sandbox, _go(sandbox, code))
        os.close(found.maker)
        os.close(found.names)
    assert ended.status == 0
    return [text.splitlines(), ended.refused and asdict(ended.refused)]


_ASK = """
import errno, json, socket
def ask(place, make=socket.create_connection):
    try:
        with make(place, 5) as s:
            return json.loads(s.makefile().read())
    except OSError as e:
        return errno.errorcode[e.errno]
"""


@everybody
@needs_nft
def test_every_connection_arrives_with_its_destination(user_id: int) -> None:
    """By name or address, peer or stranger, whatever the port; over IPv6's spelling of it too."""
    code = _ASK + (
        "for place in (('10.77.0.1', 2222), ('ps', 1), ('hub.example', 443), ('8.8.8.8', 53),\n"
        "              ('169.254.169.254', 80), ('::ffff:192.0.2.7', 65535)):\n"
        "    print(json.dumps(ask(place)))\n"
        "def same(place, wait): return socket.create_connection(place, wait, ('worker-0', 40999))\n"
        "print(json.dumps([ask((f'10.77.0.{n}', 5), same) for n in (1, 2, 3)]))\n"
    )
    lines, _ = run_apart(user_id, _relayed, _REDIRECTED, code)
    assert [json.loads(line) for line in lines] == [
        ["10.77.0.1", 2222],
        ["10.77.0.1", 1],
        ["10.78.0.1", 443],
        ["8.8.8.8", 53],
        ["169.254.169.254", 80],
        ["192.0.2.7", 65535],
        [["10.77.0.1", 5], ["10.77.0.2", 5], ["10.77.0.3", 5]],  # all from one port
    ]


@everybody
@needs_nft
def test_the_listener_itself_is_not_taken_for_a_destination(user_id: int) -> None:
    """A connection straight to it says so: its destination is the workload's own address."""
    code = _ASK + f"print(json.dumps(ask(('{_OWN}', 1))))"
    lines, _ = run_apart(user_id, _relayed, _REDIRECTED, code)
    assert json.loads(lines[0])[0] == _OWN


@everybody
@both_kinds
def test_what_a_workload_says_to_itself_does_not_go_to_the_relay(
    user_id: int, spec: NetworkSpec
) -> None:
    """Its loopback, its own address and its own name are its own, at every port."""
    code = (
        "import socket\n"
        f"for host in ('127.0.0.1', '{_OWN}', socket.gethostname(), '::1', 'localhost'):\n"
        "    family = socket.AF_INET6 if ':' in host else socket.AF_INET\n"
        "    with socket.create_server((host, 0), family=family) as s:\n"
        "        c = socket.create_connection((host, s.getsockname()[1]), 5); a, _ = s.accept()\n"
        "        c.sendall(b'self'); print(a.recv(4).decode()); a.close(); c.close()\n"
        "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0))\n"
        "u.sendto(b'datagram', u.getsockname()); print(u.recv(99).decode())\n"
        "print(socket.gethostbyname(socket.gethostname()), socket.gethostname())\n"
    )
    lines, refused = run_apart(user_id, _relayed, spec, code)
    assert lines == ["self"] * 5 + ["datagram", f"{_OWN} worker-0"]
    assert refused in (None, {"udp": 0, "other": 0})


@everybody
def test_static_listeners_stand_for_their_own_destination_and_there_is_no_other(
    user_id: int,
) -> None:
    """Each address and port has its own; another port is refused, another address has no route."""
    code = _ASK + (
        "for place in (('ps-0', 2222), ('ps-0', 2223), ('hub.example', 443), ('ps-0', 2224),\n"
        "              ('10.77.0.2', 2222), ('8.8.8.8', 53), ('::ffff:8.8.8.8', 53)):\n"
        "    print(json.dumps(ask(place)))\n"
    )
    lines, refused = run_apart(user_id, _relayed, _STATIC, code)
    assert [json.loads(line) for line in lines] == [
        ["10.77.0.1", 2222], ["10.77.0.1", 2223], ["10.78.0.1", 443], "ECONNREFUSED",
        "ENETUNREACH", "ENETUNREACH", "ENETUNREACH",
    ]  # fmt: skip
    assert refused is None


_PROBES = """
import ctypes, errno, json, os, shutil, socket, struct, subprocess
OWN, ADDRESS, ROUTE = ARGUMENTS
found = {}
def probe(name):
    def run(act):
        try:
            found[name] = f'done: {act()}'
        except OSError as e:
            found[name] = errno.errorcode.get(e.errno, str(e))
    return run
def tcp(): return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
def udp(): return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def datagram(place, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.settimeout(2); s.connect(place); s.send(b'x'); return s.recv(9)
def netlink(message, protocol):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol); s.bind((0, 0))
    s.send(message); s.settimeout(2)
    number = -struct.unpack_from('=i', s.recv(4096), 16)[0]
    if number: raise OSError(number, 'netlink')
def program(*argv):
    if shutil.which(argv[0]) is None: raise OSError(errno.EPERM, 'it is not even there')
    if subprocess.run(argv, capture_output=True).returncode: raise OSError(errno.EPERM, 'it failed')
def ioctl(request, data):
    import fcntl; fcntl.ioctl(tcp(), request, data)
def option(level, name, value=1):
    s = tcp(); s.setsockopt(level, name, value); return s
def foreign_by_freebind():
    s = option(socket.IPPROTO_IP, 15); s.bind(('10.77.4.9', 0)); s.connect(('10.77.0.1', 2222))
def libc(name, *arguments):
    c = ctypes.CDLL(None, use_errno=True)
    if getattr(c, name)(*arguments) < 0: raise OSError(ctypes.get_errno(), name)

probe('nft-list')(lambda: program('nft', 'list', 'ruleset'))
probe('nft-flush')(lambda: program('nft', 'flush', 'ruleset'))
probe('ip-address')(lambda: program('ip', 'address', 'add', '10.77.4.9/32', 'dev', 'lo'))
probe('ip-link')(lambda: program('ip', 'link', 'add', 'x0', 'type', 'dummy'))
probe('netlink-address')(lambda: netlink(bytes.fromhex(ADDRESS), 0))
probe('netlink-route')(lambda: netlink(bytes.fromhex(ROUTE), 0))
# Delete every entry of the connection tracking: IPCTNL_MSG_CT_DELETE.
forget = struct.pack('=IHHIIBBH', 20, 0x102, 5, 1, 0, 2, 0, 0)
probe('netlink-conntrack')(lambda: netlink(forget, 12))
probe('loopback-down')(lambda: ioctl(0x8914, struct.pack('16sH14x', b'lo', 0)))
probe('loopback-address')(
    lambda: ioctl(0x8916, struct.pack('16sHH4s8x', b'lo:1', 2, 0, bytes([10, 77, 4, 9]))))
probe('raw')(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
probe('raw-header')(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
probe('ping')(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP))
probe('packet')(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
probe('vsock')(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
probe('transparent')(lambda: option(socket.IPPROTO_IP, 19))
probe('mark')(lambda: option(socket.SOL_SOCKET, 36))
probe('repair')(lambda: option(socket.IPPROTO_TCP, 19))
probe('device')(lambda: option(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'eth0'))
probe('foreign-address')(lambda: tcp().bind(('10.77.4.9', 0)))
probe('foreign-address-freebind')(foreign_by_freebind)
probe('setns')(lambda: libc('setns', os.open('/proc/self/ns/net', os.O_RDONLY), 0x40000000))
probe('unshare-net')(lambda: libc('unshare', 0x40000000))
probe('unshare-user')(lambda: libc('unshare', 0x10000000))
probe('switch')(lambda: open('/proc/sys/net/ipv4/ip_nonlocal_bind', 'w'))
probe('relay-port')(lambda: tcp().bind((OWN, 1)))
probe('relay-port-everywhere')(lambda: tcp().bind(('0.0.0.0', 1)))
probe('resolver-port')(lambda: udp().bind(('127.0.0.1', 53)))
probe('resolver-port-everywhere')(lambda: udp().bind(('0.0.0.0', 53)))
probe('udp-stranger')(lambda: datagram(('8.8.8.8', 53)))
probe('udp-peer')(lambda: datagram(('10.77.0.9', 2222)))
probe('udp-relay')(lambda: datagram((OWN, 1)))
probe('udp-multicast')(lambda: datagram(('239.0.0.1', 5)))
probe('udp-broadcast')(lambda: datagram(('255.255.255.255', 5)))
probe('udp-ipv6')(lambda: datagram(('2001:db8::1', 53), socket.AF_INET6))
probe('tcp-ipv6')(lambda: socket.create_connection(('2001:db8::1', 443), 2))
probe('tcp-multicast')(lambda: socket.create_connection(('239.0.0.1', 5), 2))
sctp = (socket.AF_INET, socket.SOCK_STREAM, 132)
probe('sctp')(lambda: socket.socket(*sctp).connect(('10.77.0.9', 1)))
print(json.dumps(found))
"""
_DENIED = {
    "nft-list": "EPERM",
    "nft-flush": "EPERM",
    "ip-address": "EPERM",
    "ip-link": "EPERM",
    "netlink-address": "EPERM",
    "netlink-route": "EPERM",
    "netlink-conntrack": "EPERM",
    "loopback-down": "EPERM",
    "loopback-address": "EPERM",
    "raw": "EPERM",
    "raw-header": "EPERM",
    "ping": "EACCES",
    "packet": "EAFNOSUPPORT",
    "vsock": "EAFNOSUPPORT",
    "transparent": "EPERM",
    "mark": "EPERM",
    "repair": "EPERM",
    "device": "ENODEV",
    "foreign-address": "EADDRNOTAVAIL",
    "setns": "EPERM",
    "unshare-net": "EPERM",
    "unshare-user": "EPERM",
    "switch": "EROFS",
    "relay-port": "EACCES",
    "relay-port-everywhere": "EACCES",
    "resolver-port": "EACCES",
    "resolver-port-everywhere": "EACCES",
    "udp-stranger": "EPERM",
    "udp-peer": "EPERM",
    "udp-relay": "ECONNREFUSED",
    "udp-multicast": "EPERM",
    "udp-broadcast": "EPERM",
    "udp-ipv6": "ENETUNREACH",
    "tcp-ipv6": "ENETUNREACH",
    "tcp-multicast": "ENETUNREACH",
}
# Without a route there is nothing for a rule to refuse.
_DENIED_STATIC = _DENIED | dict.fromkeys(
    ("udp-stranger", "udp-peer", "udp-multicast", "udp-broadcast"), "ENETUNREACH"
)


@everybody
@both_kinds
def test_a_workload_changes_nothing_of_its_network_and_has_no_other_way(
    user_id: int, spec: NetworkSpec
) -> None:
    """Each of the known ways out, by name, and what the kernel says to it."""
    arguments = (
        _OWN,
        netlink.address_request(1, "10.77.4.9").hex(),
        netlink.route_request(1, _OWN).hex(),
    )
    code = _PROBES.replace("ARGUMENTS", repr(arguments))
    lines, refused = run_apart(user_id, _relayed, spec, code)
    found = json.loads(lines[0])
    # What these say depends on the kernel; that they fail does not.
    assert found.pop("foreign-address-freebind") in {"EINVAL", "ENETUNREACH"}
    assert found.pop("sctp") in {"EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "ECONNREFUSED", "EPERM",
                                 "ENETUNREACH"}  # fmt: skip
    assert found == (_DENIED if spec.static is None else _DENIED_STATIC)
    if spec.static is None:
        assert refused["udp"] == 4


@everybody
@needs_nft
def test_a_socket_bound_to_the_loopback_is_redirected_like_others(user_id: int) -> None:
    """The only device that there is to bind to is no way around the rules."""
    code = _ASK + (
        "def bound(place, wait):\n"
        "    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b'lo')\n"
        "    s.connect(place); return s\n"
        "print(json.dumps(ask(('8.8.8.8', 443), bound)))\n"
    )
    lines, _ = run_apart(user_id, _relayed, _REDIRECTED, code)
    assert json.loads(lines[0]) in (["8.8.8.8", 443], "EPERM")  # before Linux 5.7 nobody may


@everybody
@both_kinds
def test_sockets_made_inside_reach_the_workload_and_nothing_of_the_host(
    user_id: int, spec: NetworkSpec
) -> None:
    """Whoever holds one connects in the workload's network; half-closing works both ways."""
    code = (
        "import socket\n"
        f"s = socket.create_server(('{_OWN}', 2222)); print('ready', flush=True)\n"
        "c, _ = s.accept(); data = c.makefile('rb').read(); c.sendall(data.upper()); c.close()\n"
    )

    def probe() -> list[Any]:
        with socket.create_server(("127.0.0.1", 0)) as hosts, _sandbox(spec) as sandbox:
            found = sandbox.network()
            out = _go(sandbox, code)
            assert os.read(out, 99) == b"ready\n"
            stranger, peer = _make(found, 2)
            with stranger, peer:
                outcome = stranger.connect_ex(hosts.getsockname())
                peer.connect((_OWN, 2222))
                peer.sendall(b"from outside")
                peer.shutdown(socket.SHUT_WR)
                said = peer.makefile("rb").read().decode()
            _, ended = _end(sandbox, out)
            _close(found)
            return [outcome, said, ended.status]

    assert run_apart(user_id, probe) == [errno.ECONNREFUSED, "FROM OUTSIDE", 0]


def _make(found: SandboxNetwork, count: int) -> list[socket.socket]:
    with socket.socket(fileno=os.dup(found.maker)) as maker:
        maker.settimeout(5)
        maker.send(bytes([count]))
        data, descriptors, _, _ = socket.recv_fds(maker, 2, network.MAX_ASKED)
    assert data == bytes([count]) == bytes([len(descriptors)])
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


def _close(found: SandboxNetwork) -> None:
    for descriptor in found.descriptors():
        os.close(descriptor)


@everybody
@both_kinds
def test_names_that_the_policy_does_not_have_are_asked_of_the_relay(
    user_id: int, spec: NetworkSpec
) -> None:
    """The relay's socket gets the question; names of the policy are never asked."""
    code = (
        "import socket\n"
        "print(socket.gethostbyname('ps-0'), socket.gethostbyname('hub.example'))\n"
        "try: print(socket.gethostbyname('leak.example'))\n"
        "except OSError as e: print(type(e).__name__)\n"
    )

    def probe() -> list[Any]:
        with _sandbox(spec) as sandbox:
            found = sandbox.network()
            out = _go(sandbox, code)
            with socket.socket(fileno=os.dup(found.names)) as names:
                names.settimeout(10)
                question, sender = names.recvfrom(512)
                names.sendto(question[:2] + b"\x81\x83" + question[4:], sender)  # NXDOMAIN
            text, _ = _end(sandbox, out)
            _close(found)
        return [text.splitlines(), b"\x04leak\x07example\x00" in question]

    assert run_apart(user_id, probe) == [["10.77.0.1 10.78.0.1", "gaierror"], True]


@everybody
@both_kinds
def test_when_the_relay_is_gone_connections_are_refused(user_id: int, spec: NetworkSpec) -> None:
    """Nobody else holds the listeners: not pid 1, and not the workload, which cannot have them."""

    def probe() -> list[str]:
        with _sandbox(spec) as sandbox:
            _close(sandbox.network())
            code = _ASK + "print(ask(('ps-0', 2222)))"
            text, ended = _end(sandbox, _go(sandbox, code))
        return [text, str(ended.status)]

    assert run_apart(user_id, probe) == ["ECONNREFUSED\n", "0"]


@everybody
@both_kinds
def test_nobody_inside_takes_a_listeners_place(user_id: int, spec: NetworkSpec) -> None:
    """Not with any of the options that share a port."""
    place = (_OWN, 1) if spec.static is None else spec.static[0]
    code = (
        "import errno, socket\n"
        f"for host in ('{place[0]}', '0.0.0.0', '::'):\n"
        "    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):\n"
        "        s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)\n"
        "        s.setsockopt(socket.SOL_SOCKET, option, 1)\n"
        "        try:\n"
        f"            s.bind((host, {place[1]})); s.listen(); print('taken')\n"
        "        except OSError as e: print(errno.errorcode[e.errno])\n"
    )
    lines, _ = run_apart(user_id, _relayed, spec, code)
    assert set(lines) == {"EACCES" if spec.static is None else "EADDRINUSE"}


@everybody
@needs_nft
def test_what_was_refused_is_counted_to_the_end(user_id: int) -> None:
    """Datagrams by themselves; also those of a process that the workload left behind."""
    code = (
        "import os, socket, time\n"
        "def send(count):\n"
        "    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    for _ in range(count):\n"
        "        try: s.sendto(b'x', ('8.8.8.8', 53))\n"
        "        except PermissionError: pass\n"
        "send(5)\n"
        "reader, writer = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.close(1); os.setsid(); send(2); os.write(writer, b'sent'); time.sleep(60)\n"
        "print(os.read(reader, 9).decode())\n"
    )
    lines, refused = run_apart(user_id, _relayed, _REDIRECTED, code)
    assert (lines, refused) == (["sent"], {"udp": 7, "other": 0})


@needs_nft
def test_packets_that_are_neither_tcp_nor_udp_are_refused_and_counted() -> None:
    """An ICMP request of one who may send it, in a namespace with the same rules."""

    def probe() -> list[Any]:
        _enter_own_network()
        network.prepare_interface(_REDIRECTED)
        inside = network.make_sockets(_REDIRECTED)
        network.redirect(_REDIRECTED, inside)
        refused = 0
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            for address in ("8.8.8.8", "10.77.0.9"):
                try:
                    raw.sendto(struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0), (address, 0))
                except PermissionError:
                    refused += 1
        inside.let_go()
        inside.maker.close()
        return [refused, asdict(nftables.count_refused())]

    assert run_apart(users()[-1], probe) == [2, {"udp": 0, "other": 2}]


def _enter_own_network() -> None:
    user, group = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET)
    namespaces.map_own_identity(user, group)
    syscalls.raise_loopback()


@everybody
@needs_nft
def test_the_program_that_makes_the_rules_may_change_networks_and_nothing_else(
    user_id: int,
) -> None:
    """One capability, in the sandbox's user namespace; for root too."""

    def probe() -> list[str]:
        _enter_own_network()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.dup2(writer, 1)
            syscalls.keep_only(syscalls.CAP_NET_ADMIN)
            os.execv("/usr/bin/grep", ["grep", "Cap", "/proc/self/status"])  # noqa: S606  # fixed
        os.close(writer)
        with os.fdopen(reader) as stream:
            lines = stream.read().splitlines()
        os.waitpid(child, 0)
        return [line.split()[1] for line in lines if "Bnd" not in line]

    assert run_apart(user_id, probe) == ["0000000000001000"] * 4


@everybody
@needs_nft
def test_half_closed_connections_are_not_forgotten(user_id: int) -> None:
    """The kernel keeps them as long as others."""
    code = (
        "base = '/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_'\n"
        "for state in ('fin_wait', 'close_wait', 'established'):\n"
        "    print(open(base + state).read().strip())\n"
    )
    assert run_apart(user_id, _relayed, _REDIRECTED, code)[0] == ["432000"] * 3


@everybody
@pytest.mark.parametrize("kind", ["missing", "refusing"])
def test_a_machine_without_nftables_is_named_and_can_do_with_named_ports(
    user_id: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`machine.nftables` says what to install or load; the same names work by static listeners."""
    monkeypatch.setenv("CLOISTER_TEST_EXPECTS_FAILURE", "1")
    if kind == "missing":
        monkeypatch.setattr(nftables, "PROGRAMS", ("/nowhere/nft",))
    else:
        if not any(Path(path).exists() for path in nftables.PROGRAMS):
            pytest.skip("needs nft: apt-get install nftables")
        monkeypatch.setattr(nftables, "rules", lambda _address, _port: "table inet x { hook nat }")

    def probe() -> None:
        with _sandbox(_REDIRECTED) as sandbox:
            sandbox.await_build()

    outcome = run_apart(user_id, probe)
    assert outcome["code"] == "machine.nftables"
    wanted = "apt-get install nftables" if kind == "missing" else "modprobe"
    assert wanted in outcome["hint"]
    assert "name every port" in outcome["hint"]
    code = _ASK + "print(json.dumps(ask(('ps-0', 2222))))"
    assert run_apart(user_id, _relayed, _STATIC, code)[0] == ['["10.77.0.1", 2222]']


@needs_nft
def test_rules_that_are_accepted_and_do_nothing_are_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One connection is tried before the workload starts: `machine.nftables`."""
    monkeypatch.setenv("CLOISTER_TEST_EXPECTS_FAILURE", "1")
    monkeypatch.setattr(nftables, "rules", lambda _address, _port: "table inet cloister { }")
    monkeypatch.setattr(network, "_TRIAL_TIMEOUT_S", 0.2)

    def probe() -> None:
        with _sandbox(_REDIRECTED) as sandbox:
            sandbox.await_build()

    assert run_apart(users()[0], probe)["code"] == "machine.nftables"


def _order(act: Callable[[Sandbox], object], spec: NetworkSpec | None) -> Any:
    def probe() -> None:
        with _sandbox(spec) as sandbox:
            act(sandbox)

    return run_apart(users()[0], probe)


def test_the_sockets_are_taken_once_and_before_the_workload_starts() -> None:
    """`protocol.local`: a network that nobody serves, one taken twice, and none."""

    def twice(sandbox: Sandbox) -> None:
        _close(sandbox.network())
        sandbox.network()

    assert _order(lambda sandbox: _go(sandbox, "pass"), _STATIC)["code"] == "protocol.local"
    assert _order(twice, _STATIC)["code"] == "protocol.local"
    assert _order(lambda sandbox: sandbox.network(), None)["code"] == "protocol.local"


def test_many_static_listeners_come_in_order() -> None:
    """More than one message holds."""
    static = tuple((f"10.77.0.{1 + n % 50}", 3000 + n) for n in range(300))

    def probe() -> bool:
        with _sandbox(NetworkSpec(_OWN, (), static)) as sandbox:
            found = sandbox.network()
            names = [socket.socket(fileno=each).getsockname() for each in found.listeners]
            os.close(found.maker)
            os.close(found.names)
        return tuple(names) == static

    assert run_apart(users()[0], probe) is True


@everybody
def test_a_sandbox_without_a_network_is_as_before(user_id: int) -> None:
    """Its files, its loopback, nothing to resolve with, and nothing counted."""
    code = (
        "import socket\n"
        "for name in ('hosts', 'hostname', 'resolv.conf', 'nsswitch.conf'):\n"
        "    print(ascii(open('/etc/' + name).read()))\n"
        "try: socket.create_connection(('8.8.8.8', 53), 2)\n"
        "except OSError as e: print(e.errno)\n"
        "print(len(open('/proc/net/route').readlines()), socket.gethostname())\n"
    )

    def probe() -> list[Any]:
        with _sandbox(None) as sandbox:
            text, ended = _end(sandbox, _go(sandbox, code))
        return [text.splitlines(), ended.refused]

    assert run_apart(user_id, probe) == [
        [
            r"'127.0.0.1 localhost cloister\n::1 localhost cloister\n'",
            r"'cloister\n'",
            "''",
            r"'passwd: files\ngroup: files\nhosts: files\nservices: files\n'",
            str(errno.ENETUNREACH),
            "1 worker-0",
        ],
        None,
    ]


def test_pid_1_answers_while_somebody_floods_it_with_requests() -> None:
    """Requests for sockets that nobody fetches delay an order by little."""

    def probe() -> float:
        with _sandbox(_STATIC) as sandbox:
            found = sandbox.network()
            stop = threading.Event()

            def flood() -> None:
                with socket.socket(fileno=os.dup(found.maker)) as maker:
                    maker.settimeout(0)
                    while not stop.is_set():
                        with contextlib.suppress(BlockingIOError):
                            maker.send(bytes([network.MAX_ASKED]))
                        time.sleep(0.0001)

            flooding = threading.Thread(target=flood)
            flooding.start()
            out = _go(sandbox, "import time; print('on', flush=True); time.sleep(60)")
            assert os.read(out, 9) == b"on\n"
            started = time.monotonic()
            sandbox.signal(15)
            ended = sandbox.wait(timeout_s=10)
            took = time.monotonic() - started
            stop.set()
            flooding.join()
            os.close(out)
            _close(found)
        assert ended is not None
        assert ended.status == 128 + 15
        return took

    assert run_apart(users()[0], probe) < 2
