"""The warm parent of cells: a process that has loaded libraries, and seen neither recipe nor data.

Started as a program of its own by `cell.Warm`, with no argument but the descriptor of a channel: it
inherits no memory. What is started first only enters namespaces and waits; its child, pid 1 there,
builds the tree, imports what it was told to, and then forks a cell for each order. It passes
descriptors on and reads from none of them, so that what a cell is given never lies in its memory.

If whoever started it dies, the channel closes, it ends, and the kernel ends every cell.

Spec: confinement-cell.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import platform
import resource
import select
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from cloister.confinement import landlock, namespaces, syscalls
from cloister.confinement.cell_cgroups import CellCgroups
from cloister.confinement.cell_filter import MACHINES
from cloister.confinement.cell_inside import CellPlace, run_cell
from cloister.confinement.cell_root import SCRATCH, build_cell_root, fact_files, runtime_binds
from cloister.confinement.cell_spec import CellSpec
from cloister.confinement.channel import Channel
from cloister.confinement.mounts import CELLS_PROC, TextFile, mount_memory
from cloister.confinement.steps import Step, StepError
from cloister.errors import CloisterError

__all__ = ["main"]

_ORDER_DESCRIPTORS: Final = 3
_SIGNALLED: Final = 128
# What the kernel may hold for a cell beside its memory and files.
_KERNEL_BYTES: Final = 64 << 20
_START_TIMEOUT_S: Final = 30.0


class _LackingError(Exception):
    """The machine lacks layers that may not be missing."""


class _PreloadError(Exception):
    """A module cannot be imported, or starts threads."""


def main() -> NoReturn:
    """Be the process that `Warm` starts."""
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    status = 1
    try:
        message, _ = channel.receive(timeout_s=_START_TIMEOUT_S)
        spec = CellSpec.from_fields(message)
        with Step("cgroup"):
            groups = CellCgroups(spec.cgroups)
        place = _prepare()
        files = fact_files(spec.memory_bytes, place.user_id, place.group_id)
        child = os.fork()
        if child == 0:
            _run_parent(spec, place, files, groups, channel)
        channel.close()
        os.waitpid(child, 0)
        status = 0
    except Exception as e:  # noqa: BLE001  # the outermost frame of this process
        _report(channel, e)
    finally:
        os._exit(status)


def _report(channel: Channel, error: Exception) -> None:
    """Say what failed, in the words of the stage, or which layer or module it is about."""
    if isinstance(error, StepError):
        channel.send({"failed": error.step, "errno": error.number, "text": error.text})
    elif isinstance(error, _LackingError):
        channel.send({"failed": "layers", "errno": 0, "text": str(error)})
    elif isinstance(error, _PreloadError):
        channel.send({"failed": "preload", "errno": 0, "text": str(error)})
    else:
        channel.send({"failed": "internal", "errno": 0, "text": repr(error)[:500]})


def _prepare() -> CellPlace:
    """Enter namespaces, with a second user where this one may give one."""
    machine = platform.machine()
    with Step("filter"):
        if machine not in MACHINES:
            raise OSError(38, f"no list of system calls for {machine} processors")
    where = CELLS_PROC if Path(CELLS_PROC).is_dir() else "/proc"
    with Step("proc"):
        proc = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with Step("landlock"):
        abi = landlock.version()
    user_id, group_id = os.geteuid(), os.getegid()
    with Step("namespaces"):
        second = namespaces.enter_namespaces_with_second_user(user_id, group_id, proc=proc)
    if second:
        user_id = group_id = namespaces.NOBODY
    else:
        with Step("identity"):
            namespaces.map_own_identity(user_id, group_id, proc=proc)
    with Step("core-dumps"):
        namespaces.forbid_core_dumps(proc=proc)
    return CellPlace(user_id, group_id, proc, abi, machine)


def _missing(spec: CellSpec, place: CellPlace) -> list[str]:
    """Return which layers this machine lacks, if the spec accepts that of all of them."""
    missing = [*landlock.lacking(place.landlock)]
    if place.user_id != namespaces.NOBODY and _is_exempt():
        missing.append("tasks")
    refused = [layer for layer in missing if layer not in spec.accept_missing]
    if refused:
        raise _LackingError(" ".join(refused))
    return missing


def _is_exempt() -> bool:
    """Return whether the kernel counts no tasks of this user, as it does for the machine's root."""
    child = os.fork()
    if child == 0:
        counted = 1
        try:
            resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            if os.fork() == 0:
                os._exit(0)
        except OSError:
            counted = 0
        finally:
            os._exit(counted)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) != 0


def _run_parent(
    spec: CellSpec,
    place: CellPlace,
    files: tuple[TextFile, ...],
    groups: CellCgroups,
    channel: Channel,
) -> NoReturn:
    """Be pid 1, the first child in the new pid namespace: build the tree, import, then fork."""
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        os.umask(0o022)
        missing = _missing(spec, place)
        with Step("root"):
            build_cell_root([*runtime_binds(), *spec.binds], files)
        _Parent(spec, place, groups, channel).serve(missing)
    except Exception as e:  # noqa: BLE001  # the outermost frame of this process
        _report(channel, e)
    finally:
        os._exit(1)


@dataclass(frozen=True, slots=True)
class _Spare:
    """A fork that waits for its order.

    Attributes:
        child: The process.
        group: Its cgroup.
        orders: Where the order goes.
    """

    child: int
    group: str
    orders: Channel


