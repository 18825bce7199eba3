"""A run from end to end: plan, fork, measure, attest, open volumes, let go, wait, commit, receipt.

Order is security here. Everything that will not hold keys (the stage with its pid 1) and everything
that will hold one key each (the volume servers) is forked before the first secret exists in this
process; the workload starts only when all it was promised is served; it never sees a key, only
files, its identity, and what the policy says.

Example::

    request = RunRequest(policy=policy, workload="train", ...)
    outcome = run_workload(request)
    sys.exit(outcome.status)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from cloister.attestation.measurement import LaunchMeasurement
from cloister.confinement.sandbox import Sandbox
from cloister.confinement.unswapped import PlacedFile
from cloister.crypto.kdf import random_bytes
from cloister.errors import CloisterError, ConfigError
from cloister.keyservice.policy.budgets import may_spend
from cloister.keyservice.policy.canonical import policy_hash
from cloister.launcher import plan as planning
from cloister.launcher.attesting import (
    choose_kind,
    hardware_attester,
    knows_nothing,
    sim_attester,
)
from cloister.launcher.code import CodeTree, read_code
from cloister.launcher.contents import (
    certificate_file,
    code_digest,
    code_files,
    command_of,
    identity_files,
    mount_of,
    sandbox_spec,
    secret_files,
)
from cloister.launcher.desk import Desk
from cloister.launcher.listening import Listeners
from cloister.launcher.local import layout_of, runtime_digest
from cloister.launcher.logs import LogRelay, LogSink
from cloister.launcher.manifest import RUNTIME_LABEL, Manifest
from cloister.launcher.networking import (
    MAX_STATIC,
    plan_network,
    require_index,
    static_pairs,
)
from cloister.launcher.peers import PeerDirectory
from cloister.launcher.regions import plan_regions
from cloister.launcher.renewer import Renewer
from cloister.launcher.runtime import RuntimeLayout, volume_layout
from cloister.launcher.supervision import StopRequests, supervise
from cloister.launcher.volumes import ServerSettings, VolumeServers

if TYPE_CHECKING:
    from cloister.attestation.evidence import AnsweringAttester, Attester
    from cloister.confinement.network import NetworkSpec
    from cloister.keyservice.client import Release, ReleaseClient
    from cloister.keyservice.clock import Clock
    from cloister.keyservice.pinned import PinnedService
    from cloister.keyservice.policy.model import Policy
    from cloister.launcher.attesting import Vouching
    from cloister.launcher.errand import Errand
    from cloister.launcher.fingerprint import Fingerprint
    from cloister.launcher.measure import Progress
    from cloister.launcher.plan import RunPlan
    from cloister.launcher.relaying import RunRelay
    from cloister.tee.offers import Machine
    from cloister.tee.sim.platform import SimPlatform

__all__ = ["RunHooks", "RunOutcome", "RunRequest", "run_workload"]

GRACE_S: Final = 10.0
_LOGS_TIMEOUT_S: Final = 5.0
_LEAVE_DEADLINE_S: Final = 2.0
_NEVER: Final = 1 << 62  # a release without a membership has nothing to renew
_Granted = TypeVar("_Granted")
Beside = Callable[[], tuple[str, Sequence[tuple[str, bytes]]]]
"""Returns a folder and its files, by name."""
_INSTANCE_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What to run, for whom, and where its parts lie.

    Attributes:
        policy: The operator's copy; only its hash decides anything.
        workload: The role in it.
        base: The folder that the policy's `location` hints are relative to.
        service: The pinned key service.
        url: Where it answers.
        load_platform: Gives the simulated platform, where that attests; called when all forking is
            done.
        cache_directory: Where hashes of the runtime are kept between runs; private.
        clock: Reads the time.
        code_folder: Plain code, for a workload whose policy names digests.
        stores: Volume name to store, before the policy's hints.
        arguments: What the operator would add to argv: refused unless empty.
        host: The address that granted ports are opened on.
        receipt: Where the receipt goes.
        index: Which instance of its role this is, where they are numbered; None for the only one.
        peers: Where relays of the job answer: a file, or a folder in which this run announces its
            own; nothing in it is believed.
        relay: The address that this run's relay answers at; port 0 for any.
        redirected: Whether connections are redirected, by nftables; otherwise only those ports can
            be reached that the policy names, and its cluster's.
        beside: For a framework, the folder and the files of ours that its programs' interpreter
            runs first: what makes library versions work together that do not by themselves.
        fingerprint: Of the runtime's files, begun earlier; saves measuring what has not changed.
        image: The launcher's own measurement, begun earlier; saves waiting for it.
        root_of_trust: The kind of evidence to attest by; empty for the only one that both the
            policy accepts and the machine offers.
        machine: Where its interfaces of attestation are; None for this machine.
        vouching: Gives what goes along with a piece of evidence of hardware; asked for each time,
            since a run may outlast what its manufacturer said at its start.
        grace_s: Seconds between asking the workload to stop and killing it.
    """

    policy: Policy
    workload: str
    base: Path
    service: PinnedService
    url: str
    load_platform: Callable[[], SimPlatform]
    cache_directory: Path
    clock: Clock
    receipt: Path
    index: int | None = None
    peers: Path | None = None
    relay: tuple[str, int] = ("127.0.0.1", 0)
    redirected: bool = True
    beside: Mapping[str, Beside] = field(default_factory=dict)
    code_folder: Path | None = None
    stores: Mapping[str, Path] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    fingerprint: Fingerprint | None = None
    image: Errand | None = None
    root_of_trust: str = ""
    machine: Machine | None = None
    vouching: Vouching = knows_nothing
    grace_s: float = GRACE_S


