"""The list of system calls of a cell, run by a small interpreter of its instructions."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from cloister.confinement.cell_filter import (
    ALLOWED,
    MACHINES,
    NARROWED,
    WITHOUT,
    cell_filter,
    number_of,
)
from cloister.confinement.seccomp import ARCHITECTURES

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_OWN = 1
_THREAD = 0x3D0F00
machines = pytest.mark.parametrize("machine", sorted(MACHINES))


def _judge(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """Return what the filter answers to one call."""
    audit_arch = MACHINES[machine][0] if arch is None else arch
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", number, audit_arch, 0, *padded)
    program = cell_filter(machine, _OWN)
    accumulator, position = 0, 0
    while True:
        code, when_true, when_false, value = struct.unpack_from("=HBBI", program, 8 * position)
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return int(value)
        else:
            taken = accumulator == value if code == 0x15 else accumulator >= value
            position += when_true if taken else when_false


def _call(machine: str, name: str, *arguments: int) -> int:
    number = number_of(name, machine)
    if number is None:
        pytest.skip(f"{machine} has no {name}")
    return _judge(machine, number, *arguments)


@machines
@pytest.mark.spec("CELL-31")
def test_what_is_not_listed_is_refused(machine: str) -> None:
    """Of all numbers there are, exactly the listed ones pass or say that they are none."""
    passing = {number_of(name, machine) for name in ALLOWED}
    without = {number_of(name, machine) for name in WITHOUT}
    narrowed = {number_of(name, machine) for name in NARROWED}
    for number in range(1024):
        if number in passing:
            assert _judge(machine, number) == _ALLOW, number
        elif number in without:
            assert _judge(machine, number) == _ERRNO | errno.ENOSYS, number
        elif number not in narrowed:
            assert _judge(machine, number) == _ERRNO | errno.EPERM, number


@machines
@pytest.mark.spec("CELL-31")
def test_nothing_that_the_workload_may_not_do_is_listed(machine: str) -> None:
    """A cell may do less than a workload, in every call."""
    _, socket_number, denied = ARCHITECTURES[machine]
    listed = {number_of(name, machine) for name in (*ALLOWED, *NARROWED)}
    assert not listed & {socket_number, *denied.values()}


@machines
def test_each_number_stands_once(machine: str) -> None:
    """No call is judged twice, by two rules."""
    names = [*ALLOWED, *WITHOUT, *NARROWED]
    numbers = [number for name in names if (number := number_of(name, machine)) is not None]
    assert len(set(numbers)) == len(numbers)
    assert len(set(names)) == len(names)


@machines
@pytest.mark.spec("CELL-32")
def test_only_threads_can_be_made(machine: str) -> None:
    """What the C library asks for a thread passes; a process, or a namespace, does not."""
    assert _call(machine, "clone", _THREAD) == _ALLOW
    refused = _ERRNO | errno.EPERM
    for flags in (
        0,
        17,  # SIGCHLD: a process
        0x4111,  # VM, VFORK: what starts programs
        _THREAD & ~0x100,  # memory of its own
        _THREAD & ~0x200,  # a folder of its own
        _THREAD & ~0x10000,  # not a thread
        *(_THREAD | 1 << bit for bit in (17, 25, 26, 27, 28, 29, 30, 7)),  # namespaces
        _THREAD | 1 << 15,  # a sibling of the cell
    ):
        assert _call(machine, "clone", flags) == refused, hex(flags)
    assert _call(machine, "clone3") == _ERRNO | errno.ENOSYS


@machines
@pytest.mark.spec("CELL-32")
def test_signals_reach_nobody_else(machine: str) -> None:
    """Kill and tgkill take the cell's own number, not a group's and not everybody's."""
    for name in ("kill", "tgkill"):
        assert _call(machine, name, _OWN, 6) == _ALLOW
        for process in (0, 2, 4242, 0xFFFFFFFF, 2**64 - 1):
            assert _call(machine, name, process, 6) == _ERRNO | errno.EPERM


@machines
@pytest.mark.spec("CELL-34")
def test_memory_that_no_limit_counts_cannot_be_had(machine: str) -> None:
    """None shared without a file, none that grows down, no huge pages."""
    assert _call(machine, "mmap", 0, 4096, 3, 0x22) == _ALLOW  # private, anonymous
    assert _call(machine, "mmap", 0, 4096, 3, 0x20022) == _ALLOW  # a thread's stack
    assert _call(machine, "mmap", 0, 4096, 1, 0x1) == _ALLOW  # shared, of a file
    for flags in (0x21, 0x23, 0x8021):
        assert _call(machine, "mmap", 0, 4096, 3, flags) == _ERRNO | errno.EPERM
    for flags in (0x122, 0x40022):
        assert _call(machine, "mmap", 0, 4096, 3, flags) == _ERRNO | errno.ENOMEM


