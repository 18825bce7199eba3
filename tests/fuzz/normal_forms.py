"""What evidence says, without what provably says nothing: two that differ here are not the same.

The classes of changes without meaning, each of them counted by the test that uses this:

- `padding`: zero bytes behind an Intel quote, which guest interfaces leave there (INTEL-6), and the
  last line feed, or a string's terminator, of the PEM chain in it;
- `ciphertext`: in a quote that has no chain, a PPID that is encrypted for Intel, which nobody else
  can read, and a TD's PCE SVN beside it, which stands in nothing signed: both decide nothing;
- `twin`: an ECDSA signature (r, n - s) in the place of (r, s). No signer here promises the lower s,
  and about half of the genuine samples have the higher one: both are what the key's owner signed,
  of the same bytes. Nothing is granted or refused because its evidence's bytes were seen before:
  that is the nonce's business. A log's digest of evidence is of the bytes that came;
- `words`: in a firmware's event log, what no digest of a quoted bank covers: the words about an
  event, digests of other banks, events that are extended nowhere;
- `spelling`: in NVIDIA's list, white space, escapes, and the order of JSON members and of devices;
- `folder`: files of a folder that are read as the same evidence: the header that Azure's vTPM puts
  around its report, white space in `pcrs.json`, the form of PEM around a key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from cloister.attestation.evidence import Evidence
from cloister.crypto.chain import read_plain_chain
from cloister.tee.azure.layout import AzureEvidence
from cloister.tee.cca.layout import CcaToken
from cloister.tee.intel.layout import PCK_CHAIN, PLAIN_PPID, SGX_BODY, Quote
from cloister.tee.intel.pck import read_chain
from cloister.tee.nitro.layout import read_document
from cloister.tee.nvidia.evidence_list import devices_from_json, unpack_devices
from cloister.tee.nvidia.layout import GpuReport
from cloister.tee.snp.layout import Report
from cloister.tee.tpm.event_log import EventLog
from cloister.tee.tpm.layout import Quote as TpmQuote
from cloister.tee.tpm.layout import QuoteParts, Signature, TpmEvidence
from fuzz.mutants import ORDERS, twin

__all__ = ["class_of", "lower", "normal"]


def normal(evidence: Evidence) -> object:
    """Return what evidence says."""
    return _READERS[evidence.media_type](evidence.body)


def class_of(good: Evidence, changed: Evidence) -> str:
    """Name the class of a change between two that say the same."""
    if good == changed:
        return "folder"
    if good.media_type.endswith(("sgx", "tdx")):
        quotes = [Quote.from_bytes(each.body) for each in (good, changed)]
        kind = quotes[0].signature.certification_type
        if kind != PCK_CHAIN and len({each.signature.certification for each in quotes}) > 1:
            return "ciphertext"
        first, second = (_unended(each) for each in quotes)
        return "padding" if first == second else "twin"
    if "json" in good.media_type:
        lists = (devices_from_json(each.body) for each in (good, changed))
        first, second = (
            {(d.chain.rstrip(b"\n"), d.report.to_bytes()) for d in each} for each in lists
        )
        return "spelling" if first == second else "twin"
    if "tpm" in good.media_type or "azure" in good.media_type:
        logs = [_quote_parts(each).event_log for each in (good, changed)]
        return "words" if logs[0] != logs[1] else "twin"
    return "twin"


def lower(signature: bytes) -> bytes:
    """Return r and the lower of s and n - s."""
    return min(signature, twin(signature), key=lambda each: each[len(each) // 2 :])


def _certificate(der: bytes) -> tuple[bytes, bytes]:
    """Return what was signed, and the lower signature, of an ECDSA certificate."""
    found = x509.load_der_x509_certificate(der)
    r, s = decode_dss_signature(found.signature)
    hashed = found.signature_hash_algorithm
    order = ORDERS[32 if hashed is not None and hashed.name == "sha256" else 48]
    return found.tbs_certificate_bytes, encode_dss_signature(r, min(s, order - s))


def _unended(quote: Quote) -> object:
    chain = quote.signature.certification.rstrip(b"\0\n")
    return dataclasses.replace(
        quote, signature=dataclasses.replace(quote.signature, certification=chain)
    )


def _intel(body: bytes) -> object:
    quote = Quote.from_bytes(body)
    signature = quote.signature
    chain: object = signature.certification
    if signature.certification_type == PCK_CHAIN:
        chain = [_certificate(each.der) for each in read_chain(signature.certification)]
    else:
        ppid, svns = signature.certification[:-20], signature.certification[-20:]
        plain = ppid if signature.certification_type == PLAIN_PPID else b""
        chain = plain, svns if quote.body_type == SGX_BODY else svns[:-4] + svns[-2:]
    return (
        quote.signed,
        lower(signature.signature),
        signature.attestation_key,
        signature.qe_report,
        lower(signature.qe_report_signature),
        signature.qe_auth_data,
        signature.certification_type,
        chain,
    )


def _snp(body: bytes) -> object:
    report = Report.from_bytes(body)
    return dataclasses.replace(report, signature=lower(report.signature))


def _quote_parts(evidence: Evidence) -> QuoteParts:
    if "azure" in evidence.media_type:
        return AzureEvidence.from_bytes(evidence.body).quote
    return TpmEvidence.from_bytes(evidence.body).quote


def _quote(parts: QuoteParts) -> object:
    signature = Signature.from_bytes(parts.signature)
    if signature.scheme == "ECDSA":
        joined = signature.value.rjust(32, b"\0") + signature.second.rjust(32, b"\0")
        value = lower(joined)
    else:
        value = signature.value
    said: object = ()
    if parts.event_log:
        log = EventLog.from_bytes(parts.event_log)
        banks = {each.bank for each in TpmQuote.from_bytes(parts.message).selections}
        said = [
            (event.pcr, tuple(event.digests[bank] for bank in sorted(banks)))
            for event in log.events
            if event.kind != 3
        ]
    return parts.message, signature.scheme, value, parts.values, said


def _tpm(body: bytes) -> object:
    evidence = TpmEvidence.from_bytes(body)
    return evidence.ak, _quote(evidence.quote)


def _azure_snp(body: bytes) -> object:
    parts = AzureEvidence.from_bytes(body)
    return _snp(parts.report), parts.runtime_data, _quote(parts.quote)


def _azure_tdx(body: bytes) -> object:
    parts = AzureEvidence.from_bytes(body)
    return _intel(parts.report), parts.runtime_data, _quote(parts.quote)


def _nitro(body: bytes) -> object:
    message, _ = read_document(body)
    return message.payload, lower(message.signature)


def _cca(body: bytes) -> object:
    token = CcaToken.from_bytes(body)
    return [
        (each.payload, lower(each.signature) if len(each.signature) in (64, 96) else each.signature)
        for each in (token.platform, token.realm)
    ]


def _gpu_report(report: GpuReport) -> object:
    return report.signed, lower(report.signature)


def _gpu(body: bytes) -> object:
    return _gpu_report(GpuReport.from_bytes(body))


def _gpus(body: bytes) -> object:
    return sorted(
        (each.arch, [_certificate(one.der) for one in read_plain_chain(each.chain)],
         _gpu_report(each.report))
        for each in devices_from_json(body)
    )  # fmt: skip


def _packed(body: bytes) -> object:
    return [
        ([_certificate(der) for der in each.path], _gpu_report(each.report))
        for each in unpack_devices(body)
    ]


def _exact(body: bytes) -> object:
    return body


_READERS: Final[Mapping[str, Callable[[bytes], object]]] = {
    "application/vnd.cloister.sim+cbor": _exact,
    "application/vnd.cloister.sgx": _intel,
    "application/vnd.cloister.tdx": _intel,
    "application/vnd.cloister.snp": _snp,
    "application/vnd.cloister.tpm+cbor": _tpm,
    "application/vnd.cloister.azure-snp+cbor": _azure_snp,
    "application/vnd.cloister.azure-tdx+cbor": _azure_tdx,
    "application/vnd.cloister.nvidia": _gpu,
    "application/vnd.cloister.nvidia+json": _gpus,
    "application/vnd.cloister.nvidia+cbor": _packed,
    "application/vnd.cloister.nitro": _nitro,
    "application/vnd.cloister.cca": _cca,
}
