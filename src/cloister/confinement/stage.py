"""What runs between the launcher and the workload: a supervisor outside, pid 1 inside.

The launcher forks the supervisor before any key arrives, so that neither it nor pid 1 has ever held
one. The supervisor enters new namespaces and forks pid 1, which builds the tree, obeys the launcher
over a `Channel`, starts the workload, forwards signals, reaps, unmounts, and reports how it ended.

Whoever of the three dies takes the others along: each asks the kernel to be killed with its parent,
pid 1 hangs up when the channel closes, and the death of pid 1 ends every process inside.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import select
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from cloister.confinement import namespaces, network, nftables, syscalls
from cloister.confinement.channel import Channel
from cloister.confinement.mounts import (
    OLD_ROOT,
    FuseMount,
    RootPlan,
    attach_fuse,
    build_root,
    detach_host,
    freeze_root,
    mount_proc,
    mount_proc_for_cells,
)
from cloister.confinement.regions import (
    HostFolder,
    RegionKind,
    RegionMount,
    hold_folders,
    mount_regions,
)
from cloister.confinement.steps import Step, StepError
from cloister.confinement.unswapped import PlacedFile, place_unswapped
from cloister.errors import CloisterError
from cloister.wire import Fields, Value

__all__ = ["StagePlan", "replace_file", "run_supervisor"]

_FIRST_OTHER: Final = 3
_OUT_OF_THE_WAY: Final = 256
_EXEC_FAILED: Final = 127
_SIGNALLED: Final = 128
_MOST_CELLS: Final = 256
_MAX_TEXT: Final = 1 << 17
_OPEN_FILES: Final = 65536
# As many descriptors as the other end of a channel takes with one message.
_BATCH: Final = 32
_MOST_PACKETS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What the stage needs to know before it is forked."""

    root: RootPlan
    hostname: str
    user_id: int
    group_id: int
    folders: tuple[HostFolder, ...] = ()
    network: network.NetworkSpec | None = None
    cells: bool = False


@dataclass(frozen=True, slots=True)
class _Order:
    """What to execute, as the launcher said."""

    argv: list[str]
    environment: dict[str, str]
    directory: str
    listeners: list[str]

    @classmethod
    def read(cls, message: Fields) -> _Order:
        variables = message.submap("environment")
        return cls(
            argv=message.texts("argv", max_length=_MAX_TEXT),
            environment={n: variables.text(n, max_length=_MAX_TEXT) for n in variables.keys()},  # noqa: SIM118  # not a mapping
            directory=message.text("directory", max_length=4096),
            listeners=message.texts("listeners"),
        )


def _files(message: Fields) -> Iterator[PlacedFile]:
    for item in message.array("files", max_items=1 << 20):
        file = Fields(item, what="file")
        yield PlacedFile(
            file.text("path", max_length=4096),
            file.octets("data", max_length=1 << 30),
            file.integer("mode", maximum=0o777),
        )


def _regions(message: Fields) -> Iterator[RegionMount]:
    for entry in message.array("mounts"):
        item = Fields(entry, what="region")
        yield RegionMount(
            item.text("target", max_length=4096),
            RegionKind(item.text("kind")),
            around=item.text("around", max_length=4096),
            folder=item.integer("folder"),
        )


