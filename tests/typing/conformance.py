"""Every implementation against its protocol. Read by mypy, never run."""

from __future__ import annotations

from typing import assert_type

from cloister.attestation.evidence import Attester, EndorsingAttester, EvidenceVerifier
from cloister.cleanroom.query_model import RoomModel
from cloister.cleanroom.query_service import Predictor
from cloister.endorsing.amd import AmdWish
from cloister.endorsing.asking import Asking
from cloister.endorsing.cache import Cache
from cloister.endorsing.intel import IntelWish
from cloister.endorsing.nvidia import NvidiaWish
from cloister.endorsing.services import Services
from cloister.endorsing.wishes import Wish
from cloister.inference import Client
from cloister.inference.http import Pages
from cloister.inference.line import Watcher
from cloister.inference.loading import Loader
from cloister.inference.metrics import Metrics
from cloister.inference.model import LiteRTModel, Model
from cloister.inference.onnx_model import ONNXModel
from cloister.inference.partitioned import PartitionedModel
from cloister.inference.preparing import Prepares
from cloister.inference.reloading import Loads
from cloister.inference.service import InferenceService
from cloister.keyservice.anchors import KeyServiceAnchor
from cloister.keyservice.auditing import LogReader
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.policy import Policy, parse_policy, policy_hash
from cloister.keyservice.records import Records
from cloister.keyservice.store import Store as ServiceStore
from cloister.keyservice.transport import HTTPTransport, Transport
from cloister.launcher.passed_desk import Desk, Spend
from cloister.network.https import ask
from cloister.tee.azure.attester import AzureAttester
from cloister.tee.azure.verifier import AzureSnpVerifier, AzureTdxVerifier, VerifierFactory
from cloister.tee.cca.verifier import CcaVerifier
from cloister.tee.nitro.verifier import NitroVerifier
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.tee.sgx.attester import SgxAttester
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.verifier import SimVerifier
from cloister.tee.snp.attester import SnpAttester
from cloister.tee.snp.verifier import SnpVerifier
from cloister.tee.tdx.attester import TdxAttester
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.tee.tpm.attester import TpmAttester
from cloister.tee.tpm.transport import TpmPath, TpmTransport
from cloister.tee.tpm.verifier import TpmVerifier
from cloister.testing.anchor import MemoryAnchor
from cloister.testing.azure import FirmwareTransport
from cloister.testing.log import MemoryLog
from cloister.testing.memory_filesystem import MemoryFilesystem
from cloister.testing.store import MemoryStore
from cloister.volume.anchor import Anchor, PinnedAnchor
from cloister.volume.anchor_file import FileAnchor
from cloister.volume.filesystem import Filesystem
from cloister.volume.store import PosixStore, Store
from cloister.volume.tree import VolumeFilesystem


def sending(service: Services, cache: Cache) -> Asking:
    """What reaches a source."""
    return Asking(service, cache, send=ask, authorities=None)


def wishes(a: IntelWish, b: AmdWish, c: NvidiaWish) -> list[Wish]:
    """What can be collected."""
    return [a, b, c]


def anchors(a: KeyServiceAnchor, b: FileAnchor, c: MemoryAnchor, d: PinnedAnchor) -> list[Anchor]:
    """The key service's anchor matches the volume's protocol without knowing it."""
    return [a, b, c, d]


def filesystems(a: VolumeFilesystem, b: MemoryFilesystem) -> list[Filesystem]:
    """What FUSE can serve."""
    return [a, b]


def stores(a: PosixStore, b: MemoryStore) -> list[Store]:
    """Where a volume's bytes can lie."""
    return [a, b]


def sim(attester: SimAttester, verifier: SimVerifier) -> tuple[Attester, EvidenceVerifier]:
    """Both sides of the simulated root of trust."""
    return attester, verifier


def collectors(
    sgx: SgxAttester, tdx: TdxAttester, snp: SnpAttester
) -> tuple[Attester, Attester, EndorsingAttester]:
    """What runs attest by; the host gives endorsements along with SNP reports."""
    return sgx, tdx, snp


def intel(sgx: SgxVerifier, tdx: TdxVerifier) -> list[EvidenceVerifier]:
    """Judges of Intel's evidence."""
    return [sgx, tdx]


def hardware(
    snp: SnpVerifier, tpm: TpmVerifier, azure_snp: AzureSnpVerifier, azure_tdx: AzureTdxVerifier
) -> tuple[EvidenceVerifier, ...]:
    """Verifiers of AMD's processors, of TPMs, and of Azure's machines, which take one another."""
    snp_factory: VerifierFactory = SnpVerifier
    return snp, tpm, azure_snp, azure_tdx, AzureTdxVerifier((), snp_factory)


def attesters(
    sgx: SgxAttester, tdx: TdxAttester, snp: SnpAttester, tpm: TpmAttester, azure: AzureAttester
) -> list[Attester]:
    """What makes evidence over 64 bytes."""
    return [sgx, tdx, snp, tpm, azure]


def tpms(device: TpmPath, simulated: FirmwareTransport) -> list[TpmTransport]:
    """Ways to a TPM."""
    return [device, simulated]


def devices(a: NvidiaVerifier, b: NitroVerifier, c: CcaVerifier) -> list[EvidenceVerifier]:
    """Roots of trust of devices."""
    return [a, b, c]


def service(store: ServiceStore, transport: HTTPTransport) -> tuple[Records, Transport]:
    """What the key service's rules look things up in, and how clients reach it."""
    return store, transport


def logs(owner: OwnerClient, memory: MemoryLog) -> list[LogReader]:
    """Where a mirror's leaves come from."""
    return [owner, memory]


def partitioned(model: PartitionedModel) -> Model:
    """A cut model is a model."""
    return model


def preparing(model: PartitionedModel) -> Prepares:
    """And one that prepares its checks."""
    return model


def models(model: LiteRTModel, other: ONNXModel) -> list[Model]:
    """What can be served."""
    return [model, other]


def serving(service: InferenceService, metrics: Metrics, loader: Loader) -> tuple[object, ...]:
    """What answers requests, what hears of computations, and what loads versions."""
    pages: Pages = service
    watcher: Watcher = metrics
    loads: Loads = loader
    return pages, watcher, loads


def queries(model: RoomModel, desk: Desk) -> tuple[Predictor, Spend]:
    """What a room's model is asked through, and where that is counted."""
    return model, desk.spend


def public_api(client: Client, text: bytes) -> None:
    """Types that users see."""
    policy = parse_policy(text, source="policy.yaml")
    assert_type(policy, Policy)
    assert_type(policy_hash(policy), bytes)
    assert_type(client.peer.hardware_rooted, bool)
