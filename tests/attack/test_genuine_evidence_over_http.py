"""The operator's attacks with evidence of processors, against a real service process over HTTP.

Machines are of simulated manufacturers: what judges them is what judges genuine ones, and says that
no hardware vouched. Each attack departs in one thing from a release that is granted.
"""

from __future__ import annotations

import dataclasses
import itertools
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from attack.served import Served
from attack.test_keyservice_over_http import Requester, attack, refused_and_logged
from cloister.attestation.binding import nonce_of
from cloister.attestation.endorsement_bundle import Collected, EndorsementBundle
from cloister.attestation.evidence import Attester, Endorsement, Evidence, ReportData
from cloister.attestation.result import AttestationResult
from cloister.crypto.signature import SigningKey
from cloister.errors import IdentityError
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.messages import RELEASE_PATH, ReleaseRequest, Reply, bundle_info
from cloister.keyservice.renewal import RENEWAL_CHALLENGE_PATH, RENEWAL_PATH
from cloister.tee.azure.layout import SNP_TYPE as AZURE_SNP
from cloister.tee.composite import (
    CompositeEvidence,
    accelerator_nonce,
    composite_report_data,
)
from cloister.tee.snp.attester import SnpAttester
from cloister.tee.tdx.attester import TdxAttester
from cloister.tee.tsm import TsmInterface
from cloister.testing.genuine import EnclaveMachine, SnpMachine, TdMachine, section, with_gpus
from cloister.testing.keyservice import DATA_KEY, policy_text
from cloister.testing.manufacturers.amd import SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureVm
from cloister.testing.manufacturers.intel import SimulatedIntel
from cloister.testing.manufacturers.nitro import SimulatedNitro
from cloister.testing.manufacturers.nvidia import SimulatedGpu, SimulatedNvidia, evidence_list

DAY_S = 86400
COLLECTOR = SigningKey.generate()
PARTS = ("pck_crl", "root_crl", "tcb_info", "qe_identity")
KINDS = ("tdx", "snp", "sgx", "azure-snp", "nitro")


class AzureMachine:
    """A guest of Azure's, whose vTPM has room for 32 bytes."""

    def __init__(self, vm: SimulatedAzureVm) -> None:
        """Take the VM."""
        self.vm = vm
        self.measurement = b"m" * 48

    def collect(self, report_data: ReportData) -> Evidence:
        """Have the vTPM quote what stands for these 64 bytes."""
        body = self.vm.evidence(nonce_of(report_data), measurement=self.measurement)
        return Evidence(AZURE_SNP, body)


class NitroMachine:
    """An enclave of AWS's."""

    def __init__(self, maker: SimulatedNitro) -> None:
        """Take the manufacturer."""
        self.maker = maker
        self.measurement = maker.document().pcrs[0]

    def collect(self, report_data: ReportData) -> Evidence:
        """Have the hypervisor sign these 64 bytes as user data."""
        return self.maker.evidence(self.maker.document(user_data=report_data.value))


class World:
    """Manufacturers, their machines, and what each workload's host would send along."""

    def __init__(self, at: int) -> None:
        """Make them at an instant."""
        self.at = at
        self.intel = SimulatedIntel(b"seed", at=at)
        self.amd = SimulatedAmd(b"seed", "Genoa", now=at)
        self.td = TdMachine(self.intel)
        self.snp = SnpMachine(self.amd)
        self.enclave = EnclaveMachine(self.intel)
        self.azure = AzureMachine(SimulatedAzureVm(b"azure", now=at))
        self.nitro = NitroMachine(SimulatedNitro("aws", at=at - 60))
        self.nvidia = SimulatedNvidia("gpus", at=at)

    def case(self, kind: str, **changes: Any) -> TdMachine | EnclaveMachine:
        """An Intel machine or collateral that departs in something."""
        machine = self.td if kind == "tdx" else self.enclave
        return dataclasses.replace(machine, case=dataclasses.replace(machine.case, **changes))

    def issued(self, days_ago: int, *, valid_days: int = 30) -> dict[str, tuple[int, int]]:
        """Windows of collateral that was issued so many days ago."""
        begin = self.at - days_ago * DAY_S
        return dict.fromkeys(PARTS, (begin, begin + valid_days * DAY_S))

    def sections(self, *kinds: str) -> str:
        """What a policy says of these kinds."""
        anchors = {
            "tdx": self.intel.anchor,
            "sgx": self.intel.anchor,
            "snp": self.amd.anchor,
            "azure-snp": self.azure.vm.amd.anchor,
            "nitro": self.nitro.maker.anchor,
        }
        measured = {
            "tdx": self.td.measurement,
            "sgx": self.enclave.measurement,
            "snp": self.snp.measurement,
            "azure-snp": self.azure.measurement,
            "nitro": self.nitro.measurement,
        }
        return "\n".join(
            section(kind, anchors=[f"sha256:{anchors[kind].hex()}"], measurement=measured[kind])
            for kind in kinds
        )

    def attester(self, kind: str) -> tuple[Attester, Sequence[Endorsement]]:
        """A genuine machine of a kind, and its endorsements."""
        if kind == "tdx":
            return on(self.td)
        if kind == "snp":
            return on(self.snp)
        if kind == "sgx":
            return self.enclave, self.enclave.endorsements
        if kind == "azure-snp":
            return self.azure, self.azure.vm.endorsements()
        return self.nitro, ()


