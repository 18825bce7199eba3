"""Which root of trust a run attests by: never a weaker one silently."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.attestation.binding import nonce_of
from cloister.attestation.evidence import Endorsement, EndorsingAttester, Evidence, ReportData
from cloister.attestation.evidence_rules import OneOf, Rule, Unchecked
from cloister.errors import CloisterError, ConfigError, UnavailableError, UnsupportedError
from cloister.keyservice.policy.model import EvidenceRoot, RootsOfTrust, SimRoot
from cloister.launcher.attesting import (
    _fitting,
    choose_kind,
    hardware_attester,
    knows_nothing,
    sim_attester,
)
from cloister.tee.azure.verifier import AzureSnpVerifier
from cloister.tee.composite import CompositeEvidence, accelerator_nonce, composite_report_data
from cloister.tee.kernel import KernelFiles
from cloister.tee.offers import Machine
from cloister.tee.places import Places
from cloister.tee.sim.image import installed_image
from cloister.tee.sim.platform import SimPlatform
from cloister.tee.snp.layout import Report
from cloister.tee.tdx.layout import read_quote
from cloister.testing.azure import Firmware
from cloister.testing.genuine import ROOT, EnclaveMachine, SnpMachine, TdMachine
from cloister.testing.kernel import FakeTsm
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureVm
from cloister.testing.manufacturers.intel import SimulatedIntel
from cloister.testing.manufacturers.nvidia import SimulatedNvidia
from cloister.testing.nvml import FakeNvml
from cloister.testing.swtpm import SoftwareTpm

SIM = SimRoot(anchors=(), measurement=(), minimum_svn=1, debug="refused")
TD = TdMachine(SimulatedIntel(b"seed", at=NOW))
SNP = SnpMachine(SimulatedAmd(b"seed", "Genoa"))
BOUND = ReportData(bytes(range(64)))
NONCE = b"n" * 32


class Gramine:
    """Gramine's files, for an enclave that attests by DCAP."""

    def __init__(self, root: Path) -> None:
        """Take the place."""
        self.root = root
        self.bound = b""

    def make_directory(self, path: Path) -> None:
        """There is no configfs in an enclave."""
        raise FileNotFoundError(errno.ENOENT, "nothing there", str(path))

    def remove_directory(self, path: Path) -> None:
        """Nor anything to remove."""
        raise FileNotFoundError(errno.ENOENT, "nothing there", str(path))

    def read(self, path: Path, *, max_bytes: int) -> bytes:
        """Say how it attests, or quote."""
        assert path.parent == self.root
        if path.name == "attestation_type":
            return b"dcap\n"[:max_bytes]
        return EnclaveMachine(TD.intel).collect(ReportData(self.bound)).body

    def write(self, path: Path, data: bytes) -> None:
        """Bind."""
        assert path == self.root / "user_report_data"
        self.bound = data


def roots(*kinds: str, sim: bool = False, claims: Mapping[str, Rule] | None = None) -> RootsOfTrust:
    """What a policy accepts."""
    section = EvidenceRoot(anchors=("manufacturer",), claims=dict(claims or {}))
    return RootsOfTrust(sim=SIM if sim else None, genuine=dict.fromkeys(kinds, section))


def machine(files: KernelFiles | None) -> Machine:
    """A machine whose kernel is a test's."""
    nowhere = Path("/nowhere")
    places = Places(tsm=ROOT, gramine=ROOT, tpm=nowhere, nvml=nowhere)
    return Machine(places, files=files)


NOTHING = FakeTsm(Path("/elsewhere"), "tdx_guest", lambda data: data)


@pytest.mark.parametrize(
    ("accepted", "files", "kind"),
    [
        (roots("tdx"), TD.kernel(), "tdx"),
        (roots("tdx", "snp", "sgx"), TD.kernel(), "tdx"),
        (roots("tdx", "snp", "azure-snp"), SNP.kernel(), "snp"),
        (roots("tdx", "sgx"), Gramine(ROOT), "sgx"),
        (roots("tdx", "snp", sim=True), NOTHING, "sim"),
        (roots(sim=True), TD.kernel(), "sim"),
    ],
)
def test_the_only_kind_that_is_accepted_and_offered_is_used(
    accepted: RootsOfTrust, files: KernelFiles, kind: str
) -> None:
    """Without being named."""
    assert choose_kind(accepted, machine(files), named="") == kind