def run_supervisor(plan: StagePlan, channel: Channel, launcher: int) -> NoReturn:
    """Be the forked supervisor: enter the namespaces, fork pid 1, wait for it, exit.

    Args:
        plan: What to build.
        channel: The stage's end.
        launcher: The process id of the launcher, to notice that it has already died.
    """
    try:
        namespaces.reset_signals()
        os.setsid()
        _ignore_stops()
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != launcher:
            os._exit(1)
        os.umask(0o022)
        os.closerange(_FIRST_OTHER, channel.fileno())
        syscalls.close_from(channel.fileno() + 1)
        with Step("core-dumps"):
            namespaces.forbid_core_dumps()
        if plan.cells:
            _enter_for_cells(plan)
        else:
            with Step("namespaces"):
                namespaces.enter_namespaces()
            with Step("identity"):
                namespaces.map_own_identity(plan.user_id, plan.group_id)
        child = os.fork()
        if child == 0:
            _run_init(plan, channel)
        channel.close()
        os.waitpid(child, 0)
        os._exit(0)
    except StepError as e:
        channel.send({"failed": e.step, "errno": e.number, "text": e.text})
    except Exception as e:  # noqa: BLE001  # the outermost frame of this process
        channel.send({"failed": "internal", "errno": 0, "text": repr(e)[:500]})
    finally:
        os._exit(1)


def _enter_for_cells(plan: StagePlan) -> None:
    """Enter the namespaces with a second user, whom cells can be, where this one may give one."""
    user_id, group_id = plan.user_id, plan.group_id
    with Step("namespaces"):
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        second = namespaces.enter_namespaces_with_second_user(user_id, group_id, proc=proc)
        os.close(proc)
    if not second:
        with Step("identity"):
            namespaces.map_own_identity(user_id, group_id)


def _run_init(plan: StagePlan, channel: Channel) -> NoReturn:
    """Be pid 1: build the stage, then obey."""
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        init = _Init(plan, channel)
        init.build()
        channel.send({"done": "build"})
        init.obey()
    except StepError as e:
        channel.send({"failed": e.step, "errno": e.number, "text": e.text})
    except Exception as e:  # noqa: BLE001  # the outermost frame of this process
        channel.send({"failed": "internal", "errno": 0, "text": repr(e)[:500]})
    finally:
        os._exit(1)