def on(machine: TdMachine | SnpMachine) -> tuple[Attester, Sequence[Endorsement]]:
    """The real attester on a simulated machine's kernel."""
    interface = TsmInterface(root=machine.root, files=machine.kernel())
    if isinstance(machine, TdMachine):
        return TdxAttester(interface), machine.endorsements
    return SnpAttester(interface, vmpl=0), machine.endorsements


class GenuineRequester(Requester):
    """A requester whose host sends endorsements along."""

    def __init__(
        self, served: Served, attester: Attester, endorsements: Sequence[Endorsement]
    ) -> None:
        """Make fresh keys."""
        super().__init__(served, attester)
        self.endorsements = tuple(endorsements)

    def request(self, policy: bytes, nonce: bytes, **changes: object) -> ReleaseRequest:
        """Ask for what a policy grants `serve`."""
        bound = super().request(policy, nonce, **changes)
        return dataclasses.replace(bound, endorsements=self.endorsements)

    def granted(self, policy: bytes) -> Bundle:
        """Ask, get a bundle, and open it."""
        request = self.request(policy, self.served.challenge())
        answer = self.served.send(RELEASE_PATH, request.to_bytes())
        assert isinstance(answer, Reply)
        info = bundle_info(
            service=self.served.domain.identity.raw, nonce=request.nonce, request=request.to_bytes()
        )
        wrong = IdentityError("not for us", code="identity.keyservice")
        return Bundle.from_bytes(self.hpke.open(answer.result, info=info, error=wrong))

    def refused(self, policy: bytes) -> tuple[str, object]:
        """Ask, and get nothing; the code, and what the log gained."""
        return attack(self.served, self.request(policy, self.served.challenge()))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service without endorsements of its own."""
    served = Served.create(tmp_path_factory.mktemp("genuine"))
    served.register_volumes()
    yield served
    served.close()
    served.require_nothing_on_the_wire()


@pytest.fixture(scope="module")
def world(served: Served) -> World:
    """At the service's time."""
    return World(served.clock().at)


@pytest.fixture(scope="module")
def policy(served: Served, world: World) -> bytes:
    """A policy that accepts every kind."""
    return served.apply(policy_text(served, trust=world.sections(*KINDS)))


@pytest.fixture(scope="module")
def tdx_alone(served: Served, world: World) -> bytes:
    """A policy that accepts TDs only."""
    return served.apply(policy_text(served, name="tdx", trust=world.sections("tdx")))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_request_without_an_attack_is_granted(
    served: Served, world: World, policy: bytes, kind: str
) -> None:
    """The control: keys for a genuine machine of each kind, and the result says what it was."""
    bundle = GenuineRequester(served, *world.attester(kind)).granted(policy)
    assert bundle.volumes["/data"].keys.newest == DATA_KEY
    result = AttestationResult.from_bytes(bundle.result)
    assert (result.root_of_trust, result.hardware_rooted) == (kind, False)
    assert f"roots_of_trust.{kind}.claims.measurement" in {hit.rule for hit in result.checked}


# -- what the machine is


