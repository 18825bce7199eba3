"""What an owner does from her own machine: seal, create, read back, verify; apply policies.

Joins two parts that do not know each other: volumes, which take a key and an anchor, and the key
service, which holds both. Everything here runs on a machine that the owner trusts.

Example::

    owner = Owner(domain, HTTPTransport(ensure_service(domain, deadline_s=10)), clock=read_clock)
    owner.seal(Path("data"), Path("sealed/data"), kind="data", progress=quiet)
    owner.apply(parse_policy(Path("policy.yaml").read_bytes(), source="policy.yaml"))
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.crypto.kdf import random_bytes
from cloister.crypto.keyring import FIRST_KEY_EPOCH
from cloister.errors import ConfigError, ReleaseDeniedError, UnavailableError
from cloister.keyservice.anchors import KeyServiceAnchor
from cloister.keyservice.exchange import MAX_SKEW_S
from cloister.keyservice.namespaces import ROOT
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.owner_replies import JobStatus
from cloister.keyservice.pinned import PinnedService
from cloister.keyservice.policy import Policy, canonical_bytes
from cloister.keyservice.roster import Expected, Roster
from cloister.volume.anchor import PinnedAnchor
from cloister.volume.format import VolumeKind
from cloister.volume.opening import create_volume, observe, observe_kind, open_volume
from cloister.volume.regions import ENCRYPTED_ONLY, Regions

if TYPE_CHECKING:
    from cloister.crypto.signature import SigningKey
    from cloister.keyservice.clock import Clock
    from cloister.keyservice.domain import TrustDomain
    from cloister.keyservice.secret_messages import SecretFact
    from cloister.keyservice.transport import Transport
    from cloister.volume.format import VolumeIdentity
    from cloister.volume.rekey import RekeyProgress, RekeyReport
    from cloister.volume.seal import ProgressReport
    from cloister.volume.tree import VolumeFilesystem

__all__ = ["Owner"]

_KEY_BYTES = 32
_RENEWALS_A_LIFETIME = 3


class Owner:
    """The owner of a trust domain, with her key, at work."""

    def __init__(
        self,
        domain: TrustDomain,
        transport: Transport,
        *,
        clock: Clock,
        key: SigningKey | None = None,
    ) -> None:
        """Load the key of the domain's owner where no other is given; nothing is sent yet.

        Raises:
            ConfigError: The owner's key is not here.
        """
        self._domain = domain
        self._transport = transport
        self._clock = clock
        self._service = PinnedService(domain.identity, domain.origin)
        signer = domain.owner_key() if key is None else key
        self.client = OwnerClient(
            transport, self._service, owner=signer, reference=domain.service, clock=clock
        )

    def jobs(self) -> list[JobStatus]:
        """Return every job: each policy name that has a current version."""
        current = [record for record in self.client.status().policies if record["current"] is True]
        names = sorted((str(record["namespace"]), str(record["name"])) for record in current)
        return [self.client.job_status(namespace, name) for namespace, name in names]

    def find_job(self, text: str) -> JobStatus:
        """Return the job that a person means by `NAMESPACE/NAME`, or by `NAME` where one fits.

        Raises:
            ConfigError: No job fits (`config.missing`), or several do (`config.value`).
        """
        namespace, separator, name = text.rpartition("/")
        fitting = [
            job
            for job in self.jobs()
            if job.name == name and (not separator or job.namespace == namespace)
        ]
        if not fitting:
            raise ConfigError(
                f"the key service has no policy {text}",
                code="config.missing",
                hint="cloister keyservice members lists them",
            )
        if len(fitting) > 1:
            raise ConfigError(
                f"several namespaces have a policy {text}",
                code="config.value",
                hint="write NAMESPACE/NAME",
            )
        return fitting[0]

    def roster(self, job: JobStatus) -> Roster:
        """Return who is in a job, checked as anybody would check the signed roster."""
        expected = Expected(
            service=self._service.identity,
            domain=self._domain.name,
            namespace=job.namespace,
            name=job.name,
            of="",
            epoch=job.epoch,
            at=self._clock().at,
            max_age_s=MAX_SKEW_S,
        )
        return self.client.members(job.namespace, job.name).verify(expected)

    def seal(
        self,
        source: Path,
        store: Path,
        *,
        kind: str,
        progress: ProgressReport,
        namespace: str = ROOT,
        regions: Regions = ENCRYPTED_ONLY,
    ) -> VolumeIdentity:
        """Import a folder into a new sealed volume and entrust its key to the key service.

        Args:
            source: The folder, in plain; read once.
            store: Where the volume's store goes; missing or empty.
            kind: What the owner calls it, such as `data` or `code`.
            progress: Called with how far it is.
            namespace: Whose policies may use it.
            regions: Which class each path gets; all of it is encrypted where none are given.
        """
        from cloister.volume.seal import seal_tree  # loads only for owners

        key = random_bytes(_KEY_BYTES)
        identity = seal_tree(source, store, key, progress=progress, regions=regions)
        self._register(identity, key, kind, namespace)
        return identity

    def seal_files(
        self,
        files: Mapping[str, bytes],
        store: Path,
        *,
        kind: str,
        progress: ProgressReport,
        namespace: str = ROOT,
    ) -> VolumeIdentity:
        """Make a sealed volume of files that are in memory, and entrust its key.

        Nothing of them is written in plain. See `seal` for the arguments.
        """
        from cloister.volume.seal_memory import seal_memory  # loads only for owners

        key = random_bytes(_KEY_BYTES)
        at_ns = self._clock().at * 10**9
        identity = seal_memory(files, store, key, at_ns=at_ns, progress=progress)
        self._register(identity, key, kind, namespace)
        return identity

    def create(self, store: Path, *, kind: str, namespace: str = ROOT) -> VolumeIdentity:
        """Make an empty volume that workloads can write, and entrust its key."""
        key = random_bytes(_KEY_BYTES)
        identity = create_volume(store, key)
        self._register(identity, key, kind, namespace)
        return identity

    @contextlib.contextmanager
    def reading(self, store: Path) -> Iterator[VolumeFilesystem]:
        """Open a volume's newest state for reading; the key is released to this owner only.

        Each file is taken in the class that it is recorded with.
        """
        identity = observe(store)
        held = self.client.volume_key(identity.volume_id)
        anchor = PinnedAnchor(held.state)
        filesystem = open_volume(
            store, held.keys, anchor=anchor, writable=False, regions=Regions.as_recorded()
        )
        try:
            yield filesystem
        finally:
            filesystem.close()

    @contextlib.contextmanager
    def writing(self, store: Path) -> Iterator[tuple[VolumeFilesystem, KeyServiceAnchor]]:
        """Become a volume's one writer until the block ends, for what makes no files."""
        identity = observe(store)
        held = self.client.take_lease(identity.volume_id)
        if held.lease is None:
            raise ReleaseDeniedError("no lease was given", code="release.fenced")
        anchor = KeyServiceAnchor(
            self._transport,
            self._service,
            volume=identity.volume_id,
            lease=held.lease,
            clock=self._clock,
        )
        try:
            filesystem = open_volume(
                store, held.keys, anchor=anchor, writable=True, regions=Regions.as_recorded()
            )
            try:
                yield filesystem, anchor
            finally:
                filesystem.close()
        finally:
            anchor.release()

    def rotate(self, store: Path) -> int:
        """Have the key service make a volume's next key; returns its epoch.

        What is written from now on is under it; `rekey` moves what there is.

        Raises:
            ConfigError: The volume is sealed, and never written again (`config.value`).
        """
        if observe_kind(store) is VolumeKind.SEALED:
            raise ConfigError(
                f"{store} is sealed: its key never changes",
                code="config.value",
                hint="seal the data into a new volume, and name that in the policy",
            )
        volume_id = observe(store).volume_id
        epoch = self._key_epoch(volume_id) + 1
        self.client.rotate_volume(volume_id, epoch=epoch)
        return epoch

    def rekey(self, store: Path, *, progress: Callable[[RekeyProgress], None]) -> RekeyReport:
        """Seal everything again that is under an older key; may be ended and begun again."""
        with self.writing(store) as (filesystem, anchor):
            renewed = self._clock().uptime

            def step(done: RekeyProgress) -> None:
                nonlocal renewed
                if self._clock().uptime - renewed > anchor.ttl_s / _RENEWALS_A_LIFETIME:
                    with contextlib.suppress(UnavailableError):  # the next commit tells
                        anchor.renew()
                    renewed = self._clock().uptime
                progress(done)

            return filesystem.rekeying().run(progress=step)

    def retire(self, store: Path, *, before: int | None = None) -> int:
        """Destroy a volume's keys before an epoch, or all but the newest; returns the oldest left.

        Raises:
            ReleaseDeniedError: The newest state is still under one of them (`release.key-in-use`).
        """
        volume_id = observe(store).volume_id
        until = self._key_epoch(volume_id) if before is None else before
        return self.client.retire_keys(volume_id, before=until)

    def apply(self, policy: Policy) -> bytes:
        """Make a policy the current one of its name; returns its 32-byte hash."""
        return self.client.apply_policy(canonical_bytes(policy))

    def put_secret(self, policy: Policy, name: str, value: bytes) -> int:
        """Entrust the value of an opaque secret for its current epoch, which is returned.

        Raises:
            ConfigError: The policy has no such secret (`config.missing`), or another value was put
                for this epoch (`config.exists`).
        """
        rule = (policy.secrets or {}).get(name)
        if rule is None or rule.opaque is None:
            raise ConfigError(
                f"policy {policy.namespace}/{policy.name} has no opaque secret {name}",
                code="config.missing",
                hint="declare it: {opaque: {max_bytes: …}}; other kinds are made by the service",
            )
        self.client.secrets.put(
            value,
            namespace=policy.namespace,
            policy=policy.name,
            name=name,
            epoch=rule.current,
            service_hpke=self._domain.hpke,
        )
        return rule.current

    def list_secrets(self, policy: Policy) -> tuple[SecretFact, ...]:
        """List what the key service holds for a policy; never a value."""
        return self.client.secrets.list(namespace=policy.namespace, policy=policy.name)

    def _key_epoch(self, volume_id: bytes) -> int:
        for record in self.client.status().volumes:
            if record["id"] == volume_id:
                epoch = record.get("key_epoch", FIRST_KEY_EPOCH)
                return epoch if isinstance(epoch, int) else FIRST_KEY_EPOCH
        return FIRST_KEY_EPOCH

    def _register(self, identity: VolumeIdentity, key: bytes, kind: str, namespace: str) -> None:
        self.client.register_volume(
            identity.volume_id,
            key=key,
            version=identity.version,
            root=identity.root,
            kind=kind,
            service_hpke=self._domain.hpke,
            namespace=namespace,
        )
