"""The system call filter, run by a small interpreter of its instructions."""

from __future__ import annotations

import errno
import struct

import pytest

from cloister.confinement.seccomp import ARCHITECTURES, filter_program

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
machines = pytest.mark.parametrize("machine", sorted(ARCHITECTURES))


def _judge(machine: str, number: int, argument: int = 0, arch: int | None = None) -> int:
    """Return what the filter answers to one call."""
    audit_arch = ARCHITECTURES[machine][0] if arch is None else arch
    data = struct.pack("=iIQ6Q", number, audit_arch, 0, argument, 0, 0, 0, 0, 0)
    program = filter_program(machine)
    accumulator, position = 0, 0
    while True:
        code, when_true, when_false, value = struct.unpack_from("=HBBI", program, 8 * position)
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:
            return value
        else:
            taken = accumulator == value if code == 0x15 else accumulator >= value
            position += when_true if taken else when_false


@machines
def test_listed_calls_are_refused(machine: str) -> None:
    """Every denied call fails with EPERM, io_uring with ENOSYS."""
    for name, number in ARCHITECTURES[machine][2].items():
        expected = errno.ENOSYS if name.startswith("io_uring") else errno.EPERM
        assert _judge(machine, number) == _ERRNO | expected, name


@machines
def test_other_calls_are_allowed(machine: str) -> None:
    """Calls that are not listed pass."""
    _, socket_number, denied = ARCHITECTURES[machine]
    for number in range(460):
        if number != socket_number and number not in denied.values():
            assert _judge(machine, number) == _ALLOW, number


@machines
@pytest.mark.parametrize(("family", "allowed"), [(1, True), (2, True), (10, True), (16, True)])
def test_common_socket_families_pass(machine: str, family: int, *, allowed: bool) -> None:
    """Local, IP and route sockets can be made."""
    assert (_judge(machine, ARCHITECTURES[machine][1], family) == _ALLOW) is allowed


@machines
@pytest.mark.parametrize("family", [0, 3, 17, 31, 38, 40, 44])
def test_sockets_that_reach_past_namespaces_are_refused(machine: str, family: int) -> None:
    """AF_VSOCK and everything else that is not listed fails with EAFNOSUPPORT."""
    answer = _judge(machine, ARCHITECTURES[machine][1], family)
    assert answer == _ERRNO | errno.EAFNOSUPPORT


@machines
def test_a_call_of_another_architecture_kills(machine: str) -> None:
    """The 32-bit entry cannot be used to go around the list."""
    assert _judge(machine, 0, arch=0x40000003) == _KILL


def test_the_x32_entry_does_not_exist() -> None:
    """Numbers with the x32 bit are refused before the list is read."""
    assert _judge("x86_64", 0x40000000 | 165) == _ERRNO | errno.ENOSYS