def _say_nothing(_text: str) -> None:
    """Drop what nobody wants to hear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHooks:
    """What a caller wants to hear.

    Attributes:
        log: Takes the workload's output where the policy passes it.
        stage: Called with a stage's name and its seconds when it is over.
        measuring: Called while files are hashed.
        listening: Called with the opened addresses when the workload is let go.
        shield: Called with a sentence when the network shield refused something.
    """

    log: LogSink
    stage: Callable[[str, float], None]
    measuring: Progress
    listening: Callable[[Mapping[str, tuple[str, int]]], None]
    shield: Callable[[str], None] = _say_nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        status: The workload's exit status; 128 + n after signal n.
        instance: The run's name.
        receipt: Where the receipt is.
        troubles: What the volumes' stores failed with while the workload ran, such as
            `storage.full`, which it saw as an errno only.
        stages: Stage to seconds.
        processor_ms: The workload's processor time.
        peak_bytes: The largest memory of one of its processes.
        hardware_rooted: What the attestation result says: False for `sim`.
    """

    status: int
    instance: str
    receipt: Path
    troubles: tuple[CloisterError, ...]
    stages: Mapping[str, float]
    processor_ms: int
    peak_bytes: int
    hardware_rooted: bool


def run_workload(
    request: RunRequest, hooks: RunHooks, *, connect: Callable[[], ReleaseClient]
) -> RunOutcome:
    """Run a workload under its policy and return how it ended.

    Args:
        request: What to run.
        hooks: What to report meanwhile.
        connect: Makes the client that asks for the release, with fresh keys; called once, after
            everything that must not hold those keys has been forked.

    Raises:
        RefusedError: The key service, or the plan, refused.
        TamperedError: A volume is not in the state that the key service knows.
        UnsupportedError: This machine cannot confine or mount.
        WorkloadError: It could not be started, or a volume's server died under it
            (`workload.volume-server`); the receipt says so as well.
        UnavailableError: Key service, storage or lease; committed state is kept.
    """
    planning.refuse_arguments(request.arguments)
    with ExitStack() as stack:
        return _Run(request, hooks, stack).perform(connect)


