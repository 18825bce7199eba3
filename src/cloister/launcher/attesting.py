"""Which root of trust a run attests by: one that the policy accepts and that this machine offers.

Nothing is preferred silently. Where several would do, whoever runs says which; evidence of hardware
never gives way to simulation because an interface could not be opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloister.attestation.evidence import (
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
    from cloister.keyservice.policy.model import RootsOfTrust
    from cloister.launcher.errand import Errand
    from cloister.tee.kernel import KernelFiles
    from cloister.tee.sim.platform import SimPlatform

__all__ = ["COLLECTED_HERE", "Machine", "choose_kind", "hardware_attester", "sim_attester"]

COLLECTED_HERE: Final = ("sim", "sgx", "tdx", "snp")
_PROVIDERS: Final = {"tdx_guest": "tdx", "sev_guest": "snp"}
_MAX_TEXT: Final = 64


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a machine has its interfaces of attestation.

    Attributes:
        tsm_root: The kernel's configfs-tsm; None for where Linux has it.
        gramine_root: Gramine's `/dev/attestation`; None likewise.
        files: Who answers; None for the kernel.
    """

    tsm_root: Path | None = None
    gramine_root: Path | None = None
    files: KernelFiles | None = None

    def offers(self, accepted: Sequence[str]) -> tuple[str, ...]:
        """Return which of the accepted kinds could be attested by here; `sim` always could.

        Raises:
            UnavailableError: An interface is there and cannot be used now: what it offers is not
                known (`attester.busy`, `attester.failed`).
        """
        found = {"sim"}
        if {"tdx", "snp"} & set(accepted):
            found |= self._by_tsm()
        if "sgx" in accepted and self._has_gramine():
            found.add("sgx")
        return tuple(kind for kind in accepted if kind in found)

    def attester(self, kind: str, *, vmpl: int) -> Attester:
        """Return what collects evidence of a kind; nothing is touched yet."""
        from cloister.tee.tsm import TSM_ROOT, TsmInterface

        if kind == "sgx":
            from cloister.tee.gramine import GRAMINE_ROOT
            from cloister.tee.sgx.attester import SgxAttester

            return SgxAttester(root=self.gramine_root or GRAMINE_ROOT, files=self.files)
        interface = TsmInterface(root=self.tsm_root or TSM_ROOT, files=self.files)
        if kind == "tdx":
            from cloister.tee.tdx.attester import TdxAttester

            return TdxAttester(interface)
        from cloister.tee.snp.attester import SnpAttester

        return SnpAttester(interface, vmpl=vmpl)

    def _by_tsm(self) -> set[str]:
        from cloister.tee.tsm import TSM_ROOT, TsmInterface

        try:
            provider = TsmInterface(root=self.tsm_root or TSM_ROOT, files=self.files).provider()
        except UnsupportedError:
            return set()
        except UnavailableError as e:
            e.hint = e.hint or "name the kind with --root-of-trust; the interface is root's"
            raise
        return {_PROVIDERS[provider]} if provider in _PROVIDERS else set()

    def _has_gramine(self) -> bool:
        from cloister.tee.gramine import GRAMINE_ROOT
        from cloister.tee.kernel import LinuxFiles

        files: KernelFiles = LinuxFiles() if self.files is None else self.files
        path = (self.gramine_root or GRAMINE_ROOT) / "attestation_type"
        try:
            return files.read(path, max_bytes=_MAX_TEXT).rstrip(b"\n\0") == b"dcap"
        except OSError:
            return False


def choose_kind(roots: RootsOfTrust, machine: Machine, *, named: str) -> str:
    """Return the kind of evidence that a run makes.

    Args:
        roots: What the policy accepts.
        machine: Where it runs.
        named: What whoever runs it asks for; empty for the only one that there is.

    Raises:
        ConfigError: The policy does not accept what was named, or several kinds would do.
        UnsupportedError: Nothing that the policy accepts is offered or collected here
            (`machine.attester`).
        UnavailableError: What is offered cannot be told now.
    """
    accepted = roots.names
    kind = _choose(accepted, machine, named)
    section = roots.genuine.get(kind)
    if section is not None and section.devices:
        raise UnsupportedError(
            f"the policy asks for evidence of {_listed([*section.devices])} beside {kind}",
            code="machine.attester",
            hint="Cloister judges it, and does not collect it yet",
        )
    return kind


def _choose(accepted: tuple[str, ...], machine: Machine, named: str) -> str:
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
    offered = ("sim",) if accepted == ("sim",) else machine.offers(accepted)
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


def sim_attester(platform: SimPlatform, image: Errand | None) -> Attester:
    """Return the simulated platform's attester.

    It uses the image's measurement where that was begun earlier and did not fail.
    """
    from cloister.tee.sim.attester import SimAttester

    return SimAttester(platform, image=None if image is None else image.value())


def hardware_attester(
    kind: str,
    roots: RootsOfTrust,
    machine: Machine,
    *,
    endorsements: Callable[[], Sequence[Endorsement]],
) -> Attester:
    """Return what attests by hardware, with the endorsements that go along.

    Args:
        kind: From `choose_kind`; not `sim`.
        roots: What the policy accepts: SNP reports are asked for at the level that it wants.
        machine: Where it runs.
        endorsements: Gives, each time, what whoever runs it gives along, beside what the machine's
            host has; of both only what is about this evidence is sent, each part once.
    """
    section = roots.genuine.get(kind)
    rule = None if section is None else section.claims.get("vmpl")
    wanted = rule.values if isinstance(rule, OneOf) else ()
    levels = [each for each in wanted if isinstance(each, int)]
    return _Endorsed(machine.attester(kind, vmpl=min(levels, default=0)), endorsements)


class _Endorsed:
    """An attester whose evidence brings along what vouches for it."""

    def __init__(self, inner: Attester, given: Callable[[], Sequence[Endorsement]]) -> None:
        self._inner = inner
        self._given = given

    def collect(self, report_data: ReportData) -> Evidence:
        return self._inner.collect(report_data)

    def collect_all(self, report_data: ReportData) -> Collected:
        from cloister.tee.registry import by_media_type

        found = collect_all(self._inner, report_data)
        root = by_media_type(found.evidence.media_type)
        chosen = root.choose(found.evidence, found.endorsements, self._given())
        return Collected(found.evidence, tuple(chosen))


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(kinds) or "nothing"
