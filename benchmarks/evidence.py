"""How long one verdict takes: one JSON row for each kind of evidence.

    python benchmarks/evidence.py [--rounds 200] [--only tdx]

A verdict is everything from bytes to reasons: parsing, chains, lists, statements, signatures, the
strict default rules. `first` has seen nothing before, `again` has seen the manufacturer's
certificates and statements, as a service that judges many machines has. Beside it stands what
another implementation needs for the same bytes, where there is one; both take turns, and the ratio
is the median of the pairs'. Evidence is minted by the simulated manufacturers, in the sizes of
genuine evidence. Memory is told twice: the most that Python allocated for a first verdict, and by
how much the process grew, at its peak, over fifty more.

To add a kind, add a function to `KINDS` that yields its cases.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pairs import Spread

from cloister.attestation.evidence import Endorsement, Evidence, EvidenceVerifier, ReportData
from cloister.attestation.evidence_rules import Field
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto import ocsp
from cloister.crypto.digest import sha256
from cloister.tee.azure.fields import SNP_FIELDS_OF_AZURE
from cloister.tee.azure.layout import SNP_TYPE as AZURE_TYPE
from cloister.tee.azure.layout import TDX_TYPE as AZURE_TDX_TYPE
from cloister.tee.azure.tdx import TDX_FIELDS_OF_AZURE, azure_tdx_verifier
from cloister.tee.azure.verifier import AzureSnpVerifier
from cloister.tee.cca.fields import FIELDS as CCA_FIELDS
from cloister.tee.cca.verifier import CcaVerifier
from cloister.tee.intel import endorsements, pck, qe_identity, tcb_info
from cloister.tee.nitro.fields import FIELDS as NITRO_FIELDS
from cloister.tee.nitro.verifier import NitroVerifier
from cloister.tee.nvidia import paths as nvidia_paths
from cloister.tee.nvidia import rim as nvidia_rim
from cloister.tee.nvidia.fields import FIELDS as NVIDIA_FIELDS
from cloister.tee.nvidia.verifier import NvidiaVerifier
from cloister.tee.sgx.fields import FIELDS as SGX_FIELDS
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.fields import FIELDS as SIM_FIELDS
from cloister.tee.sim.platform import SimPlatform
from cloister.tee.sim.verifier import SimVerifier
from cloister.tee.snp import endorsements as snp_endorsements
from cloister.tee.snp.fields import FIELDS as SNP_FIELDS
from cloister.tee.snp.layout import MEDIA_TYPE as SNP_TYPE
from cloister.tee.snp.layout import Product
from cloister.tee.snp.verifier import SnpVerifier
from cloister.tee.tdx.fields import FIELDS as TDX_FIELDS
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.tee.tpm.fields import FIELDS as TPM_FIELDS
from cloister.tee.tpm.layout import MEDIA_TYPE as TPM_TYPE
from cloister.tee.tpm.verifier import TpmVerifier
from cloister.testing.manufacturers.amd import Key, SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureTd, SimulatedAzureVm
from cloister.testing.manufacturers.cca import SimulatedCca
from cloister.testing.manufacturers.intel import IntelCase, Kind, Minted, SimulatedIntel
from cloister.testing.manufacturers.nitro import SimulatedNitro
from cloister.testing.manufacturers.nvidia import SimulatedNvidia, packed_evidence
from cloister.testing.manufacturers.tpm import SimulatedTpm

AT = 1767225600
INTEL_AIM_MS = 2.0
AMD_AIM_MS = 1.5
MEMORY_ROUNDS = 50


@dataclass(frozen=True)
class Case:
    """One kind of evidence.

    Attributes:
        name: What the row is called.
        size: Bytes of the evidence.
        collateral: Bytes of its endorsements.
        verdict: Judges it, and fails unless it is accepted.
        forget: Empties what was read before.
        aim_ms: Most that one verdict may take, where the certificates were seen; None for no aim.
        other: Another implementation's verdict, where there is one.
        other_name: What that is called.
    """

    name: str
    size: int
    collateral: int
    verdict: Callable[[], None]
    forget: Callable[[], None]
    aim_ms: float | None = None
    other: Callable[[], object] | None = None
    other_name: str = ""


def intel() -> Iterator[Case]:
    """Quotes of enclaves and TDs."""
    manufacturer = SimulatedIntel(b"benchmark", at=AT)
    kinds: dict[str, Kind] = {"sgx-v3": "sgx3", "tdx-v4": "tdx4", "tdx-v5": "tdx15"}
    for name, kind in kinds.items():
        minted = manufacturer.mint(IntelCase(kind))
        sgx = kind.startswith("sgx")
        verifier: EvidenceVerifier = (SgxVerifier if sgx else TdxVerifier)((manufacturer.anchor,))
        yield Case(
            name=name,
            size=len(minted.quote),
            collateral=len(minted.collateral),
            verdict=_verdict(
                verifier, minted.evidence, minted.endorsements, SGX_FIELDS if sgx else TDX_FIELDS
            ),
            forget=_forget_intel,
            aim_ms=INTEL_AIM_MS,
            other=_dcap_qvl(minted, manufacturer.root_der),
            other_name="dcap-qvl",
        )


def amd() -> Iterator[Case]:
    """Reports of each product, of each version, and of a provider's key."""
    wanted: tuple[tuple[Product, int, Key], ...] = (
        ("Milan", 2, "VCEK"),
        ("Milan", 3, "VCEK"),
        ("Milan", 5, "VCEK"),
        ("Milan", 5, "VLEK"),
        ("Genoa", 5, "VCEK"),
        ("Turin", 5, "VCEK"),
    )
    for product, version, key in wanted:
        manufacturer = SimulatedAmd(b"benchmark", product, now=AT)
        chip = manufacturer.chip(kind=key)
        yield _case(
            f"snp-v{version}-{product.lower()}-{key.lower()}",
            SnpVerifier([manufacturer.anchor]),
            Evidence(SNP_TYPE, chip.report(version=version)),
            manufacturer.endorsements(chip),
            SNP_FIELDS,
            aim_ms=AMD_AIM_MS,
        )


