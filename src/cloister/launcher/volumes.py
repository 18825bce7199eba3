"""The volume servers of a run: forked early, given their keys late, ended in order.

Each volume is served by a process of its own, outside of the workload's namespaces. It holds the
volume's key and its lease, and renews the lease while it lives. The launcher keeps the lease as
well, to give it back when the server is certainly gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.crypto.signature import VerifyingKey
from cloister.errors import (
    CloisterError,
    LocalProtocolError,
    MalformedError,
    UnavailableError,
    WorkloadError,
    error_from_wire,
)
from cloister.keyservice.clock import read_clock
from cloister.keyservice.pinned import PinnedService
from cloister.wire import Fields, Value, encode

if TYPE_CHECKING:
    from cloister.confinement.mounts import Mounted
    from cloister.keyservice.anchors import KeyServiceAnchor
    from cloister.keyservice.bundle import VolumeGrant
    from cloister.launcher.plan import VolumePlan
    from cloister.volume.filesystem import Filesystem
    from cloister.volume.fuse.process import VolumeServerProcess
    from cloister.volume.regions import Regions

__all__ = ["ServerSettings", "VolumeServers", "VolumeState", "describe_volume", "open_granted"]

_log: Final = logging.getLogger(__name__)
_OPEN_TIMEOUT_S: Final = 60.0
_SERVE_TIMEOUT_S: Final = 20.0
_FINISH_GRACE_S: Final = 20.0
_FINISH_TIMEOUT_S: Final = 60.0
_RELEASE_DEADLINE_S: Final = 2.0
_RENEWALS_A_LIFETIME: Final = 3
_MAX_CONFIG_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How servers reach the key service, and who owns every file that they show."""

    service: PinnedService
    url: str
    owner: tuple[int, int]


@dataclass(frozen=True, slots=True)
class VolumeState:
    """A committed state: how many commits, and the root."""

    version: int
    root: bytes


@dataclass(slots=True)
class _Served:
    plan: VolumePlan
    server: VolumeServerProcess
    grant: VolumeGrant | None = None
    before: VolumeState | None = None
    after: VolumeState | None = None
    failure: CloisterError | None = None


