"""Which root of trust a run attests by: one that the policy accepts and that this machine offers.

Nothing is preferred silently. Where several would do, whoever runs says which; evidence of hardware
never gives way to simulation because an interface could not be opened, nor evidence of a processor
and its GPUs to the processor's alone. What a machine offers is told in `tee/offers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cloister.attestation.evidence import (
    AnsweringAttester,
    Attester,
    Collected,
    Endorsement,
    Evidence,
    ReportData,
    collect_all,
)
from cloister.attestation.evidence_rules import OneOf
from cloister.errors import ConfigError, UnavailableError, UnsupportedError

if TYPE_CHECKING:
    from cloister.keyservice.policy.model import EvidenceRoot, RootsOfTrust
    from cloister.launcher.errand import Errand
    from cloister.tee.azure.layout import Platform
    from cloister.tee.offers import Machine, Offer
    from cloister.tee.places import Places
    from cloister.tee.sim.platform import SimPlatform

__all__ = [
    "COLLECTED_HERE",
    "Vouching",
    "choose_kind",
    "hardware_attester",
    "knows_nothing",
    "sim_attester",
]

COLLECTED_HERE: Final = ("sim", "sgx", "tdx", "snp", "azure-snp", "azure-tdx")
_GPU: Final = "nvidia"

# Gives what whoever runs knows about a piece of evidence, which is of this kind.
Vouching = Callable[[Evidence, str], Sequence[Endorsement]]


def knows_nothing(_evidence: Evidence, _kind: str) -> Sequence[Endorsement]:
    """Return nothing: whoever runs gives nothing along."""
    return ()


def choose_kind(roots: RootsOfTrust, machine: Machine | None, *, named: str) -> str:
    """Return the kind of evidence that a run makes.

    Args:
        roots: What the policy accepts.
        machine: Where it runs; None for this machine.
        named: What whoever runs it asks for; empty for the only one that there is.

    Raises:
        ConfigError: The policy does not accept what was named, or several kinds would do.
        UnsupportedError: Nothing that the policy accepts is offered or collected here
            (`machine.attester`).
        UnavailableError: An interface is there and cannot be used now: what it offers is not known
            (`attester.busy`, `attester.failed`).
    """
    accepted = roots.names
    kind = _choose(accepted, machine, named)
    section = roots.genuine.get(kind)
    others = set() if section is None else {*section.devices} - {_GPU}
    if others:
        raise UnsupportedError(
            f"the policy asks for evidence of {_listed(sorted(others))} beside {kind}",
            code="machine.attester",
            hint="Cloister does not collect it",
        )
    return kind


def _choose(accepted: tuple[str, ...], machine: Machine | None, named: str) -> str:
    if named:
        if named not in accepted:
            raise ConfigError(
                f"the policy does not accept {named} evidence",
                code="config.value",
                hint=f"it accepts {_listed(accepted)}",
            )
        if named not in COLLECTED_HERE:
            raise UnsupportedError(
                f"evidence of {named} is judged by Cloister, and not collected by it",
                code="machine.attester",
                hint=f"collected are {_listed(COLLECTED_HERE)}",
            )
        return named
    offered = ("sim",) if accepted == ("sim",) else _offered(accepted, _or_here(machine))
    if len(offered) == 1:
        return offered[0]
    if offered:
        raise ConfigError(
            f"the policy accepts {_listed(accepted)}, and this machine offers {_listed(offered)}",
            code="config.value",
            hint=f"say which with --root-of-trust {offered[-1]}",
        )
    raise UnsupportedError(
        f"the policy accepts {_listed(accepted)}, and this machine offers none of it",
        code="machine.attester",
        hint="cloister doctor shows what this machine offers",
    )


def _offered(accepted: Sequence[str], machine: Machine) -> tuple[str, ...]:
    """Return which of the accepted kinds could be attested by here; `sim` always could."""
    from cloister.tee.offers import offer_of

    asked = [offer_of(machine, kind) for kind in accepted if kind in COLLECTED_HERE]
    for offer in asked:
        if offer.trouble is not None:
            raise _not_known(offer) from offer.trouble
    return tuple(offer.kind for offer in asked if offer.offered)


def _not_known(offer: Offer) -> UnavailableError:
    trouble = offer.trouble
    code = trouble.code if isinstance(trouble, UnavailableError) else "attester.failed"
    return UnavailableError(
        f"{offer.interface}: {offer.missing}",
        code=code,
        detail=None if trouble is None else trouble.detail,
        hint=f"{offer.remedy or 'look at it'}, or name another kind with --root-of-trust",
    )


def _or_here(machine: Machine | None) -> Machine:
    if machine is not None:
        return machine
    from cloister.tee.offers import Machine as Here

    return Here()


def sim_attester(platform: SimPlatform, image: Errand | None) -> Attester:
    """Return the simulated platform's attester.

    It uses the image's measurement where that was begun earlier and did not fail.
    """
    from cloister.tee.sim.attester import SimAttester

    return SimAttester(platform, image=None if image is None else image.value())


def hardware_attester(
    kind: str, roots: RootsOfTrust, machine: Machine | None, *, vouching: Vouching
) -> AnsweringAttester:
    """Return what attests by hardware, with the endorsements that go along.

    Where the policy asks for evidence of the GPUs beside the processor, both are collected, made
    for each other, or neither is.

    Args:
        kind: From `choose_kind`; not `sim`.
        roots: What the policy accepts: SNP reports are asked for at the level that it wants.
        machine: Where it runs; None for this machine.
        vouching: Gives, each time, what whoever runs it gives along, beside what the machine's
            host has; of both only what is about this evidence is sent, each part once.
    """
    section = roots.genuine.get(kind)
    here = _or_here(machine)
    processor = _attester(kind, here, vmpl=_level(section))
    if section is None or not section.devices:
        return _Processor(processor, kind, vouching)
    from cloister.tee.nvidia.attester import NvidiaAttester

    gpus = NvidiaAttester(here.places.nvml).collect
    return _WithGpus(processor, kind, gpus, vouching)


def _level(section: EvidenceRoot | None) -> int:
    """Return the least privilege level that the policy wants, such as beneath an SVSM."""
    rule = None if section is None else section.claims.get("vmpl")
    wanted = rule.values if isinstance(rule, OneOf) else ()
    return min((each for each in wanted if isinstance(each, int)), default=0)


def _attester(kind: str, machine: Machine, *, vmpl: int) -> Attester:
    """Return what collects evidence of a processor; nothing is touched yet."""
    from cloister.tee.tsm import TsmInterface

    places = machine.places
    if kind == "sgx":
        from cloister.tee.sgx.attester import SgxAttester

        return SgxAttester(root=places.gramine, files=machine.files)
    if kind == "azure-snp":
        return _AzureVm("snp", places)
    if kind == "azure-tdx":
        return _AzureVm("tdx", places)
    interface = TsmInterface(root=places.tsm, files=machine.files)
    if kind == "tdx":
        from cloister.tee.tdx.attester import TdxAttester

        return TdxAttester(interface)
    from cloister.tee.snp.attester import SnpAttester

    return SnpAttester(interface, vmpl=vmpl)


@dataclass(frozen=True, slots=True)
class _AzureVm:
    """A VM of Azure's, whose vTPM is open for as long as it is asked."""

    platform: Platform
    places: Places

    def collect(self, report_data: ReportData) -> Evidence:
        """Have the vTPM quote what stands for these 64 bytes (BIND-5)."""
        from cloister.attestation.binding import nonce_of
        from cloister.tee.azure.attester import AzureAttester
        from cloister.tee.azure.metadata import MetadataService
        from cloister.tee.tpm.commands import Tpm
        from cloister.tee.tpm.transport import TpmPath

        metadata = MetadataService(self.places.metadata)
        with TpmPath(self.places.tpm) as transport:
            attester = AzureAttester(Tpm(transport), self.platform, metadata=metadata)
            return attester.collect_over(nonce_of(report_data))