def tpm() -> Iterator[Case]:
    """Quotes of all PCRs with a log, by a certified and by a pinned key."""
    maker = SimulatedTpm(b"benchmark", now=AT)
    evidence = Evidence(TPM_TYPE, maker.evidence(bytes(32)))
    certified = TpmVerifier([maker.anchor])
    yield _case("tpm-certified", certified, evidence, maker.endorsements(), TPM_FIELDS)
    yield _case("tpm-pinned", TpmVerifier([sha256(maker.ak)]), evidence, [], TPM_FIELDS)


def azure() -> Iterator[Case]:
    """VMs on SNP and on TDX."""
    vm = SimulatedAzureVm(b"benchmark", now=AT)
    yield _case(
        "azure-snp",
        AzureSnpVerifier([vm.amd.anchor]),
        Evidence(AZURE_TYPE, vm.evidence(bytes(32))),
        vm.endorsements(),
        SNP_FIELDS_OF_AZURE,
    )
    td = SimulatedAzureTd(b"benchmark", now=AT)
    body, given = td.evidence(bytes(32))
    yield _case(
        "azure-tdx",
        azure_tdx_verifier([td.intel.anchor]),
        Evidence(AZURE_TDX_TYPE, body),
        given,
        TDX_FIELDS_OF_AZURE,
    )