class VolumeServers:
    """The servers of one run, one for each mount point."""

    def __init__(self, plans: Sequence[VolumePlan], settings: ServerSettings) -> None:
        """Fork them; call this before any secret is in memory and before threads exist."""
        self._settings = settings
        self._served = [_Served(plan, _start_server()) for plan in plans]

    def open(self, grants: dict[str, VolumeGrant]) -> None:
        """Give each server its key and lease; return when all have opened their volume.

        Raises:
            CloisterError: The first failure, naming the volume.
        """
        for item in self._served:
            item.grant = grants[item.plan.target]  # all of them first: `abandon` gives leases back
        for item in self._served:
            config = _config(item.plan, grants[item.plan.target], self._settings)
            with _naming(item.plan):
                item.before = _state(item.server.open(config, timeout_s=_OPEN_TIMEOUT_S))

    def serve(self, mounted: Sequence[Mounted]) -> None:
        """Serve the mounts, in the order of the plans; the descriptors are closed here."""
        if not (mounted or self._served):
            return
        from cloister.volume.fuse.mount import raise_read_ahead  # not every run
        from cloister.volume.fuse.session import SessionOptions

        try:
            for item, mount in zip(self._served, mounted, strict=True):
                options = SessionOptions(
                    writeback=item.plan.access == "write", owner=self._settings.owner
                )
                with _naming(item.plan):
                    item.server.serve(mount.descriptor, options=options, timeout_s=_SERVE_TIMEOUT_S)
                raise_read_ahead(mount.device)
        finally:
            for mount in mounted:
                os.close(mount.descriptor)

    def filenos(self) -> list[int]:
        """Return descriptors that become readable when `check` has something to say."""
        return [item.server.fileno() for item in self._served]

    def check(self, *, over: Callable[[], bool]) -> None:
        """Take in what the servers reported; one that failed is ended, the others go on.

        Args:
            over: Tells whether the workload has ended: its servers then end in order. Asked only
                after a server's end was seen, as the workload's comes before it.

        Raises:
            WorkloadError: A server died, or ended while the workload still runs
                (`workload.volume-server`).
            CloisterError: What stopped a server, such as `volume.tampered` or `release.fenced`.
        """
        for item in self._served:
            try:
                if item.failure is None and not item.server.check() and not over():
                    raise WorkloadError(
                        "its server ended while the workload ran", code="workload.volume-server"
                    )
            except CloisterError as e:
                item.failure = _named(e, item.plan)
                item.server.kill()
                raise item.failure from e

    def serving(self) -> bool:
        """Take in what the servers reported, without waiting; tell whether all still serve.

        For who may end a mount from outside: why a server ended is left to `finish`.
        """
        for item in self._served:
            try:
                if not item.server.check():
                    return False
            except CloisterError:
                return False
        return True

    def troubles(self) -> list[CloisterError]:
        """Return failures of the stores that the workload saw as EIO or ENOSPC, with names."""
        return [
            _named(trouble, item.plan) for item in self._served for trouble in item.server.troubles
        ]

    def finish(self) -> list[CloisterError]:
        """Wait until every server has committed; give the leases back; return what failed.

        Call it when nobody uses the mounts any more. Afterwards `states` has what was committed.
        """
        failures: list[CloisterError] = []
        for item in self._served:
            try:
                if item.failure is not None:
                    raise item.failure
                with _naming(item.plan):
                    item.after = _state(
                        item.server.finish(grace_s=_FINISH_GRACE_S, timeout_s=_FINISH_TIMEOUT_S)
                    )
            except CloisterError as e:
                failures.append(e)
        self.abandon()
        return failures

    def abandon(self) -> None:
        """End every server at once and give the leases back; may be called at any time."""
        for item in self._served:
            item.server.kill()
            if item.after is None and item.failure is None:
                item.failure = WorkloadError(
                    "its server was ended early", code="workload.volume-server"
                )
        for item in self._served:
            if item.grant is not None and item.grant.lease.epoch:
                self._give_back(item.grant)
                item.grant = None

    def states(self) -> list[tuple[VolumePlan, VolumeState | None, VolumeState | None]]:
        """Return each volume with its state before and after, as far as they are known."""
        return [(item.plan, item.before, item.after) for item in self._served]

    def _give_back(self, grant: VolumeGrant) -> None:
        from cloister.keyservice.anchors import KeyServiceAnchor  # not every run
        from cloister.keyservice.transport import HTTPTransport

        anchor = KeyServiceAnchor(
            HTTPTransport(self._settings.url),
            self._settings.service,
            volume=grant.id,
            lease=grant.lease,
            clock=read_clock,
            deadline_s=_RELEASE_DEADLINE_S,
        )
        try:
            anchor.release()
        except CloisterError as e:
            _log.info("lease.kept volume=%s code=%s: it lapses by itself", grant.id.hex(), e.code)


def _start_server() -> VolumeServerProcess:
    """Fork a server; what it needs is loaded here, once for all of them, by runs with volumes."""
    import cloister.keyservice.anchors
    import cloister.keyservice.transport
    import cloister.volume.opening  # noqa: F401  # loaded ahead of its use
    from cloister.volume.fuse.process import VolumeServerProcess

    return VolumeServerProcess.start(open_filesystem=open_granted, describe=describe_volume)


