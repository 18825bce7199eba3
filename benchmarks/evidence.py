"""How long one verdict takes: one JSON row for each kind of evidence.

    python benchmarks/evidence.py [--rounds 200] [--only tdx]

A verdict is everything from bytes to reasons: parsing, chains, lists, statements, signatures, the
strict default rules. `first` has seen nothing before, `again` has seen the manufacturer's
certificates and statements, as a service that judges many machines has. Beside it stands what
another implementation needs for the same bytes, where there is one; both take turns. Evidence is
minted by the simulated manufacturers, in the sizes of genuine evidence.

To add a kind, add a function to `KINDS` that yields its cases.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pairs import Spread

from cloister.attestation.evidence import Endorsement, Evidence, EvidenceVerifier
from cloister.attestation.evidence_rules import Field
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.crypto.digest import sha256
from cloister.tee.azure.fields import SNP_FIELDS_OF_AZURE
from cloister.tee.azure.layout import SNP_TYPE as AZURE_TYPE
from cloister.tee.azure.verifier import AzureSnpVerifier
from cloister.tee.intel import endorsements, pck, qe_identity, tcb_info
from cloister.tee.sgx.fields import FIELDS as SGX_FIELDS
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.snp import endorsements as snp_endorsements
from cloister.tee.snp.fields import FIELDS as SNP_FIELDS
from cloister.tee.snp.layout import MEDIA_TYPE as SNP_TYPE
from cloister.tee.snp.layout import PRODUCTS
from cloister.tee.snp.verifier import SnpVerifier
from cloister.tee.tdx.fields import FIELDS as TDX_FIELDS
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.tee.tpm.fields import FIELDS as TPM_FIELDS
from cloister.tee.tpm.layout import MEDIA_TYPE as TPM_TYPE
from cloister.tee.tpm.verifier import TpmVerifier
from cloister.testing.manufacturers.amd import Key, SimulatedAmd
from cloister.testing.manufacturers.azure import SimulatedAzureVm
from cloister.testing.manufacturers.intel import IntelCase, Kind, Minted, SimulatedIntel
from cloister.testing.manufacturers.tpm import SimulatedTpm

AT = 1767225600
AIM_MS = 2.0


@dataclass(frozen=True)
class Case:
    """One kind of evidence.

    Attributes:
        name: What the row is called.
        size: Bytes of the evidence.
        collateral: Bytes of its endorsements.
        verdict: Judges it, and fails unless it is accepted.
        forget: Empties what was read before.
        other: Another implementation's verdict, where there is one.
        other_name: What that is called.
    """

    name: str
    size: int
    collateral: int
    verdict: Callable[[], None]
    forget: Callable[[], None]
    other: Callable[[], object] | None = None
    other_name: str = ""


def intel() -> Iterator[Case]:
    """Quotes of enclaves and TDs."""
    manufacturer = SimulatedIntel(b"benchmark", at=AT)
    kinds: tuple[Kind, ...] = ("sgx3", "tdx4", "tdx15")
    for kind in kinds:
        minted = manufacturer.mint(IntelCase(kind))
        sgx = kind.startswith("sgx")
        verifier: EvidenceVerifier = (SgxVerifier if sgx else TdxVerifier)((manufacturer.anchor,))
        yield Case(
            name=kind,
            size=len(minted.quote),
            collateral=len(minted.collateral),
            verdict=_verdict(
                verifier, minted.evidence, minted.endorsements, SGX_FIELDS if sgx else TDX_FIELDS
            ),
            forget=_forget_intel,
            other=_dcap_qvl(minted, manufacturer.root_der),
            other_name="dcap-qvl",
        )


def amd() -> Iterator[Case]:
    """Reports of each product, and of a provider's key."""
    for product in PRODUCTS:
        manufacturer = SimulatedAmd(b"benchmark", product, now=AT)
        keys: tuple[Key, ...] = ("VCEK", "VLEK") if product == "Milan" else ("VCEK",)
        for key in keys:
            chip = manufacturer.chip(kind=key)
            yield _case(
                f"snp-{product.lower()}-{key.lower()}",
                SnpVerifier([manufacturer.anchor]),
                Evidence(SNP_TYPE, chip.report()),
                manufacturer.endorsements(chip),
                SNP_FIELDS,
            )


def tpm() -> Iterator[Case]:
    """Quotes of all PCRs with a log, by a certified and by a pinned key."""
    maker = SimulatedTpm(b"benchmark", now=AT)
    evidence = Evidence(TPM_TYPE, maker.evidence(bytes(32)))
    certified = TpmVerifier([maker.anchor])
    yield _case("tpm-certified", certified, evidence, maker.endorsements(), TPM_FIELDS)
    yield _case("tpm-pinned", TpmVerifier([sha256(maker.ak)]), evidence, [], TPM_FIELDS)


def azure() -> Iterator[Case]:
    """A VM on SNP."""
    vm = SimulatedAzureVm(b"benchmark", now=AT)
    yield _case(
        "azure-snp",
        AzureSnpVerifier([vm.amd.anchor]),
        Evidence(AZURE_TYPE, vm.evidence(bytes(32))),
        vm.endorsements(),
        SNP_FIELDS_OF_AZURE,
    )


def _case(
    name: str,
    verifier: EvidenceVerifier,
    evidence: Evidence,
    given: Sequence[Endorsement],
    fields: tuple[Field, ...],
) -> Case:
    return Case(
        name=name,
        size=len(evidence.body),
        collateral=sum(len(each.body) for each in given),
        verdict=_verdict(verifier, evidence, given, fields),
        forget=_forget_amd,
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
}


def measure(case: Case, rounds: int) -> dict[str, object]:
    """Return the row of one kind, times in milliseconds."""
    first, again, other = [], [], []
    for _ in range(rounds):
        case.forget()
        first.append(_milliseconds(case.verdict))
        again.append(_milliseconds(case.verdict))
        if case.other is not None:
            other.append(_milliseconds(case.other))
    row: dict[str, object] = {
        "kind": case.name,
        "evidence_bytes": case.size,
        "collateral_bytes": case.collateral,
        "first_ms": Spread.of(first).record(),
        "again_ms": Spread.of(again).record(),
        "aim_ms": AIM_MS,
        "met": Spread.of(again).low <= AIM_MS,
    }
    return row | ({f"{case.other_name}_ms": Spread.of(other).record()} if other else {})


def _milliseconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--only", default="", help="kinds whose name begins so")
    chosen = parser.parse_args()
    for cases in KINDS.values():
        for case in cases():
            if case.name.startswith(chosen.only):
                print(json.dumps(measure(case, chosen.rounds)), flush=True)


if __name__ == "__main__":
    main()
