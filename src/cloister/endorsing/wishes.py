"""What to collect for a piece of evidence, and collecting it.

Evidence is read here, and not judged: whoever sends evidence decides what is asked about, and
nothing else. What is asked is bounded by what one piece of evidence can hold.

Spec: endorsement-sources-v1, clauses ES-2 and ES-3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from cloister.attestation.endorsement_bundle import Collected
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.crypto.chain import Certificate, read_pem_chain
from cloister.endorsing.amd import AmdWish
from cloister.endorsing.intel import IntelWish
from cloister.endorsing.nvidia import NvidiaWish, wanted_rims
from cloister.endorsing.questions import Answer, Question
from cloister.errors import ConfigError, EvidenceError
from cloister.tee.azure.layout import AzureEvidence
from cloister.tee.intel.layout import Quote
from cloister.tee.nvidia.evidence_list import (
    LIST_MEDIA_TYPE,
    PACKED_MEDIA_TYPE,
    devices_from_json,
    unpack_devices,
)
from cloister.tee.nvidia.layout import GpuReport
from cloister.tee.snp.layout import Report
from cloister.tee.tdx.layout import LOGGED_TYPE, LoggedQuote

__all__ = ["KINDS", "Wish", "collect", "devices_of", "quote_of", "report_of", "wish_of"]

KINDS: Final = ("sgx", "tdx", "snp", "azure-snp", "azure-tdx", "nvidia")
_CHAIN: Final = "application/pem-certificate-chain"


class Wish(Protocol):
    """Something to collect."""

    @property
    def about(self) -> str:
        """What, for people."""
        ...

    def collect(self, ask: Callable[[Question], Answer]) -> list[Collected]:
        """Ask whom it takes."""
        ...


def collect(wishes: Sequence[Wish], ask: Callable[[Question], Answer]) -> list[Collected]:
    """Collect everything, each wish once.

    Raises:
        CloisterError: As `ask` does; what was answered until then is in its cache.
    """
    return [item for wish in dict.fromkeys(wishes) for item in wish.collect(ask)]


def wish_of(
    evidence: Evidence, kind: str, *, product: str, endorsements: Sequence[Endorsement]
) -> Wish:
    """Return what a piece of evidence takes to be judged.

    Args:
        evidence: Untrusted.
        kind: A root of trust's name.
        product: AMD's product, for reports that do not say; empty otherwise.
        endorsements: What is there already: the chain of a bare GPU report.

    Raises:
        ConfigError: Nothing can be asked about this kind, or something has to be said besides.
        MalformedError: The evidence cannot be read.
        EvidenceError: It is of another kind (`evidence.kind`).
    """
    if kind in {"sgx", "tdx", "azure-tdx"}:
        wish = IntelWish.of(quote_of(evidence, kind))
        if (wish.tee == "sgx") != (kind == "sgx"):
            raise EvidenceError(f"not a quote of {kind}", code="evidence.kind")
        return wish
    if kind in {"snp", "azure-snp"}:
        return AmdWish.of(report_of(evidence, kind), product=product)
    if kind == "nvidia":
        devices = devices_of(evidence, endorsements)
        rims = [rim for path, report in devices for rim in wanted_rims(report, path[0])]
        paths = tuple(tuple(each.der for each in path) for path, _ in devices)
        return NvidiaWish(tuple(dict.fromkeys(rims)), paths)
    raise ConfigError(
        f"nothing is fetched for {kind}: what vouches comes along, or is given by hand",
        code="config.value",
        hint="fetch knows " + ", ".join(KINDS),
    )


def quote_of(evidence: Evidence, kind: str) -> Quote:
    """Read the quote in a piece of evidence of Intel's kinds.

    Raises:
        MalformedError: There is none.
    """
    body = evidence.body
    if kind == "azure-tdx":
        body = AzureEvidence.from_bytes(body).report
    elif evidence.media_type == LOGGED_TYPE:
        body = LoggedQuote.from_bytes(body).quote
    return Quote.from_bytes(body)


def report_of(evidence: Evidence, kind: str) -> Report:
    """Read the report in a piece of evidence of AMD's kinds.

    Raises:
        MalformedError: There is none.
    """
    azure = kind == "azure-snp"
    return Report.from_bytes(
        AzureEvidence.from_bytes(evidence.body).report if azure else evidence.body
    )


def devices_of(
    evidence: Evidence, endorsements: Sequence[Endorsement]
) -> list[tuple[list[Certificate], GpuReport]]:
    """Read the GPUs of a piece of evidence, with their certificates, the leaf first.

    Raises:
        ConfigError: A bare report came without its chain (`config.missing`).
        MalformedError: It cannot be read.
    """
    if evidence.media_type == PACKED_MEDIA_TYPE:
        return [
            ([Certificate.from_der(der) for der in each.path], each.report)
            for each in unpack_devices(evidence.body)
        ]
    if evidence.media_type == LIST_MEDIA_TYPE:
        return [
            (read_pem_chain(each.chain), each.report) for each in devices_from_json(evidence.body)
        ]
    chains = [each.body for each in endorsements if each.media_type == _CHAIN]
    if len(chains) != 1:
        raise ConfigError(
            "a bare GPU report needs its certificates",
            code="config.missing",
            hint="put them beside it in its folder, or name their file: --endorsements",
        )
    return [(read_pem_chain(chains[0]), GpuReport.from_bytes(evidence.body))]