@pytest.mark.spec("KR-26", "POL-62")
def test_a_debug_td(served: Served, world: World, policy: bytes) -> None:
    """Genuine, and its host reads what is in it; likewise a guest of AMD's and an enclave."""
    debug = world.case("tdx", debug=True)
    assert isinstance(debug, TdMachine)
    found = GenuineRequester(served, *on(debug)).refused(policy)
    assert found == refused_and_logged("appraisal.debug")
    guest = dataclasses.replace(world.snp, policy=0x30000 | 1 << 19)
    found = GenuineRequester(served, *on(guest)).refused(policy)
    assert found == refused_and_logged("appraisal.debug")
    enclave = world.case("sgx", debug=True)
    assert isinstance(enclave, EnclaveMachine)
    found = GenuineRequester(served, enclave, enclave.endorsements).refused(policy)
    assert found == refused_and_logged("appraisal.debug")


@pytest.mark.spec("KR-26", "POL-62")
def test_another_image_on_a_genuine_processor(served: Served, world: World, policy: bytes) -> None:
    """Anybody can rent the machine; what he starts on it is measured."""
    other = world.case("tdx", measurement=b"n" * 48)
    assert isinstance(other, TdMachine)
    found = GenuineRequester(served, *on(other)).refused(policy)
    assert found == refused_and_logged("appraisal.measurement")
    guest = dataclasses.replace(world.snp, measurement=b"n" * 48)
    found = GenuineRequester(served, *on(guest)).refused(policy)
    assert found == refused_and_logged("appraisal.measurement")


@pytest.mark.spec("KR-26", "POL-62")
def test_a_processor_that_its_manufacturer_calls_out_of_date(
    served: Served, world: World, policy: bytes
) -> None:
    """A status that the policy does not tolerate; with AMD a TCB below the least."""
    machine = world.case("tdx", status="OutOfDate")
    assert isinstance(machine, TdMachine)
    found = GenuineRequester(served, *on(machine)).refused(policy)
    assert found == refused_and_logged("appraisal.claim")
    guest = dataclasses.replace(world.snp, tcb={"snp": 19})
    found = GenuineRequester(served, *on(guest)).refused(policy)
    assert found == refused_and_logged("appraisal.claim")


@pytest.mark.spec("KR-36", "KR-88", "POL-62")
def test_why_a_processor_was_refused_is_told_to_readers_alone(
    served: Served, world: World, policy: bytes
) -> None:
    """Rule, expected and found for who may read the policy; one sentence for who asked."""
    machine = world.case("tdx", status="OutOfDate")
    assert isinstance(machine, TdMachine)
    requester = GenuineRequester(served, *on(machine))
    assert requester.refused(policy) == refused_and_logged("appraisal.claim")
    answers = [each.body for each in served.exchanges if each.path == RELEASE_PATH]
    assert b"OutOfDate" not in answers[-1]
    assert b"UpToDate" not in answers[-1]
    note = served.owner().refusals("lab", "digits")[-1]
    assert (note.instance, note.code) == (requester.instance, "appraisal.claim")
    assert (note.rule, note.expected, note.found) == (
        "roots_of_trust.tdx.claims.status",
        "UpToDate",
        "OutOfDate",
    )


@pytest.mark.spec("KR-24", "KR-100")
def test_a_processor_whose_key_is_revoked(served: Served, world: World, policy: bytes) -> None:
    """By the list that came along."""
    machine = world.case("tdx", revoked=frozenset({"pck"}))
    assert isinstance(machine, TdMachine)
    found = GenuineRequester(served, *on(machine)).refused(policy)
    assert found == refused_and_logged("endorsement.revoked")
    serial = world.amd.issuer_serial("VCEK")
    guest = dataclasses.replace(world.snp, revocations=world.amd.revocations(serials=(serial,)))
    found = GenuineRequester(served, *on(guest)).refused(policy)
    assert found == refused_and_logged("endorsement.revoked")


@pytest.mark.spec("KR-23", "POL-51")
def test_evidence_of_a_kind_that_the_policy_does_not_name(
    served: Served, world: World, tdx_alone: bytes
) -> None:
    """Simulated evidence of the domain's own platform, and a genuine guest of AMD's."""
    simulated = GenuineRequester(served, served.attester(), ())
    assert simulated.refused(tdx_alone) == refused_and_logged("appraisal.root-of-trust")
    found = GenuineRequester(served, *on(world.snp)).refused(tdx_alone)
    assert found == refused_and_logged("appraisal.root-of-trust")
    GenuineRequester(served, *on(world.td)).granted(tdx_alone)