def open_granted(config: bytes) -> Filesystem:
    """Open a volume inside its server, from what the launcher sent.

    Raises:
        CloisterError: What opening raised.
    """
    # All of them were loaded before the fork.
    from cloister.crypto.keyring import KeyRing
    from cloister.keyservice.anchors import KeyServiceAnchor
    from cloister.keyservice.bundle import Lease
    from cloister.keyservice.transport import HTTPTransport
    from cloister.volume.anchor import AnchorState, PinnedAnchor
    from cloister.volume.opening import open_volume

    fields = Fields.decode(config, what="volume server configuration", max_bytes=_MAX_CONFIG_BYTES)
    state = AnchorState(
        fields.integer("version"), fields.octets("root", length=32), fields.integer("epoch")
    )
    store = Path(fields.text("store", max_length=4096))
    keys = KeyRing.from_fields(fields)
    lease = Lease.from_fields(fields.submap("lease"))
    regions = _regions_from(fields)
    service = PinnedService(VerifyingKey(fields.octets("service")), fields.text("origin"))
    volume, url = fields.octets("volume"), fields.text("url", max_length=4096)
    fields.end()
    if not lease.epoch:
        return open_volume(store, keys, anchor=PinnedAnchor(state), writable=False, regions=regions)
    anchor = KeyServiceAnchor(
        HTTPTransport(url), service, volume=volume, lease=lease, clock=read_clock
    )
    filesystem = open_volume(store, keys, anchor=anchor, writable=True, regions=regions)
    threading.Thread(target=_keep_lease, args=(anchor,), name="lease", daemon=True).start()
    return filesystem


def describe_volume(filesystem: Filesystem) -> bytes:
    """Say which state a volume is in, for the launcher."""
    from cloister.volume.tree import VolumeFilesystem

    if not isinstance(filesystem, VolumeFilesystem):
        raise LocalProtocolError("not a volume", code="protocol.local")
    identity = filesystem.identity
    return encode({"version": identity.version, "root": identity.root})


def _keep_lease(anchor: KeyServiceAnchor) -> None:
    """Renew the lease while this process lives; a lost one shows at the next commit."""
    pause = threading.Event()
    while not pause.wait(anchor.ttl_s / _RENEWALS_A_LIFETIME):
        try:
            anchor.renew()
        except UnavailableError as e:
            _log.warning("lease.not-renewed code=%s", e.code)
        except CloisterError as e:
            _log.warning("lease.lost code=%s", e.code)
            return


def _config(plan: VolumePlan, grant: VolumeGrant, settings: ServerSettings) -> bytes:
    value: dict[str, Value] = {
        "store": str(plan.store.absolute()),
        "volume": grant.id,
        **grant.keys.to_value(),
        "version": grant.version,
        "root": grant.root,
        "epoch": grant.epoch,
        "lease": grant.lease.to_value(),
        "service": settings.service.identity.raw,
        "origin": settings.service.origin,
        "url": settings.url,
        **_regions_value(plan),
    }
    return encode(value)


def _regions_value(plan: VolumePlan) -> dict[str, Value]:
    return {
        "regions": {path: found.value for path, found in plan.regions.classes.items()},
        "enforced": plan.regions.enforced,
    }


def _regions_from(fields: Fields) -> Regions:
    """Read the regions that this volume is opened with; they came from the policy."""
    from cloister.volume.regions import RegionClass, Regions  # loaded with `opening`

    said = fields.submap("regions")
    known = {found.value: found for found in RegionClass}
    classes: dict[str, RegionClass] = {}
    for path in said.keys():  # noqa: SIM118  # a method of Fields
        word = said.text(path)
        if word not in known:
            raise MalformedError("not the class of a region", code="message.malformed")
        classes[path] = known[word]
    return Regions(classes) if fields.boolean("enforced") else Regions.as_recorded()


def _state(described: bytes) -> VolumeState:
    fields = Fields.decode(described, what="volume state", max_bytes=1024)
    state = VolumeState(fields.integer("version"), fields.octets("root", length=32))
    fields.end()
    return state


@contextlib.contextmanager
def _naming(plan: VolumePlan) -> Iterator[None]:
    """Say which volume an error is about."""
    try:
        yield
    except CloisterError as e:
        raise _named(e, plan) from e


def _named(error: CloisterError, plan: VolumePlan) -> CloisterError:
    prefix = f"volume {plan.name} at {plan.target}: "
    if error.public.startswith(prefix):
        return error
    named = error_from_wire(error.code, prefix + error.public)
    named.hint = error.hint
    return named