def test_a_policy_about_simulation_alone_touches_no_interface() -> None:
    """Whatever the machine has."""

    class Untouchable:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

    files: KernelFiles = Untouchable()  # type: ignore[assignment]  # nobody may call it
    assert choose_kind(roots(sim=True), machine(files), named="") == "sim"


def test_several_kinds_are_for_a_person_to_choose_from() -> None:
    """Neither hardware nor simulation is taken silently; the error lists both sides."""
    both = roots("tdx", sim=True)
    with pytest.raises(ConfigError) as e:
        choose_kind(both, machine(TD.kernel()), named="")
    assert e.value.code == "config.value"
    assert "accepts sim, tdx" in e.value.public
    assert "offers sim, tdx" in e.value.public
    assert "--root-of-trust" in (e.value.hint or "")
    for named in ("sim", "tdx"):
        assert choose_kind(both, machine(TD.kernel()), named=named) == named


@pytest.mark.parametrize(
    ("accepted", "files", "named", "wrong", "code"),
    [
        (roots("snp"), TD.kernel(), "", UnsupportedError, "machine.attester"),
        (roots("tdx"), NOTHING, "", UnsupportedError, "machine.attester"),
        (roots("azure-snp", "nitro"), NOTHING, "", UnsupportedError, "machine.attester"),
        (roots(), TD.kernel(), "", UnsupportedError, "machine.attester"),
        (roots("tdx"), TD.kernel(), "sim", ConfigError, "config.value"),
        (roots("tdx"), TD.kernel(), "snp", ConfigError, "config.value"),
        (roots("tdx", "nitro"), TD.kernel(), "nitro", UnsupportedError, "machine.attester"),
    ],
)
def test_what_is_not_accepted_or_not_offered_is_refused(
    accepted: RootsOfTrust, files: KernelFiles, named: str, wrong: type[CloisterError], code: str
) -> None:
    """By name: what the policy accepts, and what is here."""
    with pytest.raises(wrong) as e:
        choose_kind(accepted, machine(files), named=named)
    assert e.value.code == code


def test_accelerators_of_a_kind_that_is_not_collected_are_refused() -> None:
    """Before anything is asked for: the processor's evidence alone would be half."""
    section = EvidenceRoot(anchors=("manufacturer",), claims={})
    both = replace(section, devices={"another": section})
    for named in ("", "tdx"):
        with pytest.raises(UnsupportedError) as e:
            choose_kind(RootsOfTrust(genuine={"tdx": both}), machine(TD.kernel()), named=named)
        assert e.value.code == "machine.attester"
        assert "another" in e.value.public


def test_an_interface_that_cannot_be_opened_is_not_taken_for_none() -> None:
    """Else a missing permission would turn hardware into simulation."""
    files = TD.kernel()
    files.fail["provider"] = errno.EACCES
    with pytest.raises(UnavailableError) as e:
        choose_kind(roots("tdx", sim=True), machine(files), named="")
    assert e.value.code == "attester.failed"
    assert "--root-of-trust" in (e.value.hint or "")
    assert choose_kind(roots("tdx", sim=True), machine(files), named="sim") == "sim"


def test_a_provider_that_is_not_known_offers_nothing() -> None:
    """Such as Arm's."""
    files = FakeTsm(ROOT, "arm_cca_guest", lambda data: data)
    with pytest.raises(UnsupportedError):
        choose_kind(roots("tdx", "snp"), machine(files), named="")


