"""Which root of trust a run attests by: never a weaker one silently."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.attestation.evidence import Endorsement, Evidence, ReportData, collect_all
from cloister.attestation.evidence_rules import OneOf, Rule, Unchecked
from cloister.errors import CloisterError, ConfigError, UnavailableError, UnsupportedError
from cloister.keyservice.policy.model import EvidenceRoot, RootsOfTrust, SimRoot
from cloister.launcher.attesting import Machine, choose_kind, hardware_attester, sim_attester
from cloister.tee.kernel import KernelFiles
from cloister.tee.sim.image import installed_image
from cloister.tee.sim.platform import SimPlatform
from cloister.tee.snp.layout import Report
from cloister.testing.genuine import ROOT, EnclaveMachine, SnpMachine, TdMachine
from cloister.testing.kernel import FakeTsm
from cloister.testing.manufacturers.amd import NOW, SimulatedAmd
from cloister.testing.manufacturers.intel import SimulatedIntel

SIM = SimRoot(anchors=(), measurement=(), minimum_svn=1, debug="refused")
TD = TdMachine(SimulatedIntel(b"seed", at=NOW))
SNP = SnpMachine(SimulatedAmd(b"seed", "Genoa"))
BOUND = ReportData(bytes(range(64)))


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
    return Machine(tsm_root=ROOT, gramine_root=ROOT, files=files)


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


def test_a_policy_about_accelerators_is_refused_before_anything_is_released() -> None:
    """Their evidence is judged, and not collected here: the processor's alone would be half."""
    section = EvidenceRoot(anchors=("manufacturer",), claims={})
    both = replace(section, devices={"nvidia": section})
    for named in ("", "tdx"):
        with pytest.raises(UnsupportedError) as e:
            choose_kind(RootsOfTrust(genuine={"tdx": both}), machine(TD.kernel()), named=named)
        assert e.value.code == "machine.attester"
        assert "nvidia" in e.value.public


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
    attester = hardware_attester(
        "tdx",
        roots("tdx"),
        machine(TD.kernel()),
        endorsements=lambda: [*SNP.endorsements, *TD.endorsements],
    )
    found = collect_all(attester, BOUND)
    assert found.endorsements == TD.endorsements
    assert attester.collect(BOUND) == found.evidence
    newer = Endorsement("application/pkix-crl", SNP.amd.revocations(validity=(NOW, NOW + 9)))
    attester = hardware_attester(
        "snp", roots("snp"), machine(SNP.kernel()), endorsements=lambda: [newer, *TD.endorsements]
    )
    assert collect_all(attester, BOUND).endorsements == (*SNP.endorsements[:2], newer)
    plain = hardware_attester("snp", roots("snp"), machine(SNP.kernel()), endorsements=tuple)
    assert collect_all(plain, BOUND).endorsements == SNP.endorsements
    enclave = hardware_attester("sgx", roots("sgx"), machine(Gramine(ROOT)), endorsements=tuple)
    assert collect_all(enclave, BOUND).endorsements == ()


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
    attester = hardware_attester("snp", accepted, machine(files), endorsements=tuple)
    evidence: Evidence = attester.collect(BOUND)
    assert Report.from_bytes(evidence.body).report_data == BOUND.value
    assert asked == [str(level)]


def test_the_simulated_platform_attests_where_that_was_chosen(tmp_path: Path) -> None:
    """With the image that was measured earlier, or else now."""
    platform = SimPlatform.create(tmp_path / "platform", svn=1, debug=False)
    found = sim_attester(platform, None).collect(BOUND)
    assert installed_image() in found.body