@pytest.mark.spec("POL-63", "KR-23")
def test_a_simulated_manufacturer_where_the_real_one_is_asked_for(
    served: Served, world: World
) -> None:
    """Everything holds, but for who vouches in the end."""
    text = world.sections("tdx", "snp")
    for anchor in (world.intel.anchor, world.amd.anchor):
        text = text.replace(f"sha256:{anchor.hex()}", "manufacturer")
    pinned = served.apply(policy_text(served, name="pinned", trust=text))
    for machine in (world.td, world.snp):
        found = GenuineRequester(served, *on(machine)).refused(pinned)
        assert found == refused_and_logged("endorsement.anchor")


# -- for whom the evidence is


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.spec("KR-25", "BIND-5")
def test_evidence_of_another_request(
    served: Served, world: World, policy: bytes, kind: str
) -> None:
    """A relay: a genuine machine's live evidence, with keys, a nonce or code of the attacker's."""
    victim = GenuineRequester(served, *world.attester(kind))
    genuine = victim.request(policy, served.challenge())
    thief = Requester(served)
    for change in (
        {"hpke_key": thief.hpke.public.raw},
        {"certificate_request": thief.csr},
        {"workload": "train"},
        {"nonce": served.challenge()},
    ):
        relayed = dataclasses.replace(genuine, **change)  # type: ignore[arg-type]  # one field
        if "nonce" not in change:
            relayed = dataclasses.replace(relayed, nonce=served.challenge())
            relayed = dataclasses.replace(
                relayed, evidence=victim.request(policy, relayed.nonce).evidence
            )
        assert attack(served, relayed) == refused_and_logged("evidence.binding")


# -- who vouches


@pytest.mark.spec("KR-101")
def test_endorsements_that_are_not_there(served: Served, world: World, policy: bytes) -> None:
    """Nothing was decided: another code than that of refused evidence, and nothing is given."""
    for kind in ("tdx", "snp", "sgx", "azure-snp"):
        found = GenuineRequester(served, world.attester(kind)[0], ()).refused(policy)
        assert found == refused_and_logged("endorsement.missing")
        statuses = {each.status for each in served.exchanges if each.path == RELEASE_PATH}
        assert 503 in statuses


@pytest.mark.spec("KR-101")
def test_endorsements_that_are_too_old(served: Served, world: World, policy: bytes) -> None:
    """Of before a revocation, say; the same code whatever part it is."""
    machine = world.case("tdx", windows=world.issued(40))
    assert isinstance(machine, TdMachine)
    found = GenuineRequester(served, *on(machine)).refused(policy)
    assert found == refused_and_logged("endorsement.stale")
    old = world.amd.revocations(validity=(world.at - 40 * DAY_S, world.at - DAY_S))
    guest = dataclasses.replace(world.snp, revocations=old)
    found = GenuineRequester(served, *on(guest)).refused(policy)
    assert found == refused_and_logged("endorsement.stale")
    # Without any list the policy's own rule refuses.
    guest = dataclasses.replace(world.snp, revocations=b"")
    found = GenuineRequester(served, *on(guest)).refused(policy)
    assert found == refused_and_logged("appraisal.claim")


@pytest.mark.spec("KR-102")
def test_endorsements_that_do_not_belong_there(served: Served, world: World, policy: bytes) -> None:
    """Twice, of another kind, for evidence that has none, and bytes that are nothing."""
    td, (bundle,) = world.attester("tdx")
    snp, table = world.attester("snp")
    for attester, endorsements in (
        (td, (bundle, bundle)),
        (td, (bundle, table[0])),
        (snp, (*table, table[0])),
        (td, (Endorsement(bundle.media_type, b"{}"),)),
    ):
        found = GenuineRequester(served, attester, endorsements).refused(policy)
        assert found == refused_and_logged("endorsement.malformed")
    found = GenuineRequester(served, world.nitro, (bundle,)).refused(policy)
    assert found == refused_and_logged("endorsement.malformed")


@pytest.mark.spec("KR-100")
def test_endorsements_that_somebody_else_signed(
    served: Served, world: World, policy: bytes
) -> None:
    """They are not bound to the request: their endorsers' signatures are all that counts."""
    for part in ("tcb_info", "qe_identity", "pck_crl", "root_crl"):
        machine = world.case("tdx", forged=frozenset({part}))
        assert isinstance(machine, TdMachine)
        honest, _ = on(world.td)
        found = GenuineRequester(served, honest, machine.endorsements).refused(policy)
        assert found == refused_and_logged("endorsement.signature")


