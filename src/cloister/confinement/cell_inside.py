"""From a fork of the warm parent to a cell: every layer, then the code that nobody trusts.

It is forked ahead, enters its namespaces and waits for its order: what takes longest is done by
then, and nothing that it could have seen was there. One is used once.

Trust: everything up to `_enter` is ours and runs before the first byte of that code. Each step
either holds or ends the process. Order matters: what needs a privilege comes before the privileges
go, and the list of system calls comes last.

Spec: confinement-cell.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import importlib
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from cloister.confinement import landlock, namespaces, syscalls
from cloister.confinement.cell_filter import cell_filter
from cloister.confinement.cell_root import (
    CELL_FILES,
    SCRATCH,
    granted_places,
    mount_own_files,
    mount_own_scratch,
)
from cloister.confinement.cell_spec import CellSpec
from cloister.confinement.channel import Channel
from cloister.confinement.steps import Step, StepError
from cloister.errors import CloisterError
from cloister.wire import Fields, Value, encode

__all__ = ["PIPE", "CellPlace", "frame", "run_cell"]

PIPE: Final = 3
_SETUP: Final = 4
_OUT_OF_THE_WAY: Final = 64
_OPEN_FILES: Final = 256
_FILES_BYTES: Final = 64 << 20
_SETUP_TIMEOUT_S: Final = 30.0
_OWN_NAMESPACES: Final = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
)
_HOSTNAME: Final = "cell"
# Address space beside data: libraries that are loaded later, and what malloc keeps for threads, 64
# MiB for each of its arenas, whose number is limited for that.
_ADDRESS_SPACE_BESIDE: Final = 1 << 30
_ARENAS: Final = 8
_STACK_BYTES: Final = 8 << 20
_FIRST_TO_GO: Final = b"1000"
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class CellPlace:
    """What the warm parent found out for all of its cells.

    Attributes:
        user_id: Who cells are, in the parent's user namespace and in their own.
        group_id: Their group.
        proc: A descriptor of a procfs; no cell keeps it.
        landlock: The version of Landlock's interface.
        machine: The processor's architecture.
    """

    user_id: int
    group_id: int
    proc: int
    landlock: int
    machine: str


def run_cell(
    spec: CellSpec, place: CellPlace, orders: Channel, enter_group: Callable[[], None]
) -> NoReturn:
    """Become a cell, when there is an order for one.

    Args:
        spec: What it is like.
        place: What the parent found out.
        orders: Where two descriptors come: its end of the pipe, and the channel where its files
            come from and failures are said.
        enter_group: Moves it into its cgroup, where it has one.
    """
    failed: StepError | None = None
    try:
        with Step("cgroup"):
            enter_group()
        _prepare(spec, place)
    except StepError as e:
        failed = e  # said to who asks for the cell
    try:
        _, (pipe, setup) = orders.receive(timeout_s=None)
    except (CloisterError, ValueError):  # nobody will ask any more
        os._exit(1)
    status, report = 1, setup
    try:
        if failed is not None:
            raise failed
        channel = Channel(socket.socket(fileno=setup))
        order, _ = channel.receive(timeout_s=_SETUP_TIMEOUT_S)
        files = [
            (item.text("name"), item.octets("data", max_length=_FILES_BYTES))
            for item in (Fields(entry, what="file") for entry in order.array("files"))
        ]
        entry = order.text("entry")
        _build(place, files)
        _go_first(place)
        used = _in_use(place)
        _settle_descriptors(pipe, setup)
        report = _SETUP
        _limit(spec, used)
        _shut(place)
        _check()
        os.write(_SETUP, frame({"done": "up"}))
        os.close(_SETUP)
        status = _enter(entry)
    except StepError as e:
        _say(report, {"failed": e.step, "errno": e.number, "text": e.text})
    except Exception as e:  # noqa: BLE001  # the outermost frame of this process
        _say(report, {"failed": "internal", "errno": 0, "text": repr(e)[:500]})
    finally:
        os._exit(status)


def frame(message: dict[str, Value]) -> bytes:
    """Return a channel's message as bytes, for who may write but not send."""
    body = encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def _prepare(spec: CellSpec, place: CellPlace) -> None:
    """Enter namespaces of its own and put its scratch there, as long as it may."""
    with Step("cell-namespaces"):
        os.setsid()
        syscalls.unshare(_OWN_NAMESPACES)
        socket.sethostname(_HOSTNAME)
        syscalls.set_domain_name("(none)")
    with Step("cell-mounts"):
        mount_own_scratch(spec.scratch_bytes, user_id=place.user_id, group_id=place.group_id)
        os.chdir(SCRATCH)


def _build(place: CellPlace, files: list[tuple[str, bytes]]) -> None:
    """Put its files there, then become who may do none of this."""
    with Step("cell-mounts"):
        mount_own_files(files)
    with Step("cell-identity"):
        if os.geteuid() != place.user_id:
            os.setgroups([])
            os.setresgid(place.group_id, place.group_id, place.group_id)
            os.setresuid(place.user_id, place.user_id, place.user_id)
        # Its namespaces belong to the parent's user namespace: whatever it could become in this
        # one, over them it has no power.
        syscalls.set_dumpable(1)
        syscalls.unshare(syscalls.CLONE_NEWUSER)
        namespaces.map_own_identity(place.user_id, place.group_id, proc=place.proc)


def _go_first(place: CellPlace) -> None:
    """Be the one that the kernel ends where the machine's memory does not suffice."""
    with Step("cell-limits"):
        flags = os.O_WRONLY | os.O_CLOEXEC
        descriptor = os.open("self/oom_score_adj", flags, dir_fd=place.proc)
        os.write(descriptor, _FIRST_TO_GO)
        os.close(descriptor)


