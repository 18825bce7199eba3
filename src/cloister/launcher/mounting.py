"""The owner's own mount: a volume as ordinary files, for one command or until told to stop.

Everything here runs on a machine that the owner trusts, in the clear for whoever may read the
mount. With a command, the mount exists in a mount namespace of the command's own, which an ordinary
user may make; without one, it appears in the caller's namespace, which only root may do.

As in a run, the volume's server and the process that becomes the command are forked before the
first key is in this process. If this process is killed, the server commits what was written and
ends; a mount in the machine's namespace then stays behind, fails every call, and goes with
`umount`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from cloister.confinement import namespaces, syscalls
from cloister.confinement.channel import Channel
from cloister.confinement.diagnosis import explain_failure, observe_limits
from cloister.confinement.mounts import Mounted
from cloister.errors import (
    CloisterError,
    ConfigError,
    ConfinementError,
    UnavailableError,
    WorkloadError,
    error_from_wire,
)
from cloister.keyservice.bundle import Lease, VolumeGrant
from cloister.launcher.plan import VolumePlan
from cloister.launcher.supervision import StopRequests
from cloister.launcher.volumes import ServerSettings, VolumeServers, VolumeState
from cloister.volume.fuse.mount import open_and_mount, unmount
from cloister.volume.opening import observe
from cloister.volume.regions import Regions
from cloister.wire import Fields

if TYPE_CHECKING:
    from cloister.keyservice.owner import OwnerClient
    from cloister.keyservice.pinned import PinnedService

__all__ = ["MountOutcome", "MountRequest", "mount_for_command", "mount_here"]

_FSNAME: Final = "cloister"
_SETUP_TIMEOUT_S: Final = 30.0
_GRACE_S: Final = 10.0
_EXEC_FAILED: Final = 127
_SIGNALLED: Final = 128
_READERS_LEASE: Final = Lease(0, bytes(32), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountRequest:
    """What to mount where.

    Attributes:
        store: The volume's store.
        target: An existing directory.
        writable: Become the volume's one writer.
        service: The pinned key service.
        url: Where it answers.
        regions: Which class each path has; for reading, each file may be taken as recorded.
        connect: Loads the owner's key and connects; called once, after all forking.
    """

    store: Path
    target: Path
    writable: bool
    service: PinnedService
    url: str
    regions: Regions
    connect: Callable[[], OwnerClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class MountOutcome:
    """How a mount ended.

    Attributes:
        status: The command's exit status; 128 + n after signal n; 0 where there was none.
        before: The state that was mounted.
        after: The state that is committed now.
        troubles: What the store failed with meanwhile, such as `storage.full`.
    """

    status: int
    before: VolumeState
    after: VolumeState
    troubles: tuple[CloisterError, ...]


def mount_for_command(
    request: MountRequest, command: Sequence[str], *, stdout: int
) -> MountOutcome:
    """Run a command in a mount namespace of its own that has the volume at its place.

    Args:
        request: What to mount.
        command: Program, found on PATH, and arguments. Inherits environment and folder.
        stdout: The descriptor that becomes its standard output.

    Raises:
        UnsupportedError: No namespaces (`machine.namespaces`) or no FUSE (`machine.fuse`) here.
        WorkloadError: The command cannot be executed (`workload.start`), or the volume's server
            died (`workload.volume-server`).
        CloisterError: The volume cannot be opened, or not committed; what was committed stays.
    """
    plan = _plan(request)
    servers = _fork_server(plan, request)
    try:
        ours, theirs = Channel.pair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _become(theirs, tuple(command), plan, stdout)
        theirs.close()
        with contextlib.closing(ours), _Child(pid) as child, StopRequests() as stops:
            mounted = _receive_mount(ours)
            before = _open(servers, mounted, plan, request)
            ours.send({"do": "go"})
            _require_started(ours)
            status = _await_command(child, servers, stops)
        return _finish(servers, before, status=status)
    finally:
        servers.abandon()


def mount_here(request: MountRequest, *, ready: Callable[[], None]) -> MountOutcome:
    """Mount a volume in this process's namespace until SIGINT, SIGTERM or SIGHUP, as root.

    Args:
        request: What to mount.
        ready: Called when the mount answers.

    Raises:
        UnsupportedError: Not allowed here (`machine.fuse`).
        CloisterError: The volume cannot be opened, or not committed; what was committed stays.
    """
    plan = _plan(request)
    servers = _fork_server(plan, request)
    try:
        with StopRequests() as stops:
            mounted = open_and_mount(request.target, name=_FSNAME, read_only=not request.writable)
            try:
                before = _open(servers, Mounted(mounted.descriptor, mounted.device), plan, request)
                ready()
                _await_stop(servers, stops)
            finally:
                _take_away(request.target)
        return _finish(servers, before, status=0)
    finally:
        servers.abandon()


def _plan(request: MountRequest) -> VolumePlan:
    if not request.target.is_dir():
        raise ConfigError(
            f"{request.target} is not a directory",
            code="config.missing",
            hint=f"mkdir -p {request.target}",
        )
    return VolumePlan(
        target=str(request.target.resolve()),
        name=request.store.name,
        id=observe(request.store).volume_id,
        access="write" if request.writable else "read",
        store=request.store,
        regions=request.regions,
    )


def _fork_server(plan: VolumePlan, request: MountRequest) -> VolumeServers:
    settings = ServerSettings(request.service, request.url, (os.geteuid(), os.getegid()))
    return VolumeServers((plan,), settings)


def _open(
    servers: VolumeServers, mounted: Mounted, plan: VolumePlan, request: MountRequest
) -> VolumeState:
    """Get key and lease, open the volume, serve the mount."""
    try:
        servers.open({plan.target: _grant(request.connect(), plan)})
    except BaseException:
        os.close(mounted.descriptor)
        raise
    servers.serve([mounted])
    [(_, before, _)] = servers.states()
    if before is None:
        raise LookupError("an opened volume has a state")
    return before


def _grant(client: OwnerClient, plan: VolumePlan) -> VolumeGrant:
    writable = plan.access == "write"
    held = client.take_lease(plan.id) if writable else client.volume_key(plan.id)
    return VolumeGrant(
        name=plan.name,
        id=plan.id,
        keys=held.keys,
        access=plan.access,
        version=held.state.version,
        root=held.state.root,
        epoch=held.state.epoch,
        lease=held.lease or _READERS_LEASE,
    )


def _finish(servers: VolumeServers, before: VolumeState, *, status: int) -> MountOutcome:
    failures = servers.finish()
    if failures:
        raise failures[0]
    [(_, _, after)] = servers.states()
    return MountOutcome(
        status=status,
        before=before,
        after=after or before,
        troubles=tuple(servers.troubles()),
    )


def _await_stop(servers: VolumeServers, stops: StopRequests) -> None:
    """Wait for a request to stop; the mount's end from outside (`umount`) is one as well."""
    poll = select.poll()
    for descriptor in (stops.fileno(), *servers.filenos()):
        poll.register(descriptor, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if stops.fileno() in ready or not servers.serving():
            return


def _take_away(target: Path) -> None:
    """Unmount; where somebody still uses it, take it out of the tree and let it end by itself."""
    with contextlib.suppress(CloisterError):  # somebody unmounted it already
        try:
            unmount(target, detach=False)
        except UnavailableError:
            unmount(target, detach=True)


class _Child:
    """The forked process that becomes the command; killed and reaped on leaving the context."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.handle = os.pidfd_open(pid)
        self.status: int | None = None

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)
        self.reap()
        os.close(self.handle)

    def signal(self, number: int) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, number)

    def reap(self) -> int:
        if self.status is None:
            code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self.status = code if code >= 0 else _SIGNALLED - code
        return self.status


def _await_command(child: _Child, servers: VolumeServers, stops: StopRequests) -> int:
    """Pass requests to stop on; hang up on the command when its volume is lost."""
    deadline: float | None = None
    watched = set(servers.filenos())
    poll = select.poll()
    for descriptor in (child.handle, stops.fileno(), *watched):
        poll.register(descriptor, select.POLLIN)
    while True:
        wait_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = {descriptor for descriptor, _ in poll.poll(wait_ms)}
        if child.handle in ready:
            return child.reap()
        for number in stops.take():
            if not _sent_by_terminal(number):
                child.signal(number)
                deadline = deadline or time.monotonic() + _GRACE_S
        if ready & watched and not servers.serving():
            for descriptor in watched:
                poll.unregister(descriptor)
            watched = set()
            child.signal(signal.SIGHUP)
            deadline = deadline or time.monotonic() + _GRACE_S
        if deadline is not None and time.monotonic() >= deadline:
            child.signal(signal.SIGKILL)
            return child.reap()


def _sent_by_terminal(number: int) -> bool:
    """Tell whether the command, in our process group, has got the same interrupt from the keys."""
    try:
        return number == signal.SIGINT and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _receive_mount(channel: Channel) -> Mounted:
    reply, descriptors = channel.receive(timeout_s=_SETUP_TIMEOUT_S)
    if reply.has("code"):
        raise _reported_error(reply)
    return Mounted(descriptors[0], reply.text("device"))


def _require_started(channel: Channel) -> None:
    """Wait for the end of the channel, which comes with exec, or for why there was none."""
    try:
        reply, _ = channel.receive(timeout_s=_SETUP_TIMEOUT_S)
    except ConfinementError:
        return
    raise _reported_error(reply)


def _reported_error(reply: Fields) -> CloisterError:
    error = error_from_wire(reply.text("code"), reply.text("public", max_length=8192))
    error.hint = reply.text("hint", max_length=8192) or None
    return error


def _become(channel: Channel, command: Sequence[str], plan: VolumePlan, stdout: int) -> NoReturn:
    """Be the child: leave the machine's mounts, mount, hand the device out, become the command."""
    try:
        with _reported(channel):
            _enter_private_mounts()
            read_only = plan.access == "read"
            mounted = open_and_mount(Path(plan.target), name=_FSNAME, read_only=read_only)
            channel.send({"device": mounted.device}, [mounted.descriptor])
            # The last copy must be the server's: its death is what ends every waiting call.
            os.close(mounted.descriptor)
            channel.receive(timeout_s=None)
            namespaces.reset_signals()
            os.dup2(stdout, 1)
            try:
                os.execvp(command[0], list(command))  # noqa: S606  # the owner's own command
            except OSError as e:
                raise WorkloadError(
                    f"{command[0]} could not be started: {e.strerror}", code="workload.start"
                ) from e
    finally:
        os._exit(_EXEC_FAILED)


@contextlib.contextmanager
def _reported(channel: Channel) -> Iterator[None]:
    try:
        yield
    except CloisterError as e:
        channel.send({"code": e.code, "public": e.public, "hint": e.hint or ""})


def _enter_private_mounts() -> None:
    """Leave the machine's mount namespace; with a user namespace where that alone allows it."""
    user_id, group_id = os.geteuid(), os.getegid()
    try:
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
        except PermissionError:
            syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
            namespaces.map_own_identity(user_id, group_id)
        syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    except OSError as e:
        raise explain_failure("namespaces", e.errno or 0, str(e), observe_limits()) from e