@dataclass
class _Init:
    """Pid 1 of the sandbox. Its state is what is mounted, its sockets, and who is the workload."""

    plan: StagePlan
    channel: Channel
    device: int = -1
    workload: int = 0
    targets: list[str] = field(default_factory=list)
    regions: list[str] = field(default_factory=list)
    inside: network.Inside | None = None

    def build(self) -> None:
        """Make the tree; the host stays reachable only through the descriptor of /dev/fuse."""
        with Step("root"):
            build_root(self.plan.root)
        with Step("proc"):
            mount_proc()
        with Step("host-folders"):
            hold_folders(self.plan.folders)
        if self.plan.cells:
            with Step("proc"):
                mount_proc_for_cells()
        with Step("nested-namespaces"):
            namespaces.limit_nested_namespaces(_MOST_CELLS if self.plan.cells else 0)
        with Step("loopback"):
            syscalls.raise_loopback()
            socket.sethostname(self.plan.hostname)
        if self.plan.network is not None:
            self._build_network(self.plan.network)
        if Path(f"{OLD_ROOT}/dev/fuse").exists():
            self.device = os.open(f"{OLD_ROOT}/dev/fuse", os.O_PATH | os.O_CLOEXEC)
        with Step("detach"):
            detach_host()
        syscalls.set_dumpable(0)

    def _build_network(self, spec: network.NetworkSpec) -> None:
        with Step("network"):
            network.prepare_interface(spec)
            self.inside = network.make_sockets(spec)
        if self.inside.redirected:
            with Step("nftables"):
                network.redirect(spec, self.inside)
                nftables.keep_half_closed()

    def obey(self) -> NoReturn:
        """Do what the launcher asks until the workload has ended or the launcher is gone."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, _wake)
        signal.set_wakeup_fd(writer)
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        poll.register(self.channel.fileno(), select.POLLIN)
        maker = None if self.inside is None else self.inside.maker
        if maker is not None:
            poll.register(maker.fileno(), select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if reader in ready:
                os.read(reader, 512)
                self._reap()
            if self.channel.fileno() in ready:
                self._answer()
            if maker is not None and maker.fileno() in ready and not maker.serve():
                poll.unregister(maker.fileno())
                maker.close()
                maker = None

    def _answer(self) -> None:
        try:
            message, descriptors = self.channel.receive(timeout_s=None)
        except CloisterError:
            self._end()
            os._exit(1)
        try:
            self._carry_out(message, descriptors)
        except StepError as e:
            self.channel.send({"failed": e.step, "errno": e.number, "text": e.text})
        except ProcessLookupError:
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _carry_out(self, message: Fields, descriptors: list[int]) -> None:
        order = message.text("do")
        if order == "mount":
            self._mount(message)
        elif order == "regions":
            self._mount_regions(message)
        elif order == "network":
            self._hand_out_network()
        elif order in {"place", "keep"}:
            self._place(message, kept=order == "keep")
        elif order == "replace":
            self._replace(message)
        elif order == "go":
            self._go(message, descriptors)
        elif order == "signal" and self.workload:
            os.kill(self.workload, message.integer("number", maximum=64))
        elif order == "kill":
            os.kill(-1, signal.SIGKILL)

    def _mount(self, message: Fields) -> None:
        target = message.text("target", max_length=4096)
        spec = FuseMount(target, message.text("fsname"), message.boolean("read_only"))
        if self.device < 0:
            raise StepError("fuse-open", FileNotFoundError(2, "No such file", "/dev/fuse"))
        # Opening and mounting fail with the same errno for different reasons; tell them apart.
        with Step("fuse-open"):
            os.close(os.open(f"/proc/self/fd/{self.device}", os.O_RDWR | os.O_CLOEXEC))
        with Step("fuse-mount"):
            mounted = attach_fuse(
                spec, self.device, user_id=self.plan.user_id, group_id=self.plan.group_id
            )
        self.targets.append(target)
        self.channel.send({"done": "mount", "device": mounted.device}, [mounted.descriptor])
        # The last copy must be the server's: its death is what ends every waiting call.
        os.close(mounted.descriptor)

    def _mount_regions(self, message: Fields) -> None:
        with Step("regions"):
            self.regions += mount_regions(tuple(_regions(message)))
        self.channel.send({"done": "regions"})

    def _hand_out_network(self) -> None:
        """Give the next sockets away; with the last of them, pid 1 keeps none."""
        if self.inside is None:
            raise StepError("network", OSError(errno.ENOTCONN, "there is no network"))
        batch, left = self.inside.next_batch(_BATCH)
        self.channel.send({"done": "network", "left": left}, batch)
        if not left:
            self.inside.let_go()

    def _place(self, message: Fields, *, kept: bool) -> None:
        if kept:
            self._keep(message)
            return
        with Step("place"):
            for file in _files(message):
                path = Path(file.path)
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(path, flags, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(file.data)
                    os.fchmod(descriptor, file.mode)
        self.channel.send({"done": "place"})

    def _keep(self, message: Fields) -> None:
        with Step("keep"):
            if self.targets:
                raise OSError(errno.EBUSY, "a volume is mounted, and a file could land on it")
            place_unswapped(_files(message))
        self.channel.send({"done": "keep"})

    def _replace(self, message: Fields) -> None:
        for item in message.array("files"):
            file = Fields(item, what="file")
            path = Path(file.text("path", max_length=4096))
            data, mode = file.octets("data"), file.integer("mode", maximum=0o777)
            with contextlib.suppress(OSError):
                replace_file(path, data, mode=mode)

    def _go(self, message: Fields, descriptors: list[int]) -> None:
        order = _Order.read(message)
        with Step("freeze"):
            freeze_root()
        if self.inside is not None:
            self.inside.let_go()
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self.workload = os.fork()
        if self.workload == 0:
            _start_workload(order, descriptors, writer, cells=self.plan.cells)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            problem = stream.read()
        if problem:
            number, _, text = problem.decode("utf-8", "replace").partition(" ")
            self.workload = 0
            raise StepError("exec", OSError(int(number), text))
        self.channel.send({"done": "go"})

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.workload:
                self._finish(os.waitstatus_to_exitcode(status))

    def _finish(self, code: int) -> NoReturn:
        """Report the end first, so that nobody takes what unmounting does for a failure."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.channel.send(
            {
                "exited": code if code >= 0 else _SIGNALLED - code,
                "processor_ms": int(1000 * (usage.ru_utime + usage.ru_stime)),
                "peak_bytes": usage.ru_maxrss * 1024,
            }
        )
        self._end()
        self.channel.send({"done": "unmount"} | self._refused_packets())
        os._exit(0)

    def _refused_packets(self) -> dict[str, Value]:
        """Count when every process inside is gone; what cannot be counted is not said."""
        if self.inside is None or not self.inside.redirected:
            return {}
        try:
            found = nftables.count_refused()
        except OSError:
            return {}
        return {
            "refused_udp": min(found.udp, _MOST_PACKETS),
            "refused_other": min(found.other, _MOST_PACKETS),
        }

    def _end(self) -> None:
        """Kill what is left inside and unmount the volumes, so that their servers commit."""
        try:
            os.kill(-1, signal.SIGKILL)
            while True:
                os.waitpid(-1, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        for target in sorted(self.regions, key=len, reverse=True):
            # Not found where the volume around it is broken, which takes it along below.
            with contextlib.suppress(OSError):
                syscalls.umount(target, syscalls.MNT_DETACH)
        for target in sorted(self.targets, key=len, reverse=True):
            try:
                syscalls.umount(target)
            except OSError:
                syscalls.umount(target, syscalls.MNT_DETACH)


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Put a new file in the place of another, in one step, following no link on the way.

    The workload owns the folder, and could have led us elsewhere.
    """
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open("/", flags)
    try:
        for part in path.parent.parts[1:]:
            inner = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = inner
        fresh = f".{path.name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(fresh, create, 0o600, dir_fd=folder), "wb") as stream:
            stream.write(data)
            os.fchmod(stream.fileno(), mode)
        os.rename(fresh, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(folder)


def _start_workload(order: _Order, descriptors: list[int], report: int, *, cells: bool) -> NoReturn:
    """Be the child that becomes the workload; `descriptors` are stdout, stderr and listeners."""
    try:
        os.setsid()
        report = _settle_descriptors(descriptors, report)
        environment = dict(order.environment)
        if order.listeners:
            environment["LISTEN_FDS"] = str(len(order.listeners))
            environment["LISTEN_FDNAMES"] = ":".join(order.listeners)
            environment["LISTEN_PID"] = str(os.getpid())
        os.umask(0o077)
        os.chdir(order.directory)
        signal.set_wakeup_fd(-1)
        namespaces.reset_signals()
        _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = min(hard, _OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        namespaces.drop_privileges(cells=cells)
        os.execve(order.argv[0], order.argv, environment)  # noqa: S606  # argv comes from the policy
    except OSError as e:
        os.write(
            report, f"{e.errno or 0} {e.strerror or e}: {e.filename or order.argv[0]}".encode()
        )
    finally:
        os._exit(_EXEC_FAILED)


def _settle_descriptors(descriptors: list[int], report: int) -> int:
    """Put input, output, errors and listeners at 0, 1, 2, 3...; return where `report` went."""
    null = os.open("/dev/null", os.O_RDONLY)
    wanted = [null, *descriptors]
    high = [_duplicate_high(number) for number in [*wanted, report]]
    for place, source in enumerate(high):
        os.dup2(source, place, inheritable=place < len(wanted))
    syscalls.close_from(len(high))
    return len(wanted)


def _duplicate_high(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)


def _ignore_stops() -> None:
    """Leave interrupts to the launcher, which decides when the workload gets them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)


def _wake(_number: int, _frame: FrameType | None) -> None:
    """Exist: the wake-up descriptor does the work."""
