"""What evidence says, read by its layout and judged by nobody."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from cloister.attestation.evidence import Evidence
from cloister.errors import EvidenceError

__all__ = ["parts_of"]


def parts_of(evidence: Evidence) -> dict[str, object]:
    """Return the parts of evidence by their names; bytes as hex digits.

    Raises:
        EvidenceError: Nothing here reads that kind (`evidence.kind`).
        MalformedError: It has not the form of its kind.
    """
    read = _READERS.get(evidence.media_type)
    if read is None:
        raise EvidenceError("evidence of an unknown kind", code="evidence.kind")
    parts = _plain(read(evidence.body))
    return parts if isinstance(parts, dict) else {"parts": parts}


def _plain(value: Any) -> object:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: _plain(getattr(value, each.name))
            for each in dataclasses.fields(value)
            if not each.name.startswith("_")
        }
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, frozenset)):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _sgx(body: bytes) -> object:
    from cloister.tee.intel.layout import EnclaveReport, Quote

    quote = Quote.from_bytes(body)
    return {"quote": quote, "report": EnclaveReport.from_bytes(quote.body)}


def _tdx(body: bytes) -> object:
    from cloister.tee.tdx.layout import read_quote

    quote, report = read_quote(body)
    return {"quote": quote, "report": report}


def _logged(body: bytes) -> object:
    from cloister.tee.tdx.eventlog import read_log
    from cloister.tee.tdx.layout import LoggedQuote

    logged = LoggedQuote.from_bytes(body)
    events = read_log(logged.log_format, logged.log)
    return {**_as_map(_tdx(logged.quote)), "events": events}


def _snp(body: bytes) -> object:
    from cloister.tee.snp.layout import Report

    return Report.from_bytes(body)


def _tpm(body: bytes) -> object:
    from cloister.tee.tpm.layout import Quote, TpmEvidence

    evidence = TpmEvidence.from_bytes(body)
    return {"evidence": evidence, "quote": Quote.from_bytes(evidence.quote.message)}


def _azure(body: bytes) -> object:
    from cloister.tee.azure.layout import AzureEvidence, RuntimeData
    from cloister.tee.tpm.layout import Quote

    evidence = AzureEvidence.from_bytes(body)
    return {
        "evidence": evidence,
        "runtime": RuntimeData.from_bytes(evidence.runtime_data),
        "quote": Quote.from_bytes(evidence.quote.message),
    }


def _gpu(body: bytes) -> object:
    from cloister.tee.nvidia.layout import GpuReport

    return GpuReport.from_bytes(body)


def _gpus(body: bytes) -> object:
    from cloister.tee.nvidia.evidence_list import devices_from_json

    return {str(number): each for number, each in enumerate(devices_from_json(body))}


def _packed_gpus(body: bytes) -> object:
    from cloister.tee.nvidia.evidence_list import unpack_devices

    return {str(number): each for number, each in enumerate(unpack_devices(body))}


def _nitro(body: bytes) -> object:
    from cloister.tee.nitro.layout import read_document

    return read_document(body)[1]


def _cca(body: bytes) -> object:
    from cloister.tee.cca.layout import CcaToken, PlatformToken, RealmToken

    token = CcaToken.from_bytes(body)
    return {
        "platform": PlatformToken.from_bytes(token.platform.payload),
        "realm": RealmToken.from_bytes(token.realm.payload),
    }


def _sim(body: bytes) -> object:
    from cloister.tee.sim.layout import SignedReport, SimReport

    return SimReport.from_bytes(SignedReport.from_bytes(body).report)


def _as_map(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


_READERS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "application/vnd.cloister.sim+cbor": _sim,
    "application/vnd.cloister.sgx": _sgx,
    "application/vnd.cloister.tdx": _tdx,
    "application/vnd.cloister.tdx+cbor": _logged,
    "application/vnd.cloister.snp": _snp,
    "application/vnd.cloister.tpm+cbor": _tpm,
    "application/vnd.cloister.azure-snp+cbor": _azure,
    "application/vnd.cloister.azure-tdx+cbor": _azure,
    "application/vnd.cloister.nvidia": _gpu,
    "application/vnd.cloister.nvidia+json": _gpus,
    "application/vnd.cloister.nvidia+cbor": _packed_gpus,
    "application/vnd.cloister.nitro": _nitro,
    "application/vnd.cloister.cca": _cca,
}