class _Run:
    """One run's parts, in the order in which they come to be."""

    def __init__(self, request: RunRequest, hooks: RunHooks, stack: ExitStack) -> None:
        self._request = request
        self._hooks = hooks
        self._stack = stack
        self._stages: dict[str, float] = {}
        self._index = require_index(request.policy, request.workload, request.index)
        name = request.workload if self._index is None else ""
        unique = random_bytes(_INSTANCE_BYTES).hex()
        self._instance = f"{name}-{unique}"[-63:] if name else f"{self._index}.{unique}"
        self._network = plan_network(request.policy, request.workload, self._index)

    def perform(self, connect: Callable[[], ReleaseClient]) -> RunOutcome:
        """Do everything."""
        request = self._request
        plan = planning.plan_run(
            request.policy,
            request.workload,
            base=request.base,
            code_folder=request.code_folder,
            stores=request.stores,
            instance=self._instance,
        )
        roots = request.policy.roots_of_trust
        kind = choose_kind(roots, request.machine, named=request.root_of_trust)
        with self._stage("fork"):
            layout = _layout(plan)
            self._end_what_is_not_needed(layout)
            regions = plan_regions([_located(volume) for volume in plan.volumes])
            spec = sandbox_spec(layout, regions.folders, self._network_spec(), cells=self._cells())
            sandbox = self._stack.enter_context(Sandbox(spec))
            sandbox.start()
            servers = self._fork_servers(plan)
            relay = self._fork_relay()
        with self._stage("measure"):
            platform: SimPlatform | None = None
            attester: Attester | AnsweringAttester
            if kind == "sim":
                platform = request.load_platform()
                attester = sim_attester(platform, request.image)
            else:
                attester = hardware_attester(
                    kind, roots, request.machine, vouching=request.vouching
                )
            code = None if plan.code_folder is None else read_code(plan.code_folder)
            measured = LaunchMeasurement(
                code_digest(plan, code), self._runtime_digest(layout, platform)
            )
        with self._stage("attest"):
            sandbox.await_build()  # before a lease is granted that a failure would leave behind
            client = connect()
            granted = request.clock().at
            release: Release = self._ask(client.release, attester, measured)
            self._stack.callback(self._leave, release)
            planning.require_same(plan, release.bundle)
        with self._stage("volumes"):
            sandbox.keep(secret_files(release.bundle))
            servers.open(dict(release.bundle.volumes))
            servers.serve(sandbox.mount([mount_of(volume) for volume in plan.volumes]))
            sandbox.mount_regions(regions.mounts)
        if relay is not None:
            with self._stage("network"):
                relay.open(release, sandbox.network())
        renewer = Renewer(
            lambda: self._ask(client.renew, attester, measured),
            granted=granted,
            expires=_NEVER if release.bundle.member is None else release.bundle.member.expires,
            clock=request.clock,
        )
        return self._go(_Parts(sandbox, servers, relay), release, renewer, layout=layout, code=code)

    def _cells(self) -> bool:
        return self._request.policy.workloads[self._request.workload].cells is not None

    def _network_spec(self) -> NetworkSpec | None:
        if self._network is None:
            return None
        if self._request.redirected:
            return self._network.spec(None)
        pairs = static_pairs(self._request.policy, self._network)
        if pairs is None:
            raise ConfigError(
                "without redirection only ports that the policy names can be reached, at most "
                f"{MAX_STATIC}; it says `any`, or names more",
                code="config.value",
                hint="name the ports in `connections`, or leave --fixed-ports out",
            )
        return self._network.spec(pairs)

    def _fork_relay(self) -> RunRelay | None:
        if self._network is None:
            return None
        from cloister.launcher.relaying import (
            RelaySettings,
            RunRelay,
        )  # not every run has a network

        request = self._request
        settings = RelaySettings(
            service=request.service,
            url=request.url,
            peers=PeerDirectory(request.peers),
            address=request.relay,
            tells=request.policy.workloads[request.workload].output.logs == "pass",
            static=None if request.redirected else static_pairs(request.policy, self._network),
        )
        relay = RunRelay(self._network, settings, tell=self._hooks.shield)
        self._stack.callback(relay.abandon)
        return relay

    def _end_what_is_not_needed(self, layout: RuntimeLayout) -> None:
        """Let no walk over files go on beside the workload when its result will not be used."""
        fingerprint = self._request.fingerprint
        if fingerprint is not None and fingerprint.roots != layout.roots:
            fingerprint.close()

    def _fork_servers(self, plan: RunPlan) -> VolumeServers:
        settings = ServerSettings(
            self._request.service, self._request.url, (os.geteuid(), os.getegid())
        )
        servers = VolumeServers(plan.volumes, settings)
        self._stack.callback(servers.abandon)
        return servers

    def _runtime_digest(self, layout: RuntimeLayout, platform: SimPlatform | None) -> bytes:
        if not layout.roots:
            return Manifest({}).digest(RUNTIME_LABEL)
        return runtime_digest(
            layout,
            platform,
            cache_directory=self._request.cache_directory,
            at=self._request.clock().at,
            progress=self._hooks.measuring,
            fingerprint=self._request.fingerprint,
        )

    def _ask(
        self,
        how: Callable[..., _Granted],
        attester: Attester | AnsweringAttester,
        measured: LaunchMeasurement,
    ) -> _Granted:
        return how(
            policy=policy_hash(self._request.policy),
            workload=self._request.workload,
            instance=self._instance,
            measurement=measured,
            attester=attester,
        )

    def _leave(self, release: Release) -> None:
        """Free this run's place in the job; without that, it lapses when the certificate ends."""
        from cloister.keyservice.member_client import MemberClient  # at the end
        from cloister.keyservice.transport import HTTPTransport

        request = self._request
        with suppress(CloisterError), HTTPTransport(request.url) as transport:
            MemberClient(
                transport,
                request.service,
                release.bundle,
                clock=request.clock,
                deadline_s=_LEAVE_DEADLINE_S,
            ).leave()

    def _go(
        self,
        parts: _Parts,
        release: Release,
        renewer: Renewer,
        *,
        layout: RuntimeLayout,
        code: CodeTree | None,
    ) -> RunOutcome:
        bundle = release.bundle
        sandbox, servers, relay = parts.sandbox, parts.servers, parts.relay
        passing = bundle.logs == "pass"
        stops = self._stack.enter_context(StopRequests())
        with self._stage("start"):
            listeners = Listeners(bundle.listen, host=self._request.host)
            self._stack.callback(listeners.close)
            folder, beside = self._beside()
            sandbox.place([*code_files(code), *identity_files(release), *beside])
            output = LogRelay(self._hooks.log)
            command = command_of(bundle, layout, self._network, first=folder)
            started = self._request.clock().at
            if passing:
                outputs = output.writers
            else:
                null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
                self._stack.callback(os.close, null)
                outputs = (null, null)
            desk = self._desk(release)
            passed = listeners.filenos() | desk.filenos()
            sandbox.go(command, stdout=outputs[0], stderr=outputs[1], listeners=passed)
            desk.start()
            output.start()
            addresses = listeners.addresses()
            listeners.close()
        self._hooks.listening(addresses)
        # Nothing is forked from here on: the thread that renews stays in this process.
        with self._stage("run"), renewer:
            ended, failure = supervise(
                sandbox,
                servers,
                stops,
                renewer,
                relay=relay,
                grace_s=self._request.grace_s,
                place=parts.place,
            )
            desk.close()
            output.finish(timeout_s=_LOGS_TIMEOUT_S)
        with self._stage("commit"):
            failures = [failure] if failure is not None else []
            failures += servers.finish()
        with self._stage("receipt"):
            # Imported here, like the client: certificates load slowly, the stage builds meanwhile.
            from cloister.launcher.receipt import (
                RunFacts,
                make_receipt,
                write_receipt,
            )

            facts = RunFacts(
                started=started,
                ended=self._request.clock().at,
                status=ended.status,
                failure=failures[0] if failures else None,
                volumes=servers.states(),
                addresses=addresses,
                logs=output.digests() if passing else None,
                network=None if relay is None else relay.finish(ended.refused),
                spent=desk.spent(),
            )
            write_receipt(self._request.receipt, make_receipt(release, facts))
        if failures:
            raise failures[0]
        return RunOutcome(
            status=ended.status,
            instance=self._instance,
            receipt=self._request.receipt,
            troubles=tuple(servers.troubles()),
            stages=dict(self._stages),
            processor_ms=ended.processor_ms,
            peak_bytes=ended.peak_bytes,
            hardware_rooted=release.result.hardware_rooted,
        )

    def _desk(self, release: Release) -> Desk:
        """Make the desk of a workload that may spend; of any other, one that nobody gets."""
        request = self._request
        if not may_spend(request.policy, request.workload):
            return Desk(None)
        from cloister.keyservice.member_client import MemberClient  # not every run has a desk
        from cloister.keyservice.transport import HTTPTransport

        transport = self._stack.enter_context(HTTPTransport(request.url))
        client = MemberClient(transport, request.service, release.bundle, clock=request.clock)
        desk = Desk(client.spend)
        self._stack.callback(desk.close)
        return desk

    def _beside(self) -> tuple[tuple[str, ...], list[PlacedFile]]:
        """Return what belongs to the job's framework: folders to import from first, and files."""
        framework = "" if self._network is None else self._network.framework
        given = self._request.beside.get(framework)
        if given is None:
            return (), []
        place, files = given()
        return (place,), [PlacedFile(f"{place}/{name}", data, 0o444) for name, data in files]

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._stages[name] = time.monotonic() - began
        self._hooks.stage(name, self._stages[name])


def _layout(plan: RunPlan) -> RuntimeLayout:
    program = plan.command[0]
    if planning.is_inside_volume(program, plan):
        return volume_layout(Path(program))
    return layout_of(program)


def _located(volume: planning.VolumePlan) -> planning.VolumePlan:
    """Name a volume's store by a path without links up to it, for what lies beside it."""
    store = volume.store.absolute()
    return replace(volume, store=store.parent.resolve() / store.name)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The processes of a run."""

    sandbox: Sandbox
    servers: VolumeServers
    relay: RunRelay | None

    def place(self, certificate: bytes) -> None:
        """Give a new certificate to everybody who shows it."""
        self.sandbox.replace([certificate_file(certificate)])
        if self.relay is not None:
            self.relay.replace(certificate)