def test_what_vouches_goes_along() -> None:
    """What was given for a TD, what the host has for an SNP guest; each part once."""
    asked: list[tuple[str, str]] = []

    def given(evidence: Evidence, kind: str) -> list[Endorsement]:
        asked.append((evidence.media_type, kind))
        return [*SNP.endorsements, *TD.endorsements]

    attester = hardware_attester("tdx", roots("tdx"), machine(TD.kernel()), vouching=given)
    found = attester.answer(BOUND, nonce=NONCE)
    assert found.endorsements == TD.endorsements
    assert asked == [(found.evidence.media_type, "tdx")]
    newer = Endorsement("application/pkix-crl", SNP.amd.revocations(validity=(NOW, NOW + 9)))
    attester = hardware_attester(
        "snp", roots("snp"), machine(SNP.kernel()), vouching=lambda *_: [newer, *TD.endorsements]
    )
    assert attester.answer(BOUND, nonce=NONCE).endorsements == (*SNP.endorsements[:2], newer)
    for kind, files, wanted in (
        ("snp", SNP.kernel(), SNP.endorsements),
        ("sgx", Gramine(ROOT), ()),
    ):
        plain = hardware_attester(kind, roots(kind), machine(files), vouching=knows_nothing)
        assert plain.answer(BOUND, nonce=NONCE).endorsements == wanted


def test_more_than_a_request_holds_is_told_before_it_is_sent() -> None:
    """With what fits."""
    large = [Endorsement(TD.endorsements[0].media_type, bytes(327_681))]
    with pytest.raises(ConfigError) as e:
        _fitting(large)
    assert e.value.code == "config.value"
    assert "327681" in e.value.public
    assert _fitting(TD.endorsements) == TD.endorsements


def with_gpu(nvml: FakeNvml, files: KernelFiles) -> tuple[RootsOfTrust, Machine]:
    """A policy about a TD or a guest with GPUs, and a machine that has one."""
    here = machine(files)
    section = EvidenceRoot(anchors=("manufacturer",), claims={})
    both = replace(section, devices={"nvidia": section})
    where = replace(here.places, nvml=nvml.library)
    return RootsOfTrust(genuine={"tdx": both, "snp": both}), replace(here, places=where)


@pytest.mark.spec("CE-5")
def test_gpus_and_processor_are_asked_for_each_other(nvml: FakeNvml) -> None:
    """The GPU for the nonce and the request, the processor for the GPU's evidence."""
    maker = SimulatedNvidia("launcher", at=NOW)
    gpu = maker.gpu("HOPPER")
    nvml.put("report0", gpu.report(accelerator_nonce(NONCE, BOUND)).to_bytes())
    nvml.put("certificates0", gpu.chain.body)
    others = maker.gpu("BLACKWELL")
    listed = [e for e in maker.endorsements(gpu) if e.media_type != "application/swid+xml"]
    of_gpu = {*maker.rims(gpu), *listed}

    def given(_: Evidence, kind: str) -> list[Endorsement]:
        return [*of_gpu] if kind == "nvidia" else [*TD.endorsements, *maker.rims(others)]

    accepted, here = with_gpu(nvml, TD.kernel())
    assert choose_kind(accepted, here, named="tdx") == "tdx"
    found = hardware_attester("tdx", accepted, here, vouching=given).answer(BOUND, nonce=NONCE)
    parts = CompositeEvidence.from_evidence(found.evidence)
    _, td = read_quote(parts.cpu.body)
    assert td.report_data == composite_report_data(BOUND, parts.gpu).value
    assert {*found.endorsements} == {*TD.endorsements, *of_gpu}
    # What has a media type of AMD's would be taken for the processor's.
    accepted, here = with_gpu(nvml, SNP.kernel())
    found = hardware_attester("snp", accepted, here, vouching=given).answer(BOUND, nonce=NONCE)
    types = [each.media_type for each in found.endorsements[3:]]
    assert found.endorsements[:3] == SNP.endorsements
    assert set(types) == {"application/swid+xml"}


def test_without_its_gpus_the_processor_gives_nothing(nvml: FakeNvml) -> None:
    """No driver, and a driver that makes no reports: an error, and never half of the evidence."""
    accepted, here = with_gpu(nvml, TD.kernel())
    without = replace(here, places=replace(here.places, nvml=Path("/nowhere")))
    nvml.put("feature0", 0)
    for each in (without, here):
        attester = hardware_attester("tdx", accepted, each, vouching=knows_nothing)
        with pytest.raises(UnsupportedError) as e:
            attester.answer(BOUND, nonce=NONCE)
        assert e.value.code == "machine.attester"
    assert not isinstance(attester, EndorsingAttester)
    assert not hasattr(attester, "collect")