@pytest.mark.spec("MEM-62", "KR-101")
def test_a_renewal_without_fresh_endorsements(served: Served, world: World, policy: bytes) -> None:
    """A member is judged again as at first, and nothing of it counts for the next time."""
    member = GenuineRequester(served, *world.attester("tdx"))
    member.granted(policy)
    stale = world.case("tdx", windows=world.issued(40))
    for endorsements, code in (
        ((), "endorsement.missing"),
        (stale.endorsements, "endorsement.stale"),
    ):
        member.endorsements = tuple(endorsements)
        request = member.request(policy, served.challenge(RENEWAL_CHALLENGE_PATH))
        assert attack(served, request, RENEWAL_PATH) == refused_and_logged(code, "renew")
    member.endorsements = tuple(world.td.endorsements)
    request = member.request(policy, served.challenge(RENEWAL_CHALLENGE_PATH))
    assert isinstance(served.send(RENEWAL_PATH, request.to_bytes()), Reply)


# -- a processor with accelerators


class GpuMachine(GenuineRequester):
    """A TD with GPUs: its evidence is of both, made for each other and for the request."""

    def __init__(self, served: Served, world: World, gpus: Sequence[SimulatedGpu]) -> None:
        """Make fresh keys."""
        self.gpus = gpus
        attester, endorsements = on(world.td)
        made = world.nvidia.endorsements(*gpus)
        chain = "application/pem-certificate-chain"  # a list of GPUs brings its own
        vouching = [*endorsements, *(each for each in made if each.media_type != chain)]
        super().__init__(served, attester, vouching)

    def request(self, policy: bytes, nonce: bytes, **changes: object) -> ReleaseRequest:
        """Ask with evidence of both parts."""
        plain = super().request(policy, nonce, **changes)
        evidence = self.gpu_evidence(plain, plain.nonce)
        bound = composite_report_data(plain.report_data(), evidence)
        both = CompositeEvidence(self.attester.collect(bound), evidence)
        return dataclasses.replace(plain, evidence=both.to_evidence())

    def gpu_evidence(self, request: ReleaseRequest, nonce: bytes) -> Evidence:
        """Have the GPUs sign for a request."""
        return evidence_list(self.gpus, accelerator_nonce(nonce, request.report_data()))


@pytest.fixture(scope="module")
def with_devices(served: Served, world: World) -> bytes:
    """A policy that accepts TDs with GPUs, and no other."""
    anchors = [f"sha256:{each.hex()}" for each in world.nvidia.anchors]
    text = with_gpus(world.sections("tdx"), anchors)
    return served.apply(policy_text(served, name="devices", trust=text))


@pytest.mark.spec("KR-104", "POL-36", "CE-15")
def test_half_of_a_machine(
    served: Served, world: World, tdx_alone: bytes, with_devices: bytes
) -> None:
    """The processor without its GPUs, the GPUs without it, and both where one was asked for."""
    gpus = [world.nvidia.gpu("HOPPER")]
    whole = GpuMachine(served, world, gpus)
    result = AttestationResult.from_bytes(whole.granted(with_devices).result)
    assert (result.root_of_trust, result.hardware_rooted) == ("tdx", False)
    assert "roots_of_trust.tdx.devices.nvidia.claims.measres" in {
        hit.rule for hit in result.checked
    }
    found = GenuineRequester(served, *on(world.td)).refused(with_devices)
    assert found == refused_and_logged("evidence.parts")
    assert GpuMachine(served, world, gpus).refused(tdx_alone) == refused_and_logged(
        "appraisal.root-of-trust"
    )
    request = whole.request(with_devices, served.challenge())
    gpu = CompositeEvidence.from_evidence(request.evidence).gpu
    alone = dataclasses.replace(request, evidence=gpu)
    assert attack(served, alone) == refused_and_logged("appraisal.root-of-trust")