def devices() -> Iterator[Case]:
    """GPUs, an enclave of AWS's, a realm."""
    nvidia = SimulatedNvidia("benchmark", at=AT)
    one = nvidia.gpu("HOPPER")
    yield _case(
        "nvidia",
        NvidiaVerifier(nvidia.anchors),
        one.evidence(bytes(32)),
        nvidia.endorsements(one),
        NVIDIA_FIELDS,
    )
    eight = [nvidia.gpu("HOPPER", number=number) for number in range(8)]
    yield _case(
        "nvidia-8-gpus",
        NvidiaVerifier(nvidia.anchors),
        packed_evidence(eight, bytes(32)),
        nvidia.endorsements(*eight),
        NVIDIA_FIELDS,
    )
    nitro = SimulatedNitro("benchmark", at=AT)
    yield _case("nitro", NitroVerifier([nitro.anchor]), nitro.evidence(), [], NITRO_FIELDS)
    cca = SimulatedCca("benchmark")
    yield _case("cca", CcaVerifier([cca.anchor]), cca.evidence(), [cca.key], CCA_FIELDS)


def sim() -> Iterator[Case]:
    """A simulated platform."""
    with tempfile.TemporaryDirectory() as folder:
        platform = SimPlatform.create(Path(folder) / "platform", svn=1, debug=False)
        attester = SimAttester(platform, image=bytes(32))
        evidence = attester.collect(ReportData(bytes(64)))
        yield _case("sim", SimVerifier([platform.anchor]), evidence, [], SIM_FIELDS)


def _case(
    name: str,
    verifier: EvidenceVerifier,
    evidence: Evidence,
    given: Sequence[Endorsement],
    fields: tuple[Field, ...],
    *,
    aim_ms: float | None = None,
) -> Case:
    return Case(
        name=name,
        size=len(evidence.body),
        collateral=sum(len(each.body) for each in given),
        verdict=_verdict(verifier, evidence, given, fields),
        forget=_forget,
        aim_ms=aim_ms,
    )


def _verdict(
    verifier: EvidenceVerifier,
    evidence: Evidence,
    given: Sequence[Endorsement],
    fields: tuple[Field, ...],
) -> Callable[[], None]:
    rules = default_rules(fields)

    def verdict() -> None:
        claims = verifier.verify(evidence, given, at=AT)
        if not appraise_claims(claims, fields, rules).accepted:
            raise SystemExit("good evidence was not accepted")

    return verdict


def _forget() -> None:
    _forget_amd()
    _forget_intel()
    _forget_nvidia()


def _forget_amd() -> None:
    for cached in (
        snp_endorsements._read,  # noqa: SLF001  # its cache
        snp_endorsements._issuers,  # noqa: SLF001  # its cache
        snp_endorsements._certificate,  # noqa: SLF001  # its cache
        snp_endorsements._revocations,  # noqa: SLF001  # its cache
    ):
        cached.cache_clear()


def _forget_intel() -> None:
    for cached in (
        endorsements.read_collateral,
        endorsements._require_list,  # noqa: SLF001  # its cache
        endorsements._require_text,  # noqa: SLF001  # its cache
        pck.read_chain,
        pck.read_extension,
        pck._require_sound,  # noqa: SLF001  # its cache
        qe_identity.read_qe_identity,
        tcb_info.read_tcb_info,
    ):
        cached.cache_clear()


def _forget_nvidia() -> None:
    for cached in (
        nvidia_paths.read_certificate,
        nvidia_paths.read_chain,
        nvidia_paths.read_listed_chain,
        nvidia_paths._require_sound,  # noqa: SLF001  # its cache
        nvidia_paths._require_signed,  # noqa: SLF001  # its cache
        nvidia_rim._read,  # noqa: SLF001  # its cache
        nvidia_rim._require_signature,  # noqa: SLF001  # its cache
        ocsp._signer,  # noqa: SLF001  # its cache
    ):
        cached.cache_clear()


def _dcap_qvl(minted: Minted, root: bytes) -> Callable[[], object] | None:
    try:
        import dcap_qvl  # noqa: PLC0415  # an extra
    except ImportError:
        return None
    collateral = dcap_qvl.QuoteCollateralV3.from_json(minted.collateral.decode())
    return lambda: dcap_qvl.verify_with_root_ca(minted.quote, collateral, root, AT)


