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
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pairs import Spread

from cloister.attestation.evidence import EvidenceVerifier
from cloister.attestation.evidence_rules import Field
from cloister.attestation.verdict import appraise_claims, default_rules
from cloister.tee.intel import endorsements, pck, qe_identity, tcb_info
from cloister.tee.sgx.fields import FIELDS as SGX_FIELDS
from cloister.tee.sgx.verifier import SgxVerifier
from cloister.tee.tdx.fields import FIELDS as TDX_FIELDS
from cloister.tee.tdx.verifier import TdxVerifier
from cloister.testing.manufacturers.intel import IntelCase, Kind, Minted, SimulatedIntel

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
            verdict=_verdict(verifier, minted, SGX_FIELDS if sgx else TDX_FIELDS),
            forget=_forget_intel,
            other=_dcap_qvl(minted, manufacturer.root_der),
            other_name="dcap-qvl",
        )


def _verdict(
    verifier: EvidenceVerifier, minted: Minted, fields: tuple[Field, ...]
) -> Callable[[], None]:
    rules, given = default_rules(fields), minted.endorsements

    def verdict() -> None:
        claims = verifier.verify(minted.evidence, given, at=AT)
        if not appraise_claims(claims, fields, rules).accepted:
            raise SystemExit("good evidence was not accepted")

    return verdict


def _forget_intel() -> None:
    for cached in (
        endorsements.read_collateral,
        endorsements._require_list,  # noqa: SLF001
        endorsements._require_text,  # noqa: SLF001
        pck.read_chain,
        pck.read_extension,
        pck._require_sound,  # noqa: SLF001
        qe_identity.read_qe_identity,
        tcb_info.read_tcb_info,
    ):
        cached.cache_clear()


def _dcap_qvl(minted: Minted, root: bytes) -> Callable[[], object] | None:
    try:
        import dcap_qvl  # noqa: PLC0415
    except ImportError:
        return None
    collateral = dcap_qvl.QuoteCollateralV3.from_json(minted.collateral.decode())
    return lambda: dcap_qvl.verify_with_root_ca(minted.quote, collateral, root, AT)


KINDS: dict[str, Callable[[], Iterator[Case]]] = {"intel": intel}


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
