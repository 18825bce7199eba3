"""The launcher's handle on a sandbox: build it, put volumes and files in, let it go, see it end.

Order of calls: `start` (returns while the stage is being built), `network` where there is one,
`keep` at most once, any number of `mount` and `place`, `go` once, any number of `replace`, then
`wait` or a selector on `fileno`, and `close` always. Nothing of the workload runs before `go`, so
the caller can attest, fetch keys and serve volumes in between.

The caller's thread that calls `start` must outlive the sandbox: the kernel ties the stage's life
to that thread.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from cloister.confinement.channel import Channel
from cloister.confinement.diagnosis import explain_failure, observe_limits
from cloister.confinement.mounts import (
    Bind,
    FuseMount,
    Mounted,
    observe_host,
    plan_root,
    require_volume_target,
)
from cloister.confinement.network import NetworkSpec, SandboxNetwork
from cloister.confinement.nftables import RefusedPackets
from cloister.confinement.regions import HostFolder, RegionMount
from cloister.confinement.stage import StagePlan, run_supervisor
from cloister.confinement.unswapped import PlacedFile
from cloister.errors import CloisterError, ConfinementError, LocalProtocolError, WorkloadError
from cloister.wire import Fields, Value

__all__ = ["Command", "Exit", "PlacedFile", "Sandbox", "SandboxSpec"]

_SETUP_TIMEOUT_S: Final = 30.0
_CLOSE_TIMEOUT_S: Final = 5.0
_PLACE_BATCH_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What the workload sees beside the system's own programs.

    Attributes:
        binds: Host folders and files, shown read-only.
        hidden: Folders inside binds that look empty.
        hostname: The only name the machine has inside.
        folders: Host folders that `mount_regions` puts in their places.
        network: What the workload's network looks like; None leaves it a loopback alone.
        cells: Whether the workload may make cells, which takes namespaces and mounts of its own.
    """

    binds: tuple[Bind, ...]
    hidden: tuple[str, ...] = ()
    hostname: str = "cloister"
    folders: tuple[HostFolder, ...] = ()
    network: NetworkSpec | None = None
    cells: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute. `argv[0]` is an absolute path inside; the environment is all there is."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    directory: str


@dataclass(frozen=True, slots=True)
class Exit:
    """How the workload ended: its status (128 + n after signal n), what it used, what had no way.

    `refused` is None where nothing counts: without a network, or without nftables.
    """

    status: int
    processor_ms: int
    peak_bytes: int
    refused: RefusedPackets | None = None


