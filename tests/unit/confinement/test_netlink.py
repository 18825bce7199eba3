"""The two requests of route netlink, byte for byte, and what counts as an answer."""

from __future__ import annotations

import errno
import struct

import pytest

from cloister.confinement.netlink import address_request, failure, route_request

_KERNEL = (0, 0)


def _answer(number: int, *, kind: int = 2, sequence: int = 1, length: int = 36) -> bytes:
    return struct.pack("=IHHIIi16x", length, kind, 0, sequence, 7, number)


def test_an_address_is_asked_for_as_the_kernel_wants_it() -> None:
    """Header and flags; IPv4 with 32 bits on interface 1; the local address, and the address."""
    assert address_request(1, "10.77.4.1") == bytes.fromhex(
        "28000000 1400 0506 01000000 00000000"
        "02 20 00 00 01000000"
        "0800 0200 0a4d0401"
        "0800 0100 0a4d0401"
    )


def test_a_route_is_asked_for_as_the_kernel_wants_it() -> None:
    """Header and flags; 0 bits, main table, static, link, unicast; the source, the interface."""
    assert route_request(1, "10.77.4.1") == bytes.fromhex(
        "2c000000 1800 0506 01000000 00000000"
        "02 00 00 00 fe 04 fd 01 00000000"
        "0800 0700 0a4d0401"
        "0800 0400 01000000"
    )


@pytest.mark.parametrize("text", ["10.77.4.256", "worker-0", "", "::1"])
def test_what_is_no_address_is_not_sent(text: str) -> None:
    """The message is not made."""
    with pytest.raises(OSError, match="illegal IP address"):
        address_request(1, text)


@pytest.mark.parametrize("number", [0, errno.EPERM, errno.EEXIST])
def test_the_kernels_answer_is_its_errno(number: int) -> None:
    """Zero is success; others come negative."""
    assert failure(_answer(-number), _KERNEL) == number


@pytest.mark.parametrize(
    ("answer", "sender"),
    [
        (_answer(0), (4711, 0)),
        (_answer(0), (0, 1)),
        (b"", _KERNEL),
        (_answer(0)[:19], _KERNEL),
        (_answer(0, kind=3), _KERNEL),
        (_answer(0, sequence=2), _KERNEL),
        (_answer(0, length=20), _KERNEL),
        (_answer(1), _KERNEL),
    ],
)
def test_anything_else_is_no_answer(answer: bytes, sender: tuple[int, int]) -> None:
    """Another sender, kind, number or length is a failure and not a success."""
    with pytest.raises(OSError, match="netlink") as caught:
        failure(answer, sender)
    assert caught.value.errno == errno.EBADMSG