@machines
@pytest.mark.spec("CELL-34")
def test_limits_can_be_read_and_not_set(machine: str) -> None:
    """Prlimit of itself without a new limit, and no other."""
    assert _call(machine, "prlimit64", 0, 7, 0, 0x7000) == _ALLOW
    for arguments in ((0, 7, 0x7000), (0, 7, 1 << 32), (1, 7, 0)):
        assert _call(machine, "prlimit64", *arguments) == _ERRNO | errno.EPERM


@machines
@pytest.mark.parametrize(
    ("name", "place", "allowed", "refused"),
    [
        # locks, leases, owners of signals, sizes of pipes, seals
        ("fcntl", 1, (0, 1, 2, 3, 4, 1030), (5, 6, 7, 8, 10, 36, 37, 38, 1024, 1026, 1031, 1033)),
        # typing into a terminal, taking one, cloning a file's blocks
        ("ioctl", 1, (0x5421, 0x5401, 0x541B), (0x5412, 0x540E, 0x40049409, 0x5410)),
        # dumpable, death signals, capabilities, filters, time
        ("prctl", 0, (16,), (1, 3, 4, 8, 22, 23, 24, 26, 28, 29, 36, 38, 47, 53)),
    ],
)
@pytest.mark.spec("CELL-33")
def test_calls_with_many_meanings_have_few(
    machine: str, name: str, place: int, allowed: tuple[int, ...], refused: tuple[int, ...]
) -> None:
    """Of calls that do many things, only harmless ones."""
    zeros = [0] * place
    for value in allowed:
        assert _call(machine, name, *zeros, value) == _ALLOW, value
    for value in refused:
        assert _call(machine, name, *zeros, value) == _ERRNO | errno.EPERM, value


@machines
@pytest.mark.spec("CELL-30")
def test_a_call_of_another_architecture_fails(machine: str) -> None:
    """The 32-bit entry cannot be used to go around the list, nor to have something recorded."""
    for number in (0, 1, 20, 102, 359, 0x40000000):
        assert _judge(machine, number, arch=0x40000003) == _ERRNO | errno.ENOSYS


@machines
@pytest.mark.spec("CELL-33")
def test_names_are_taken_and_go_nowhere(machine: str) -> None:
    """Libraries that name their threads go on; nobody outside reads what a cell chose."""
    for value in (15, 0x53564D41):
        assert _call(machine, "prctl", value) == _ERRNO | 0


@machines
@pytest.mark.spec("CELL-38")
def test_futexes_lend_no_priorities(machine: str) -> None:
    """Waiting and waking, of this process or not, by one clock or the other."""
    for flags in (0, 0x80, 0x100, 0x180):
        for operation in (0, 1, 3, 4, 5, 9, 10):
            assert _call(machine, "futex", 4096, operation | flags) == _ALLOW
        for operation in (2, 6, 7, 8, 11, 12, 13, 14, 0x200, 1 << 31):
            assert _call(machine, "futex", 4096, operation | flags) == _ERRNO | errno.ENOSYS


@machines
@pytest.mark.spec("CELL-38")
def test_advice_and_barriers_are_of_the_cell_alone(machine: str) -> None:
    """No merged pages, none put out, no interrupt of other processes."""
    for advice in (0, 4, 8, 14):
        assert _call(machine, "madvise", 4096, 4096, advice) == _ALLOW
    for advice in (5, 9, 12, 13, 20, 21, 22, 23, 25, 100, 101):
        assert _call(machine, "madvise", 4096, 4096, advice) == _ERRNO | errno.EINVAL
    for command in (0, 8, 16):
        assert _call(machine, "membarrier", command) == _ALLOW
    for command in (1, 2, 4, 9, 1 << 20):
        assert _call(machine, "membarrier", command) == _ERRNO | errno.EINVAL


@pytest.mark.spec("CELL-30")
def test_the_x32_entry_does_not_exist() -> None:
    """Numbers with the x32 bit are refused before the list is read."""
    assert _judge("x86_64", 0x40000000) == _ERRNO | errno.ENOSYS


@pytest.mark.parametrize(
    ("machine", "header", "prefix"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "__NR_"),
        ("aarch64", "/usr/include/asm-generic/unistd.h", "__NR(?:3264)?_"),
    ],
)
def test_numbers_are_the_kernels(machine: str, header: str, prefix: str) -> None:
    """Each number is that of the kernel's own table, where its headers are installed."""
    if not Path(header).exists():
        pytest.skip(f"there is no {header}")
    text = Path(header).read_text(encoding="ascii")
    table = {name: int(value) for name, value in re.findall(rf"#define {prefix}(\w+) (\d+)", text)}
    table.setdefault("newfstatat", table.get("fstatat", -1))
    for name in (*ALLOWED, *WITHOUT, *NARROWED):
        number = number_of(name, machine)
        if name in table or number is not None:
            assert number == table.get(name, number), name
