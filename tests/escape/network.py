"""Attempts on the network, on local sockets, and on the pipe as something else than a stream."""

from __future__ import annotations

import array
import fcntl
import os
import socket
from typing import Final

from escape.table import APART, Nothing, Place, call, probe

_FAMILIES: Final[dict[str, tuple[int, int, int]]] = {
    "unix-stream": (1, 1, 0), "unix-datagram": (1, 2, 0), "unix-packets": (1, 5, 0),
    "inet-tcp": (2, 1, 0), "inet-udp": (2, 2, 0), "inet-raw": (2, 3, 255),
    "inet6-tcp": (10, 1, 0), "inet6-udp": (10, 2, 0), "inet6-raw": (10, 3, 255),
    "netlink-route": (16, 3, 0), "netlink-audit": (16, 3, 9), "netlink-netfilter": (16, 3, 12),
    "netlink-uevents": (16, 3, 15), "netlink-diagnosis": (16, 3, 4), "netlink-generic": (16, 3, 16),
    "packet": (17, 3, 0x300), "vsock": (40, 1, 0), "vsock-datagram": (40, 2, 0),
    "alg": (38, 5, 0), "bluetooth": (31, 3, 1), "can": (29, 3, 1), "xdp": (44, 3, 0),
    "key": (15, 3, 2), "tipc": (30, 1, 0), "rds": (21, 5, 0), "kcm": (41, 5, 0),
    "qrtr": (42, 2, 0), "smc": (43, 1, 0), "mptcp": (2, 1, 262), "sctp": (2, 1, 132),
}  # fmt: skip
for _name, _numbers in _FAMILIES.items():
    probe(f"socket.{_name}", f"Make a socket: {_name}", "EPERM", control=APART)(
        lambda _, numbers=_numbers: os.close(call("socket", *numbers))
    )


@probe("socket.every-family", "Make a socket of any family and type", "nothing", control=APART)
def _every_family(_: Place) -> object:
    for family in range(64):
        for kind in (1, 2, 3, 4, 5, 6, 10):
            try:
                return family, kind, call("socket", family, kind, 0)
            except PermissionError:
                continue
    raise Nothing("all are refused")


@probe("socket.pair", "Make two sockets that are connected", "EPERM")
def _pair(_: Place) -> object:
    return socket.socketpair()


@probe("socket.tcp-service", "Reach a service of the machine over TCP", "EPERM")
def _tcp_service(place: Place) -> object:
    return socket.create_connection(("127.0.0.1", place.tcp), timeout=2)


@probe("socket.abstract-service", "Reach one at an abstract name", "EPERM")
def _abstract_service(place: Place) -> object:
    found = socket.socket(socket.AF_UNIX)
    return found.connect("\0" + place.abstract)


@probe("socket.path-service", "Reach one at a path", "EPERM")
def _path_service(place: Place) -> object:
    found = socket.socket(socket.AF_UNIX)
    return found.connect(place.path)


@probe("socket.listen-abstract", "Listen at an abstract name", "EPERM", control=APART)
def _listen_abstract(_: Place) -> object:
    found = socket.socket(socket.AF_UNIX)
    found.bind("\0cloister-escape")
    return found.listen()


@probe("socket.listen-path", "Listen at a path in the scratch", "EPERM")
def _listen_path(place: Place) -> object:
    found = socket.socket(socket.AF_UNIX)
    found.bind(f"{place.folder}/s")
    return found.listen()


@probe("socket.names", "Look up a name", "nothing")
def _names(_: Place) -> object:
    try:
        return socket.getaddrinfo("localhost", 80)
    except OSError as e:  # has a number of its own kind
        raise Nothing(str(e)) from e


@probe("socket.interfaces", "List network interfaces", "EPERM")
def _interfaces(_: Place) -> object:
    return socket.if_nameindex()


def _pipe(place: Place) -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(place.pipe))


@probe("pipe.send-descriptor", "Send a descriptor along the pipe", "EPERM")
def _send_descriptor(place: Place) -> object:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))]
    return _pipe(place).sendmsg([b"x"], rights)


@probe("pipe.receive-descriptor", "Receive one", "EPERM")
def _receive_descriptor(place: Place) -> object:
    return _pipe(place).recvmsg(1, 64, socket.MSG_DONTWAIT | socket.MSG_PEEK)


@probe("pipe.peek", "Look at what is not yet read, and leave it there", "EPERM")
def _peek(place: Place) -> object:
    return _pipe(place).recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)


@probe("pipe.urgent", "Send a byte outside of the stream", "EPERM")
def _urgent(place: Place) -> object:
    return _pipe(place).send(b"x", socket.MSG_OOB)


@probe("pipe.peer", "Ask who is at the other end", "EPERM")
def _peer(place: Place) -> object:
    return _pipe(place).getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)


@probe("pipe.peer-handle", "Take a handle of the process at the other end", "EPERM")
def _peer_handle(place: Place) -> object:
    return _pipe(place).getsockopt(socket.SOL_SOCKET, 77)


@probe("pipe.options", "Make its buffer larger", "EPERM")
def _options(place: Place) -> object:
    return _pipe(place).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)


@probe("pipe.name", "Give it a name that others can connect to", "EPERM", control=APART)
def _name_it(place: Place) -> object:
    return _pipe(place).bind("\0cloister-escape")


@probe("pipe.connect", "Connect it to another service", "EPERM")
def _connect(place: Place) -> object:
    return call("connect", place.pipe, b"\x01\0\0x", 4, reached=("EISCONN", "ECONNREFUSED"))


@probe("pipe.shut", "End one direction of it and keep the other", "EPERM")
def _shut(place: Place) -> object:
    return _pipe(place).shutdown(socket.SHUT_RD)


for _name, _tried, _number in (
    ("waiting", "Ask how much the other end has not read yet", 0x5411),
    ("path", "Take the file that its name stands for", 0x89E0),
    ("interface-list", "Ask it for network interfaces", 0x8912),
    ("interface-flags", "Ask it for the state of one", 0x8913),
    ("signals", "Have signals about it sent (FIOASYNC)", 0x5452),
    ("signal-owner", "Say to whom (FIOSETOWN)", 0x8901),
):

    def _ioctl(place: Place, number: int = _number) -> object:
        try:
            return fcntl.ioctl(place.pipe, number, bytes(64))
        except OSError as e:
            if e.errno in {2, 19, 22, 14, 3}:  # the kernel looked: no such path, interface, process
                return "asked"
            raise

    probe(f"pipe.{_name}", _tried, "EPERM")(_ioctl)


@probe("pipe.splice", "Have the kernel move bytes into it", "EPERM")
def _splice(place: Place) -> object:
    ours, theirs = os.pipe()
    os.write(theirs, b"x")
    return call("splice", ours, None, place.pipe, None, 1, 0)


@probe("pipe.gift-pages", "Give pages of its memory away (vmsplice)", "EPERM")
def _gift_pages(_: Place) -> object:
    return call("vmsplice", os.pipe()[1], None, 0, 0)


@probe("pipe.sendfile", "Have the kernel send a file", "ENOSYS")
def _sendfile(place: Place) -> object:
    return os.sendfile(place.pipe, os.open(place.read_only[1], os.O_RDONLY), 0, 1)


@probe("pipe.others", "Find another descriptor that was left open", "nothing", alone=True)
def _others(place: Place) -> object:
    found = []
    for number in range(1024):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    if set(found) <= {0, 1, 2, place.pipe}:
        raise Nothing("nothing but null, and the pipe")
    return found