@dataclass
class _Parent:
    """Pid 1. Its state is who its cells are and where their ends are told."""

    spec: CellSpec
    place: CellPlace
    groups: CellCgroups
    channel: Channel
    own_pids: int = -1
    made: int = 0
    spare: _Spare | None = None
    cells: dict[int, tuple[int, str, Channel]] = field(default_factory=dict)

    def serve(self, missing: list[str]) -> NoReturn:
        """Import, say so, and fork until the channel closes."""
        with Step("root"):
            mount_memory(SCRATCH, "mode=0700,size=16m", syscalls.MS_NOEXEC)
        self._preload()
        with Step("root"):
            syscalls.umount(SCRATCH, syscalls.MNT_DETACH)
        syscalls.set_dumpable(0)
        with Step("namespaces"):
            self.own_pids = os.open(
                "self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.place.proc
            )
        gc.collect()
        gc.freeze()
        self.channel.send({"done": "warm", "missing": [*missing], "user_id": self.place.user_id})
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        while True:
            if self.spare is None and not poll.poll(0):  # when nobody is kept waiting by it
                with contextlib.suppress(
                    StepError, OSError
                ):  # an order meets it again, and says so
                    self.spare = self._make_spare()
            for descriptor, _ in poll.poll():
                if descriptor == self.channel.fileno():
                    poll.register(self._fork(), select.POLLIN)
                else:
                    poll.unregister(descriptor)
                    self._finish(descriptor)

    def _preload(self) -> None:
        """Import what was asked for, in the tree that cells will see."""
        # Some look for a place to write when they are imported, and `/tmp` may lead nowhere.
        os.environ["TMPDIR"] = SCRATCH
        os.environ.update(self.spec.environment)
        importlib.invalidate_caches()
        for name in self.spec.preload:
            try:
                importlib.import_module(name)
            except Exception as e:
                raise _PreloadError(f"{name} cannot be imported: {e!r}"[:500]) from e
        if self._threads() > 1:
            # Some libraries end their threads before a fork, and start new ones when they are used.
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
        if self._threads() > 1:
            raise _PreloadError("an imported module started threads, which no fork has")

    def _threads(self) -> int:
        with Step("proc"):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            descriptor = os.open("self/task", flags, dir_fd=self.place.proc)
            count = len(os.listdir(descriptor))  # noqa: PTH208  # a descriptor has no path
            os.close(descriptor)
        return count

    def _fork(self) -> int:
        """Let a spare become a cell; return a descriptor that is readable when it has ended."""
        try:
            order, descriptors = self.channel.receive(timeout_s=None)
        except CloisterError:
            self._end()
        order.constant("do", "fork")
        if len(descriptors) != _ORDER_DESCRIPTORS:
            os._exit(1)
        pipe, setup, end = descriptors
        spare, self.spare = self.spare or self._make_spare(), None
        handle = os.pidfd_open(spare.child)
        with contextlib.suppress(CloisterError):  # one that has ended: its pipe will tell
            spare.orders.send({"do": "cell"}, [pipe, setup])
        spare.orders.close()
        os.close(pipe)
        os.close(setup)
        self.cells[handle] = spare.child, spare.group, Channel(socket.socket(fileno=end))
        self.channel.send({"done": "fork"}, [handle])
        return handle

    def _make_spare(self) -> _Spare:
        """Fork ahead what the next order makes a cell; all that it has is what all of them have."""
        self.made += 1
        group = f"cell-{os.getpid()}-{self.made}"
        with Step("cgroup"):
            memory = self.spec.memory_bytes + self.spec.scratch_bytes + _KERNEL_BYTES
            self.groups.make(group, memory_bytes=memory, tasks=self.spec.tasks)
        with Step("namespaces"):
            syscalls.unshare(syscalls.CLONE_NEWPID)
        ours, theirs = Channel.pair()
        child = -1
        try:
            child = os.fork()
        finally:
            if child != 0:  # the next one needs it, whether this one came to be or not
                with Step("namespaces"):
                    syscalls.setns(self.own_pids, syscalls.CLONE_NEWPID)
        if child == 0:
            # It waits for as long as nobody asks: it holds nothing that is another's.
            for each in (ours, self.channel, *(end for _, _, end in self.cells.values())):
                each.close()
            run_cell(self.spec, self.place, theirs, lambda: self.groups.enter(group))
        theirs.close()
        return _Spare(child, group, ours)

    def _end(self) -> NoReturn:
        """End, with every cell; nothing of the spare is left."""
        if self.spare is not None:
            os.kill(self.spare.child, signal.SIGKILL)
            os.waitpid(self.spare.child, 0)
            self.groups.remove(self.spare.group)
        os._exit(0)

    def _finish(self, handle: int) -> None:
        """Reap a cell and tell whoever holds the other end of its `end`, if anybody does."""
        child, group, end = self.cells.pop(handle)
        _, status, usage = os.wait4(child, 0)
        os.close(handle)
        self.groups.remove(group)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(CloisterError):  # perhaps nobody waits for it any more
            end.send(
                {
                    "exited": code if code >= 0 else _SIGNALLED - code,
                    "processor_ms": int(1000 * (usage.ru_utime + usage.ru_stime)),
                    "peak_bytes": usage.ru_maxrss * 1024,
                }
            )
        end.close()


if __name__ == "__main__":
    main()