def test_a_gpu_that_is_missing_does_not_choose_another_kind() -> None:
    """A machine whose GPU was taken away is not attested by less than before."""
    section = EvidenceRoot(anchors=("manufacturer",), claims={})
    both = replace(section, devices={"nvidia": section})
    one = RootsOfTrust(genuine={"tdx": both})
    assert choose_kind(one, machine(TD.kernel()), named="") == "tdx"
    with pytest.raises(ConfigError) as e:
        choose_kind(replace(one, sim=SIM), machine(TD.kernel()), named="")
    assert "offers sim, tdx" in e.value.public


@pytest.mark.spec("BIND-5")
def test_a_vm_of_azures_quotes_what_stands_for_the_request(swtpm: SoftwareTpm) -> None:
    """Found by its vTPM; the quote is over 32 bytes, and AMD's endorsements are those given."""
    vm = SimulatedAzureVm(b"launcher", now=NOW)
    Firmware(swtpm, vm.hcl)
    here = machine(NOTHING)
    here = replace(here, places=replace(here.places, tpm=swtpm.path))
    accepted = roots("azure-snp", "azure-tdx", "tdx", "snp")
    assert choose_kind(accepted, here, named="") == "azure-snp"
    attester = hardware_attester(
        "azure-snp", accepted, here, vouching=lambda *_: [*TD.endorsements, *vm.endorsements()]
    )
    found = attester.answer(BOUND, nonce=NONCE)
    assert [*found.endorsements] == vm.endorsements()
    verifier = AzureSnpVerifier([vm.amd.anchor])
    claims = verifier.verify(found.evidence, found.endorsements, at=NOW)
    assert claims.report_data == nonce_of(BOUND)
    wrong = hardware_attester("azure-tdx", accepted, here, vouching=knows_nothing)
    with pytest.raises(UnsupportedError):
        wrong.answer(BOUND, nonce=NONCE)


def test_a_tpm_that_is_not_azures_offers_nothing(swtpm: SoftwareTpm) -> None:
    """And one that cannot be opened is not taken for none."""
    here = machine(NOTHING)
    there = replace(here, places=replace(here.places, tpm=swtpm.path))
    with pytest.raises(UnsupportedError):
        choose_kind(roots("azure-snp"), there, named="")
    assert choose_kind(roots("azure-snp", sim=True), there, named="") == "sim"
    broken = replace(here, places=replace(here.places, tpm=Path("/dev/null")))
    with pytest.raises(UnavailableError) as e:  # a device that does not answer
        choose_kind(roots("azure-snp", sim=True), broken, named="")
    assert e.value.code == "attester.failed"


@pytest.mark.parametrize(
    ("rule", "level"), [(OneOf((2, 1)), 1), (OneOf((3,)), 3), (Unchecked("a reason"), 0)]
)
def test_a_report_is_asked_for_at_the_level_that_the_policy_wants(rule: Rule, level: int) -> None:
    """A guest beneath an SVSM is not at level 0."""
    asked: list[str] = []
    files = SNP.kernel()
    write = files.write

    def note(path: Path, data: bytes) -> None:
        if path.name == "privlevel":
            asked.append(data.decode())
        write(path, data)

    files.write = note  # type: ignore[method-assign]  # listens in
    accepted = roots("snp", claims={"vmpl": rule})
    attester = hardware_attester("snp", accepted, machine(files), vouching=knows_nothing)
    evidence = attester.answer(BOUND, nonce=NONCE).evidence
    assert Report.from_bytes(evidence.body).report_data == BOUND.value
    assert asked == [str(level)]


def test_the_simulated_platform_attests_where_that_was_chosen(tmp_path: Path) -> None:
    """With the image that was measured earlier, or else now."""
    platform = SimPlatform.create(tmp_path / "platform", svn=1, debug=False)
    found = sim_attester(platform, None).collect(BOUND)
    assert installed_image() in found.body
