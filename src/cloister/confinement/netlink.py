"""Addresses and routes of this network namespace, asked of the kernel by route netlink.

Two requests exist here, each with its own bytes and the kernel's answer to it; nothing is read but
that answer. Layouts are those of rtnetlink(7) and netlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final

__all__ = ["add_address", "add_default_route", "address_request", "failure", "route_request"]

_NEW_ADDRESS: Final = 20
_NEW_ROUTE: Final = 24
_NLMSG_ERROR: Final = 2
# A request, with an answer; make it, and fail where it is there already.
_FLAGS: Final = 0x1 | 0x4 | 0x200 | 0x400
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_RTA_OIF: Final = 4
_RTA_PREFSRC: Final = 7
_HOST_PREFIX: Final = 32
_SCOPE_GLOBAL: Final = 0
_SCOPE_LINK: Final = 253
_TABLE_MAIN: Final = 254
_PROTOCOL_STATIC: Final = 4
_UNICAST: Final = 1
_HEADER: Final = struct.Struct("=IHHII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ROUTE: Final = struct.Struct("=BBBBBBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ERROR: Final = struct.Struct("=i")
_KERNEL: Final = (0, 0)
_SEQUENCE: Final = 1
_MAX_ANSWER: Final = 4096
_ANSWER_TIMEOUT_S: Final = 5.0


def add_address(interface: int, address: str) -> None:
    """Give an interface one more IPv4 address, with nobody else in its network.

    Raises:
        OSError: The kernel refused.
    """
    _ask(address_request(interface, address), f"address {address}")


def add_default_route(interface: int, source: str) -> None:
    """Send all IPv4 that has no other way to an interface, from the address `source`.

    Raises:
        OSError: The kernel refused.
    """
    _ask(route_request(interface, source), "default route")


def address_request(interface: int, address: str) -> bytes:
    """Return the message that adds `address`/32 to the interface of that index."""
    octets = socket.inet_aton(address)
    fixed = _ADDRESS.pack(socket.AF_INET, _HOST_PREFIX, 0, _SCOPE_GLOBAL, interface)
    return _message(
        _NEW_ADDRESS, fixed + _attribute(_IFA_LOCAL, octets) + _attribute(_IFA_ADDRESS, octets)
    )


def route_request(interface: int, source: str) -> bytes:
    """Return the message that adds a default route through the interface of that index."""
    fixed = _ROUTE.pack(
        socket.AF_INET, 0, 0, 0, _TABLE_MAIN, _PROTOCOL_STATIC, _SCOPE_LINK, _UNICAST, 0
    )
    return _message(
        _NEW_ROUTE,
        fixed
        + _attribute(_RTA_PREFSRC, socket.inet_aton(source))
        + _attribute(_RTA_OIF, struct.pack("=I", interface)),
    )


def failure(answer: bytes, sender: tuple[int, int]) -> int:
    """Return the errno in the answer to one request; 0 where it was carried out.

    Raises:
        OSError: EBADMSG: Not the kernel's answer to our request.
    """
    if sender != _KERNEL or len(answer) < _HEADER.size + _ERROR.size:
        raise OSError(errno.EBADMSG, "netlink: no answer of the kernel")
    length, kind, _flags, sequence, _port = _HEADER.unpack_from(answer)
    if length != len(answer) or kind != _NLMSG_ERROR or sequence != _SEQUENCE:
        raise OSError(errno.EBADMSG, "netlink: not the answer to our request")
    (number,) = _ERROR.unpack_from(answer, _HEADER.size)
    if number > 0:
        raise OSError(errno.EBADMSG, "netlink: an errno that none is")
    return -int(number)


def _ask(request: bytes, what: str) -> None:
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_ANSWER_TIMEOUT_S)
        kernel.bind((0, 0))
        kernel.sendto(request, _KERNEL)
        number = failure(*kernel.recvfrom(_MAX_ANSWER))
    if number:
        raise OSError(number, f"netlink: {what}: {os.strerror(number)}")


def _message(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, _FLAGS, _SEQUENCE, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    # Every value here is four bytes long, so that none needs padding.
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