class Sandbox:
    """One sandbox, used once."""

    def __init__(self, spec: SandboxSpec) -> None:
        """Plan only; nothing happens before `start`."""
        self._spec = spec
        self._channel: Channel | None = None
        self._supervisor = 0
        self._built = False
        self._handed_out = spec.network is None
        self._gone = False
        self._exit: Exit | None = None
        self._unmounted = False

    def start(self) -> None:
        """Fork the stage, which builds itself while the caller goes on.

        Call it before any secret is in this process: the stage inherits its memory.
        """
        user_id, group_id = os.geteuid(), os.getegid()
        root = plan_root(
            self._spec.binds,
            self._spec.hidden,
            host=observe_host(),
            user_id=user_id,
            group_id=group_id,
            hostname=self._spec.hostname,
            network=self._spec.network,
        )
        plan = StagePlan(
            root,
            self._spec.hostname,
            user_id,
            group_id,
            folders=self._spec.folders,
            network=self._spec.network,
            cells=self._spec.cells,
        )
        ours, theirs = Channel.pair()
        launcher = os.getpid()
        self._supervisor = os.fork()
        if self._supervisor == 0:
            ours.close()
            run_supervisor(plan, theirs, launcher)
        theirs.close()
        self._channel = ours

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the workload has ended.

        `wait` then takes as long as unmounting does: the kernel first writes back what it holds.
        """
        return self._connected().fileno()

    def has_ended(self) -> bool:
        """Tell whether the workload has ended; unmounting begins only after that."""
        return self._exit is not None or self._readable(0)

    def await_build(self) -> None:
        """Return when the stage is there; every order below waits for that by itself.

        Raises:
            UnsupportedError: `machine.namespaces`, `machine.nftables` or `machine.kernel`, with
                what is missing.
            ConfinementError: Another step failed.
        """
        if not self._built:
            self._answer("build")
            self._built = True

    def network(self) -> SandboxNetwork:
        """Take the sockets of the workload's network, for the relay; once, and before `go`.

        They were made inside and are the caller's from here on. When the last copy of a listener
        is closed, connections to it are refused.

        Raises:
            LocalProtocolError: There is no network, or it was taken before.
            UnsupportedError: As from `await_build`.
        """
        if self._handed_out:
            raise LocalProtocolError("there is no network to hand out", code="protocol.local")
        self.await_build()
        self._handed_out = True
        taken: list[int] = []
        with ExitStack() as stack:
            left = 1
            while left:
                reply, received = self._ask({"do": "network"})
                for descriptor in received:
                    stack.callback(os.close, descriptor)
                taken += received
                left = reply.integer("left")
            stack.pop_all()
        maker, names, *listeners = taken
        return SandboxNetwork(tuple(listeners), maker, names)

    def mount(self, mounts: Sequence[FuseMount]) -> list[Mounted]:
        """Mount file systems that a process outside will serve.

        Returns:
            For each, the descriptor to serve. The caller gives it to the server and closes its
            own copy: calls into a mount fail, rather than wait, only once no copy is left.

        Raises:
            UnsupportedError: `machine.fuse` or `machine.namespaces`, with what is missing.
            ConfigError: A target covers what the runtime needs.
            ConfinementError: Another step failed.
        """
        self.await_build()
        mounted: dict[int, Mounted] = {}
        try:
            # A parent first: mounting it later would cover what is below it.
            for index, item in sorted(enumerate(mounts), key=lambda pair: len(pair[1].target)):
                require_volume_target(item.target)
                order: dict[str, Value] = {
                    "do": "mount",
                    "target": item.target,
                    "fsname": item.fsname,
                    "read_only": item.read_only,
                }
                reply, received = self._ask(order)
                mounted[index] = Mounted(received[0], reply.text("device"))
        except CloisterError:
            for done in mounted.values():
                os.close(done.descriptor)
            raise
        return [mounted[index] for index in range(len(mounts))]

    def mount_regions(self, mounts: Sequence[RegionMount]) -> None:
        """Put memory and host folders over parts of volumes, which must be served by now.

        Args:
            mounts: All of them, a parent before what lies in it; once, and before `go`.

        Raises:
            ConfinementError: One could not be mounted.
        """
        self.await_build()
        if mounts:
            items: list[Value] = [
                {
                    "target": item.target,
                    "kind": item.kind.value,
                    "around": item.around,
                    "folder": item.folder,
                }
                for item in mounts
            ]
            self._ask({"do": "regions", "mounts": items})

    def place(self, files: Sequence[PlacedFile]) -> None:
        """Put files into memory inside; what lies outside `/run`, `/tmp` and `/home` is read-only.

        Raises:
            ConfinementError: A path is taken, or lies in something that cannot be written.
        """
        self.await_build()
        batch: list[Value] = []
        size = 0
        for file in files:
            batch.append({"path": file.path, "data": file.data, "mode": file.mode})
            size += len(file.data) + len(file.path)
            if size > _PLACE_BATCH_BYTES:
                self._ask({"do": "place", "files": batch})
                batch, size = [], 0
        if batch:
            self._ask({"do": "place", "files": batch})

    def keep(self, files: Sequence[PlacedFile]) -> None:
        """Put files into memory that is never swapped, read-only; before any `mount`, once.

        Raises:
            ConfinementError: A path is taken or cannot be written, or a volume is mounted already.
        """
        self.await_build()
        if files:
            batch: list[Value] = [
                {"path": file.path, "data": file.data, "mode": file.mode} for file in files
            ]
            self._ask({"do": "keep", "files": batch})

    def replace(self, files: Sequence[PlacedFile]) -> None:
        """Put files in the places of others, each in one step, also while the workload runs.

        Nobody is told whether it happened: the folder is the workload's, which may have spoilt it.
        """
        items: list[Value] = [
            {"path": file.path, "data": file.data, "mode": file.mode} for file in files
        ]
        self._tell({"do": "replace", "files": items})

    def go(
        self,
        command: Command,
        *,
        stdout: int,
        stderr: int,
        listeners: Mapping[str, int],
    ) -> None:
        """Start the workload with these descriptors and nothing else.

        Args:
            command: What runs.
            stdout: Where its output goes; the caller keeps or closes its own copy.
            stderr: Where its errors go.
            listeners: Name to listening socket, passed as descriptors 3, 4, ... with `LISTEN_FDS`,
                `LISTEN_FDNAMES` and `LISTEN_PID`.

        Raises:
            WorkloadError: `workload.start`: the program cannot be executed.
            LocalProtocolError: There is a network, and nobody has taken its sockets.
        """
        if not self._handed_out:
            raise LocalProtocolError("nobody serves the network", code="protocol.local")
        self.await_build()
        order: dict[str, Value] = {
            "do": "go",
            "argv": list(command.argv),
            "environment": dict(command.environment),
            "directory": command.directory,
            "listeners": list(listeners),
        }
        self._ask(order, [stdout, stderr, *listeners.values()])

    def signal(self, number: int) -> None:
        """Send a signal to the workload's first process; nothing happens if it has ended."""
        self._tell({"do": "signal", "number": number})

    def kill(self) -> None:
        """Kill every process inside; `wait` then returns, and volumes are unmounted."""
        self._tell({"do": "kill"})

    def wait(self, *, timeout_s: float | None = None) -> Exit | None:
        """Return how the workload ended, or None if it has not within `timeout_s` seconds.

        When it returns an `Exit`, no process is left inside and every volume is unmounted.

        Raises:
            ConfinementError: The sandbox itself died.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._unmounted:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if left is not None and not self._readable(left):
                return None
            reply, _ = self._connected().receive(timeout_s=None)
            if self._exit is not None:
                reply.constant("done", "unmount")
                self._exit = replace(self._exit, refused=_refused_packets(reply))
                self._unmounted = True
            else:
                self._exit = Exit(
                    status=reply.integer("exited", maximum=255 + 128),
                    processor_ms=reply.integer("processor_ms"),
                    peak_bytes=reply.integer("peak_bytes"),
                )
        return self._exit

    def close(self) -> None:
        """End whatever is left and wait for it; may be called twice."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._supervisor and not self._gone:
            self._gone = True
            _wait_or_kill(self._supervisor)

    def __enter__(self) -> Sandbox:
        """Use `with` so that `close` is never forgotten."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _connected(self) -> Channel:
        if self._channel is None:
            raise LocalProtocolError("the sandbox is not started", code="protocol.local")
        return self._channel

    def _readable(self, timeout_s: float) -> bool:
        poll = select.poll()
        poll.register(self._connected().fileno(), select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def _ask(
        self, order: Mapping[str, Value], descriptors: Sequence[int] = ()
    ) -> tuple[Fields, list[int]]:
        self._connected().send(order, descriptors)
        return self._answer(str(order["do"]))

    def _answer(self, wanted: str) -> tuple[Fields, list[int]]:
        reply, received = self._connected().receive(timeout_s=_SETUP_TIMEOUT_S)
        if reply.has("failed"):
            step, text = reply.text("failed"), reply.text("text", max_length=8192)
            number = reply.integer("errno")
            if step == "exec":
                raise WorkloadError(
                    f"the workload could not be started: {text}", code="workload.start"
                )
            raise explain_failure(step, number, text, observe_limits())
        reply.constant("done", wanted)
        return reply, received

    def _tell(self, order: Mapping[str, Value]) -> None:
        try:
            self._connected().send(order)
        except ConfinementError:
            return


def _refused_packets(reply: Fields) -> RefusedPackets | None:
    if not reply.has("refused_udp"):
        return None
    return RefusedPackets(reply.integer("refused_udp"), reply.integer("refused_other"))


def _wait_or_kill(supervisor: int) -> None:
    """Reap the supervisor; kill it, and with it everything inside, if it does not end by itself."""
    handle = os.pidfd_open(supervisor)
    try:
        if not select.select([handle], [], [], _CLOSE_TIMEOUT_S)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        os.close(handle)
    os.waitpid(supervisor, 0)