@pytest.mark.spec("KR-104", "POL-36")
def test_gpus_beside_a_guest_of_amds(served: Served, world: World) -> None:
    """Both manufacturers have chains and lists: those that came along are the processor's."""
    anchors = [f"sha256:{each.hex()}" for each in world.nvidia.anchors]
    text = with_gpus(world.sections("snp"), anchors)
    policy = served.apply(policy_text(served, name="amd-devices", trust=text))
    gpu = world.nvidia.gpu("HOPPER")
    machine = GpuMachine(served, world, [gpu])
    machine.attester, of_cpu = on(world.snp)
    machine.endorsements = (*of_cpu, *world.nvidia.rims(gpu), *world.nvidia.ocsp_responses(gpu))
    result = AttestationResult.from_bytes(machine.granted(policy).result)
    assert result.root_of_trust == "snp"
    machine.endorsements = (*of_cpu, *world.nvidia.rims(gpu))
    assert machine.refused(policy) == refused_and_logged("appraisal.claim")


@pytest.mark.spec("KR-104", "CE-13", "CE-14")
def test_parts_of_two_machines(served: Served, world: World, with_devices: bytes) -> None:
    """GPUs that signed for another request or nonce, and other GPUs under the processor's name."""
    machine = GpuMachine(served, world, [world.nvidia.gpu("HOPPER")])
    other = GpuMachine(served, world, [world.nvidia.gpu("HOPPER", number=7)])
    other.endorsements = machine.endorsements
    for change in ("request", "nonce", "gpus"):
        request = machine.request(with_devices, served.challenge())
        parts = CompositeEvidence.from_evidence(request.evidence)
        if change == "gpus":  # the processor bound the first ones
            parts = CompositeEvidence(parts.cpu, other.gpu_evidence(request, request.nonce))
        else:
            another = other.request(with_devices, served.challenge())
            about = another if change == "request" else request
            gpu = machine.gpu_evidence(about, another.nonce)
            bound = composite_report_data(request.report_data(), gpu)
            parts = CompositeEvidence(machine.attester.collect(bound), gpu)
        forged = dataclasses.replace(request, evidence=parts.to_evidence())
        code, logged = attack(served, forged)
        # Manifests of the first GPUs do for the others of their model, or are about none.
        assert code in {"evidence.binding", "endorsement.mismatch"}
        assert logged == [("release", code)]


@pytest.mark.spec("KR-104", "POL-36")
def test_accelerators_whose_software_nobody_vouches_for(
    served: Served, world: World, with_devices: bytes
) -> None:
    """Without manifests or revocation, and of a manufacturer that is not named."""
    machine = GpuMachine(served, world, [world.nvidia.gpu("HOPPER")])
    everything = machine.endorsements
    for media_type in ("application/swid+xml", "application/pkix-crl"):
        machine.endorsements = tuple(e for e in everything if e.media_type != media_type)
        assert len(machine.endorsements) < len(everything)
        assert machine.refused(with_devices) == refused_and_logged("appraisal.claim")
    stranger = SimulatedNvidia("stranger", at=world.at)
    forged = GpuMachine(served, world, [stranger.gpu("HOPPER")])
    assert forged.refused(with_devices) == refused_and_logged("endorsement.anchor")


# -- what the host holds back