@dataclass(frozen=True, slots=True)
class _Processor:
    """A processor whose evidence brings along what vouches for it."""

    inner: Attester
    kind: str
    vouching: Vouching

    def answer(self, report_data: ReportData, *, nonce: bytes) -> Collected:  # noqa: ARG002  # 64 bytes hold it
        """Ask the processor."""
        found = _endorsed(collect_all(self.inner, report_data), self.kind, self.vouching)
        return Collected(found.evidence, _fitting(found.endorsements))


@dataclass(frozen=True, slots=True)
class _WithGpus:
    """A processor and the GPUs beside it: evidence of both, or an error (composite-evidence-v1)."""

    inner: Attester
    kind: str
    gpus: Callable[[bytes], Evidence]
    vouching: Vouching

    def answer(self, report_data: ReportData, *, nonce: bytes) -> Collected:
        """Ask the GPUs, and then the processor, which names their evidence."""
        from cloister.tee.composite import attest_composite
        from cloister.tee.registry import by_media_type

        asked: list[Collected] = []

        def processor(bound: ReportData) -> Evidence:
            asked.append(collect_all(self.inner, bound))
            return asked[-1].evidence

        both = attest_composite(processor, self.gpus, nonce=nonce, request=report_data)
        [found] = asked
        of_cpu = _endorsed(found, self.kind, self.vouching).endorsements
        # KR-104. By its media type each is the processor's or the GPUs': what is about GPUs and has
        # a type of the processor's would be taken for the processor's, and refused.
        taken = by_media_type(found.evidence.media_type).endorsed_by
        of_gpus = [each for each in self.vouching(both.gpu, _GPU) if each.media_type not in taken]
        return Collected(both.to_envelope(), _fitting([*of_cpu, *of_gpus]))


def _endorsed(found: Collected, kind: str, vouching: Vouching) -> Collected:
    """Put what is known about a processor's evidence to it: of each part the newest."""
    from cloister.tee.registry import by_media_type

    root = by_media_type(found.evidence.media_type)
    given = vouching(found.evidence, kind)
    return Collected(found.evidence, tuple(root.choose(found.evidence, found.endorsements, given)))


def _fitting(endorsements: Sequence[Endorsement]) -> tuple[Endorsement, ...]:
    from cloister.keyservice.messages import MAX_ENDORSEMENT_BYTES, MAX_ENDORSEMENTS

    size = sum(len(each.body) for each in endorsements)
    if len(endorsements) > MAX_ENDORSEMENTS or size > MAX_ENDORSEMENT_BYTES:
        raise ConfigError(
            f"{len(endorsements)} endorsements of {size} bytes do not fit into a request",
            code="config.value",
            hint=f"at most {MAX_ENDORSEMENTS}, of {MAX_ENDORSEMENT_BYTES} bytes; name fewer",
        )
    return tuple(endorsements)


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(kinds) or "nothing"