KINDS: dict[str, Callable[[], Iterator[Case]]] = {
    "intel": intel,
    "amd": amd,
    "tpm": tpm,
    "azure": azure,
    "devices": devices,
    "sim": sim,
}


def measure(case: Case, rounds: int, peaks: Peaks) -> dict[str, object]:
    """Return the row of one kind, times in milliseconds."""
    first, again, other = Times(), Times(), Times()
    more = min(rounds, MEMORY_ROUNDS)
    for _ in range(rounds):
        case.forget()
        first.take(case.verdict)
        again.take(case.verdict)
        if case.other is not None:
            other.take(case.other)
    row: dict[str, object] = {
        "benchmark": "evidence",
        "kind": case.name,
        "evidence_bytes": case.size,
        "collateral_bytes": case.collateral,
        "first_ms": Spread.of(first.wall).record(),
        "first_processor_ms": Spread.of(first.processor).record(),
        "again_ms": Spread.of(again.wall).record(),
        "again_processor_ms": Spread.of(again.processor).record(),
        "per_second": round(1e3 * rounds / sum(again.wall)),
        "per_processor_second": round(1e3 * rounds / sum(again.processor)),
        "python_peak_kib": _python_peak_kib(case),
        "growth_kib": peaks.growth_kib(case.verdict, more),
        "aim_ms": case.aim_ms,
        "met": None if case.aim_ms is None else Spread.of(again.wall).middle <= case.aim_ms,
    }
    if case.other is None:
        return row
    return row | {
        "other": case.other_name,
        "other_ms": Spread.of(other.wall).record(),
        "other_processor_ms": Spread.of(other.processor).record(),
        "other_growth_kib": peaks.growth_kib(case.other, more),
        "ratio": _ratio(other.wall, again.wall),
        "processor_ratio": _ratio(other.processor, again.processor),
        "first_processor_ratio": _ratio(other.processor, first.processor),
    }


class Times:
    """Times of one act, by the clock and by the processor, in milliseconds."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.processor: list[float] = []

    def take(self, act: Callable[[], object]) -> None:
        """Act once."""
        began, used = time.perf_counter(), time.process_time()
        act()
        self.processor.append((time.process_time() - used) * 1e3)
        self.wall.append((time.perf_counter() - began) * 1e3)


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float | int]:
    return Spread.of([a / b for a, b in zip(theirs, ours, strict=True)]).record()


def _python_peak_kib(case: Case) -> int:
    """Return what one verdict that has seen nothing allocates at most; of Python's memory only."""
    case.forget()
    gc.collect()
    tracemalloc.start()
    try:
        case.verdict()
        return tracemalloc.get_traced_memory()[1] // 1024
    finally:
        tracemalloc.stop()


class Peaks:
    """How far the process grows while it acts, and its peak of all."""

    def __init__(self) -> None:
        self.most_kib = 0

    def growth_kib(self, act: Callable[[], object], rounds: int) -> int | None:
        """Return how much more the process has at its peak; None where it cannot be told."""
        gc.collect()
        self.note()
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        except OSError:
            return None
        before = _status_kib("VmRSS")
        for _ in range(rounds):
            act()
        self.note()
        return max(0, _status_kib("VmHWM") - before)

    def note(self) -> None:
        """Keep the peak, before it begins anew."""
        self.most_kib = max(self.most_kib, _status_kib("VmHWM"))


def _status_kib(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise SystemExit(f"the kernel does not tell {name}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--only", default="", help="kinds whose name begins so")
    chosen = parser.parse_args()
    peaks = Peaks()
    for cases in KINDS.values():
        for case in cases():
            if case.name.startswith(chosen.only):
                print(json.dumps(measure(case, chosen.rounds, peaks)), flush=True)
    peaks.note()
    print(json.dumps({"benchmark": "evidence.process", "peak_kib": peaks.most_kib}), flush=True)


if __name__ == "__main__":
    main()