@pytest.fixture
def watchful(tmp_path: Path) -> Iterator[tuple[Served, World, bytes, Callable[..., None]]]:
    """A service with endorsements of its own, which `give` changes while it runs."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "list.crl").write_bytes(SimulatedAmd(b"another", "Milan").revocations())
    served = Served.create(tmp_path, "watchful.test", "--endorsements", str(folder))
    served.register_volumes()
    world = World(served.clock().at)
    reads = itertools.count(1)

    def give(*endorsements: Endorsement) -> None:
        for number, each in enumerate(endorsements):
            (folder / f"given-{number}").write_bytes(each.body)
        assert served.process is not None
        served.process.send_signal(signal.SIGHUP)
        wanted, end = next(reads), time.monotonic() + 30
        while served.log.read_text().count("endorsements.read") < wanted:
            assert time.monotonic() < end
            time.sleep(0.02)

    yield served, world, served.apply(policy_text(served, trust=world.sections(*KINDS))), give
    served.close()


@pytest.mark.spec("KR-100", "KR-103")
def test_a_newer_revocation_that_the_host_holds_back(
    watchful: tuple[Served, World, bytes, Callable[..., None]],
) -> None:
    """The host sends what was true last week; the service has what is true now."""
    served, world, policy, give = watchful
    last_week = world.case("tdx", windows=world.issued(8))
    assert isinstance(last_week, TdMachine)
    old_list = world.amd.revocations(validity=(world.at - 8 * DAY_S, world.at + 30 * DAY_S))
    guest = dataclasses.replace(world.snp, revocations=old_list)
    # Nothing is known to be otherwise: within its dates, what is sent counts.
    GenuineRequester(served, *on(last_week)).granted(policy)
    GenuineRequester(served, *on(guest)).granted(policy)
    give(
        *world.case("tdx", windows=world.issued(1), status="OutOfDate").endorsements,
        Endorsement("", world.amd.revocations(serials=(world.amd.issuer_serial("VCEK"),))),
    )
    found = GenuineRequester(served, *on(last_week)).refused(policy)
    assert found == refused_and_logged("appraisal.claim")
    found = GenuineRequester(served, *on(guest)).refused(policy)
    assert found == refused_and_logged("endorsement.revoked")
    give(*world.case("tdx", windows=world.issued(0), revoked=frozenset({"pck"})).endorsements)
    found = GenuineRequester(served, *on(last_week)).refused(policy)
    assert found == refused_and_logged("endorsement.revoked")


@pytest.mark.spec("KR-100")
def test_older_endorsements_of_the_service_do_not_make_a_machine_good(
    watchful: tuple[Served, World, bytes, Callable[..., None]],
) -> None:
    """What the host sends is newer and says worse of it; and what nobody sends, the service has."""
    served, world, policy, give = watchful
    give(*world.case("tdx", windows=world.issued(8)).endorsements)
    worse = world.case("tdx", windows=world.issued(1), status="OutOfDate")
    assert isinstance(worse, TdMachine)
    found = GenuineRequester(served, *on(worse)).refused(policy)
    assert found == refused_and_logged("appraisal.claim")
    GenuineRequester(served, on(world.td)[0], ()).granted(policy)
    # They are about this model of this manufacturer: another's has none.
    other = world.case("tdx", fmspc=bytes.fromhex("00906ed50001"))
    assert isinstance(other, TdMachine)
    found = GenuineRequester(served, on(other)[0], ()).refused(policy)
    assert found == refused_and_logged("endorsement.missing")


def bundle(path: Path, at: int, *endorsements: Endorsement, by: SigningKey = COLLECTOR) -> None:
    """Write what a collector signed."""
    items = [Collected(each, "https://here.example", at) for each in endorsements]
    path.write_bytes(EndorsementBundle.make(items, by)[1])


@pytest.mark.spec("KR-100", "KR-105")
def test_a_newer_revocation_in_a_bundle_of_a_collectors(tmp_path: Path) -> None:
    """It counts as in a file, of a collector who was named; another's is as good as none."""
    path = tmp_path / "all.bundle"
    bundle(path, 0, *World(0).nvidia.revocation_lists())
    words = ("--endorsements", str(path), "--collector", COLLECTOR.public.text)
    served = Served.create(tmp_path, "bundled.test", *words)
    try:
        served.register_volumes()
        world = World(served.clock().at)
        policy = served.apply(policy_text(served, trust=world.sections("tdx", "snp")))
        last_week = world.case("tdx", windows=world.issued(8))
        assert isinstance(last_week, TdMachine)
        GenuineRequester(served, *on(last_week)).granted(policy)
        newer = (
            *world.case("tdx", windows=world.issued(1), status="OutOfDate").endorsements,
            *world.case("tdx", fmspc=bytes.fromhex("00906ed50001")).endorsements,
            *world.nvidia.endorsements(world.nvidia.gpu("HOPPER")),
        )

        def read_again(said: str) -> None:
            assert served.process is not None
            before = served.log.read_text().count(said)
            served.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + 30
            while served.log.read_text().count(said) == before:
                assert time.monotonic() < end
                time.sleep(0.02)

        bundle(path, world.at, *newer, by=SigningKey.generate())
        read_again("endorsements.kept")
        GenuineRequester(served, *on(last_week)).granted(policy)
        bundle(path, world.at, *newer)
        read_again("endorsements.read")
        found = GenuineRequester(served, *on(last_week)).refused(policy)
        assert found == refused_and_logged("appraisal.claim")
        # Nobody's bundle is taken where nobody is named.
        served.end()
        served.options = words[:2]
        facts = served.start()
        assert served.ended() == 77
        assert facts["error"]["code"] == "endorsement.collector"
    finally:
        served.close()