def _in_use(place: CellPlace) -> tuple[int, int]:
    """Return the bytes of address space and of data that this process has from its parent."""
    with Step("proc"):
        descriptor = os.open("self/statm", os.O_RDONLY | os.O_CLOEXEC, dir_fd=place.proc)
        pages = [int(number) for number in os.read(descriptor, 512).split()]
        os.close(descriptor)
    page = os.sysconf("SC_PAGE_SIZE")
    return pages[0] * page, pages[5] * page


def _settle_descriptors(pipe: int, setup: int) -> None:
    """Leave open: nothing to read, nowhere to write, the pipe, and for a moment the setup."""
    with Step("cell-descriptors"):
        high = [
            fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY) for number in (pipe, setup)
        ]
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for target in range(PIPE):
            os.dup2(null, target)
        os.dup2(high[0], PIPE)
        os.dup2(high[1], _SETUP)


def _limit(spec: CellSpec, used: tuple[int, int]) -> None:
    """Put up the limits that need no cgroup, from what is in use now."""
    with Step("cell-limits"):
        syscalls.close_from(_SETUP + 1)
        size, data = used
        _adjust_malloc(_M_ARENA_MAX, _ARENAS)
        if spec.reserve:
            _reserve(spec.memory_bytes)
        for kind, value in (
            (resource.RLIMIT_DATA, data + spec.memory_bytes),
            (resource.RLIMIT_AS, size + spec.memory_bytes + _ADDRESS_SPACE_BESIDE),
            (resource.RLIMIT_STACK, _STACK_BYTES),
            (resource.RLIMIT_CPU, spec.processor_s),
            (resource.RLIMIT_FSIZE, spec.scratch_bytes),
            (resource.RLIMIT_NOFILE, _OPEN_FILES),
            (resource.RLIMIT_NPROC, spec.tasks),
            (resource.RLIMIT_MEMLOCK, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
            (resource.RLIMIT_NICE, 0),
            (resource.RLIMIT_RTPRIO, 0),
            (resource.RLIMIT_CORE, namespaces.CORE_LIMIT),
        ):
            _, hard = resource.getrlimit(kind)
            limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (limit, limit))


def _reserve(memory_bytes: int) -> None:
    """Take the memory now, touch each page, and let malloc serve from it and give none back."""
    for parameter, value in (
        (_M_TRIM_THRESHOLD, -1),
        (_M_MMAP_MAX, 0),
        (_M_ARENA_MAX, 1),
        (_M_TOP_PAD, 0),
    ):
        _adjust_malloc(parameter, value)
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = (ctypes.c_void_p,)
    wanted = memory_bytes - memory_bytes // 16
    block = libc.malloc(ctypes.c_size_t(wanted))
    if not block:
        raise OSError(errno.ENOMEM, "malloc: there is not so much memory")
    ctypes.memset(block, 1, wanted)
    libc.free(block)


def _adjust_malloc(parameter: int, value: int) -> None:
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is None or adjust(parameter, value) != 1:
        raise OSError(errno.ENOSYS, "mallopt: this C library cannot be told how to take memory")


def _shut(place: CellPlace) -> None:
    """Give up everything else; from the last line on, only listed calls are made."""
    os.environ.clear()
    os.umask(0o077)
    signal.set_wakeup_fd(-1)
    namespaces.reset_signals()
    with Step("cell-privileges"):
        syscalls.forbid_new_privileges()
    if place.landlock:
        with Step("landlock"):
            grants = [landlock.Grant(path) for path in granted_places()]
            grants += [landlock.Grant("/dev/null", writable=True)]
            grants += [landlock.Grant(SCRATCH, writable=True)]
            landlock.apply_ruleset(grants, place.landlock)
    with Step("cell-privileges"):
        syscalls.drop_all_capabilities()
        syscalls.set_dumpable(0)
    with Step("filter"):
        syscalls.load_filter(cell_filter(place.machine, os.getpid()))


def _check() -> None:
    """Try what must fail; a layer that is not there is found here and not by the recipe."""
    attempts: tuple[tuple[str, Callable[[], object]], ...] = (
        ("a socket", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close()),
        ("a process", os.fork),
        ("a program", lambda: os.execv("/proc/self/exe", ["exe"])),  # noqa: S606  # must fail
        ("the root", Path("/escape").mkdir),
        ("a procfs", Path("/proc/self/status").read_bytes),
        ("a namespace", lambda: syscalls.unshare(syscalls.CLONE_NEWUSER)),
        ("another limit", lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))),
        ("shared memory", lambda: mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_SHARED | 0x20)),
        ("a signal to others", lambda: os.kill(-1, 0)),
    )
    for what, attempt in attempts:
        try:
            attempt()
        except (OSError, ValueError):  # Python's word for a limit that may not be set
            continue
        raise StepError("self-check", OSError(errno.EPERM, f"the cell could have {what}"))


def _enter(entry: str) -> int:
    """Run the code that nobody trusts; how it fails is nobody's business but its status."""
    sys.argv = ["cell"]
    sys.path = [path for path in sys.path if path.startswith("/")] + [CELL_FILES]
    sys.dont_write_bytecode = True
    # Whatever else is on the path is read-only, and the parent has listed it.
    sys.path_importer_cache.pop(CELL_FILES, None)
    module, _, function = entry.partition(":")
    try:
        getattr(importlib.import_module(module), function)(PIPE)
    except SystemExit as e:
        return e.code & 0xFF if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:  # noqa: BLE001  # whatever it is, it ends here
        return 1
    return 0


def _say(report: int, message: dict[str, Value]) -> None:
    """Report a failure; where nobody listens any more, the end says enough."""
    with contextlib.suppress(OSError):
        os.write(report, frame(message))
