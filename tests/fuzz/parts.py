"""Changes of whole parts: twice, left out, in another order, from other evidence."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from cloister.attestation.evidence import Evidence
from cloister.crypto.chain import read_pem_chain, to_pem
from cloister.tee.azure.layout import AzureEvidence
from cloister.tee.cca.layout import CcaToken
from cloister.tee.cose import TAG, CoseSign1
from cloister.tee.intel.layout import PCK_CHAIN, Quote
from cloister.tee.nvidia.layout import GpuReport
from cloister.tee.snp.layout import Report
from cloister.tee.tpm.layout import Signature, TpmEvidence
from cloister.wire.foreign_cbor import Tagged, read_foreign, write_foreign
from fuzz.mutants import ORDERS, twin

__all__ = ["changed_parts", "twin_certificate"]

Changed = Iterator[tuple[str, bytes]]


def changed_parts(good: Evidence, others: Sequence[Evidence]) -> Iterator[tuple[str, Evidence]]:
    """Yield evidence with whole parts changed; `others` are genuine evidence of the same kind."""
    made = _MAKERS.get(good.media_type)
    if made is None:
        return
    for label, body in made(good.body, [each.body for each in others]):
        if body != good.body:
            yield label, Evidence(good.media_type, body)


def twin_certificate(der: bytes) -> bytes:
    """Return an ECDSA certificate with the other signature that verifiers take for the same."""
    found = x509.load_der_x509_certificate(der)
    hashed = found.signature_hash_algorithm
    order = ORDERS[32 if hashed is not None and hashed.name == "sha256" else 48]
    r, s = decode_dss_signature(found.signature)
    signature = encode_dss_signature(r, order - s)
    at = der.rindex(found.signature)
    head = der[4:at].removesuffix(bytes([3, len(found.signature) + 1, 0]))
    body = head + bytes([3, len(signature) + 1, 0]) + signature
    return b"\x30\x82" + len(body).to_bytes(2) + body


def _intel(body: bytes, others: Sequence[bytes]) -> Changed:
    quote = Quote.from_bytes(body)
    signature = quote.signature

    def put(**changes: Any) -> bytes:
        return dataclasses.replace(
            quote, signature=dataclasses.replace(signature, **changes)
        ).to_bytes()

    yield "twin", put(signature=twin(signature.signature))
    yield "twin", put(qe_report_signature=twin(signature.qe_report_signature))
    for number in (0, 1, 2, 3, 4, 6, 7):
        yield "certification type", put(certification_type=number)
    yield "auth data", put(qe_auth_data=signature.qe_auth_data + b"\0")
    yield "auth data", put(qe_auth_data=signature.qe_auth_data[:-1])
    yield "no chain", put(certification=b"")
    for version in (3, 4, 5):
        header = dataclasses.replace(quote.header, version=version)
        yield "version", dataclasses.replace(quote, header=header).to_bytes()
    ders = []
    if signature.certification_type == PCK_CHAIN:
        ders = [each.der for each in read_pem_chain(signature.certification.rstrip(b"\0"))]
    for label, path in _paths(ders) if ders else ():
        yield label, put(certification=to_pem(path))
    for number in range(len(ders) - 1):
        path = [*ders[:number], twin_certificate(ders[number]), *ders[number + 1 :]]
        yield "twin", put(certification=to_pem(path))
    yield from _other_quotes(quote, [Quote.from_bytes(each) for each in others])


def _other_quotes(quote: Quote, others: Sequence[Quote]) -> Changed:
    signature = quote.signature
    for other in others:
        for name in ("signature", "attestation_key", "qe_report", "qe_report_signature",
                     "qe_auth_data", "certification"):  # fmt: skip
            value = getattr(other.signature, name)
            if value != getattr(signature, name):
                yield f"another's {name}", _with(quote, name, value)
        if other.signed != quote.signed:
            yield "another's signature", dataclasses.replace(other, signature=signature).to_bytes()


def _with(quote: Quote, name: str, value: bytes) -> bytes:
    changed: Any = {name: value}
    signature = dataclasses.replace(quote.signature, **changed)
    return dataclasses.replace(quote, signature=signature).to_bytes()


def _paths(path: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    yield "backwards", list(reversed(path))
    yield "without root", list(path[:-1])
    yield "without leaf", list(path[1:])
    yield "root alone", list(path[-1:])
    yield "root twice", [*path, path[-1]]
    yield "leaf twice", [path[0], *path]
    yield "middle exchanged", [path[0], *reversed(path[1:])]


def _snp(body: bytes, others: Sequence[bytes]) -> Changed:
    report = Report.from_bytes(body)
    yield "twin", dataclasses.replace(report, signature=twin(report.signature)).to_bytes()
    for version in (2, 3, 4, 5):
        yield "version", body[:0] + version.to_bytes(4, "little") + body[4:]
    for other in others:
        if other[:0x2A0] != body[:0x2A0]:
            yield "another's signature", body[:0x2A0] + other[0x2A0:]
            yield "another's chip", body[:0x1A0] + other[0x1A0:0x1E0] + body[0x1E0:]


def _tpm_quotes(evidence: Any, others: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    quote = evidence.quote

    def put(**changes: Any) -> Any:
        return dataclasses.replace(evidence, quote=dataclasses.replace(quote, **changes))

    signature = Signature.from_bytes(quote.signature)
    if signature.scheme == "ECDSA":
        other = twin(signature.value.rjust(32, b"\0") + signature.second.rjust(32, b"\0"))
        made = dataclasses.replace(signature, second=other[32:].lstrip(b"\0"))
        yield "twin", put(signature=made.to_bytes())
        for name, zeros in (("value", 1), ("second", 1)):
            padded = b"\0" * zeros + getattr(signature, name)
            made = dataclasses.replace(signature, **{name: padded})
            yield "leading zero", put(signature=made.to_bytes())
    for scheme in ("RSASSA", "RSAPSS", "ECDSA"):
        made = dataclasses.replace(signature, scheme=scheme)
        if scheme != signature.scheme:
            yield "another scheme", put(signature=made.to_bytes())
    yield "values backwards", put(values=tuple(reversed(quote.values)))
    yield "a value less", put(values=quote.values[:-1])
    yield "a value more", put(values=(*quote.values, bytes(32)))
    yield "values as one", put(values=(b"".join(quote.values),))
    yield "log twice", put(event_log=quote.event_log * 2)
    for other_evidence in others:
        for name in ("message", "signature", "values", "event_log"):
            value = getattr(other_evidence.quote, name)
            if value and value != getattr(quote, name):
                yield f"another's {name}", put(**{name: value})


def _tpm(body: bytes, others: Sequence[bytes]) -> Changed:
    evidence = TpmEvidence.from_bytes(body)
    for label, changed in _tpm_quotes(evidence, [TpmEvidence.from_bytes(each) for each in others]):
        yield label, changed.to_bytes()


def _azure(body: bytes, others: Sequence[bytes]) -> Changed:
    evidence = AzureEvidence.from_bytes(body)
    foreign = [AzureEvidence.from_bytes(each) for each in others]
    for label, changed in _tpm_quotes(evidence, foreign):
        yield label, changed.to_bytes()
    yield (
        "spaces",
        dataclasses.replace(evidence, runtime_data=evidence.runtime_data + b" ").to_bytes(),
    )
    for other in foreign:
        for name in ("report", "runtime_data", "quote"):
            value = getattr(other, name)
            if value != getattr(evidence, name):
                yield f"another's {name}", dataclasses.replace(evidence, **{name: value}).to_bytes()


def _cose(message: CoseSign1) -> CoseSign1:
    return dataclasses.replace(message, signature=twin(message.signature))


def _cbor(data: bytes) -> Any:
    return read_foreign(data, what="a test", max_bytes=65536, code="evidence.malformed")


def _nitro(body: bytes, others: Sequence[bytes]) -> Changed:
    message = CoseSign1.from_bytes(body, tagged=False, max_bytes=16384)
    yield "twin", _cose(message).to_bytes(tagged=False)
    yield "tagged", message.to_bytes(tagged=True)
    value = _cbor(body)
    protected, _, payload, signature = value
    yield "unprotected", write_foreign([protected, {4: b"key"}, payload, signature])
    yield "no signature", write_foreign([protected, {}, payload])
    yield "another algorithm", write_foreign([b"\xa1\x01\x26", {}, payload, signature])
    yield "long header", write_foreign([b"\xa1\x18\x01\x38\x22", {}, payload, signature])
    yield "detached", write_foreign([protected, {}, None, signature])
    for other in others:
        foreign: Any = read_foreign(
            other, what="a test", max_bytes=16384, code="evidence.malformed"
        )
        if foreign[3] != signature:
            yield "another's signature", write_foreign([protected, {}, payload, foreign[3]])
            yield "another's payload", write_foreign([protected, {}, foreign[2], signature])


def _cca(body: bytes, others: Sequence[bytes]) -> Changed:
    token = CcaToken.from_bytes(body)
    yield "twin", dataclasses.replace(token, platform=_cose(token.platform)).to_bytes()
    yield "twin", dataclasses.replace(token, realm=_cose(token.realm)).to_bytes()
    yield "exchanged", CcaToken(token.realm, token.platform).to_bytes()
    yield "realm twice", CcaToken(token.realm, token.realm).to_bytes()
    value = _cbor(body)
    yield "untagged", write_foreign(value.value)
    yield "another tag", write_foreign(Tagged(TAG, value.value))
    for other in map(CcaToken.from_bytes, others):
        if other != token:
            yield "another's realm", CcaToken(token.platform, other.realm).to_bytes()
            yield "another's platform", CcaToken(other.platform, token.realm).to_bytes()


def _gpu(body: bytes, others: Sequence[bytes]) -> Changed:
    report = GpuReport.from_bytes(body)
    yield "twin", dataclasses.replace(report, signature=twin(report.signature)).to_bytes()
    yield (
        "blocks backwards",
        dataclasses.replace(report, blocks=tuple(reversed(report.blocks))).to_bytes(),
    )
    yield "a block less", dataclasses.replace(report, blocks=report.blocks[:-1]).to_bytes()
    for other in map(GpuReport.from_bytes, others):
        if other != report:
            for name in ("nonce", "blocks", "response_nonce", "opaque", "signature"):
                value = getattr(other, name)
                if value != getattr(report, name):
                    changed = dataclasses.replace(report, **{name: value})
                    yield f"another's {name}", changed.to_bytes()


def _gpus(body: bytes, others: Sequence[bytes]) -> Changed:
    entries = json.loads(body)

    def put(number: int, **changes: Any) -> bytes:
        return json.dumps(
            [entry | (changes if n == number else {}) for n, entry in enumerate(entries)]
        ).encode()

    yield "backwards", json.dumps(list(reversed(entries))).encode()
    yield "one twice", json.dumps([*entries, entries[0]]).encode()
    yield "nobody", b"[]"
    for number, entry in enumerate(entries):
        yield "another architecture", put(number, arch="AMPERE")
        yield "another nonce", put(number, nonce="00" * 32)
        yield "upper case nonce", put(number, nonce=entry["nonce"].upper())
        pem = base64.b64decode(entry["certificate"])
        ders = [each.der for each in read_pem_chain(pem)]
        texts = [
            b"words\n" + pem, pem + b"words\n", pem.replace(b"\n", b"\r\n"), pem + b"\n\n",
            *(to_pem(path) for _, path in _paths(ders)),
        ]  # fmt: skip
        for text in texts:
            yield "chain", put(number, certificate=base64.b64encode(text).decode())
        leaf = to_pem([twin_certificate(ders[0]), *ders[1:]])
        yield "twin", put(number, certificate=base64.b64encode(leaf).decode())
        report = GpuReport.from_bytes(base64.b64decode(entry["evidence"]))
        made = dataclasses.replace(report, signature=twin(report.signature)).to_bytes()
        yield "twin", put(number, evidence=base64.b64encode(made).decode())
    for first in range(len(entries) - 1):
        yield "chains exchanged", put(first, certificate=entries[first + 1]["certificate"])
        yield "reports exchanged", put(first, evidence=entries[first + 1]["evidence"])


_MAKERS: Final[Mapping[str, Callable[[bytes, Sequence[bytes]], Changed]]] = {
    "application/vnd.cloister.sgx": _intel,
    "application/vnd.cloister.tdx": _intel,
    "application/vnd.cloister.snp": _snp,
    "application/vnd.cloister.tpm+cbor": _tpm,
    "application/vnd.cloister.azure-snp+cbor": _azure,
    "application/vnd.cloister.azure-tdx+cbor": _azure,
    "application/vnd.cloister.nvidia": _gpu,
    "application/vnd.cloister.nvidia+json": _gpus,
    "application/vnd.cloister.nitro": _nitro,
    "application/vnd.cloister.cca": _cca,
}
