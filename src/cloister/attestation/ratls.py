"""Evidence in X.509 certificates (RA-TLS): what is in one, and whether it is about its key. Pure.

Three forms are read. *Interoperable* RA-TLS and TCG DICE put a wrapper under one identifier, the
CMW extension of RFC 9999 has another, and Gramine before that put the bare quote under a third.
Each binds the certificate's key to the evidence by its own rule, and there is no way to have the
evidence without the rule: a `CertificateEvidence` carries it, and `require_bound` applies it.

Such a certificate is no identity of Cloister's (ADR 0003): whoever holds the same genuine machine
has another one, and nothing says which was meant.

Example::

    found = read_certificate_evidence(carrier, media_types=root.media_types, at=now)
    claims = verifier.verify(found.evidence, endorsements, at=now)
    found.require_bound(claims)                        # raises, or the key is the evidence's

Spec: evidence-interop-v1, clauses INT-20 to INT-39.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from cloister.attestation.claims import Claims
from cloister.attestation.cmw import (
    EVIDENCE,
    CmwRecord,
    evidence_in,
    read_cmw,
    write_cbor_cmw,
)
from cloister.attestation.evidence import MAX_EVIDENCE_BYTES, Evidence, ReportData
from cloister.attestation.media_types import their_media_type
from cloister.attestation.result import NotChecked
from cloister.crypto.carrier import CarrierCertificate
from cloister.crypto.chain import (
    ECDSA_SHA256,
    ECDSA_SHA384,
    RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384,
)
from cloister.crypto.digest import same_bytes, sha256, sha384, sha512
from cloister.errors import EvidenceError, MalformedError
from cloister.wire.foreign_cbor import Tagged, read_foreign, write_foreign

__all__ = [
    "CMW_EXTENSION",
    "DICE_EXTENSION",
    "GRAMINE_EXTENSION",
    "INTEL_QUOTE_TAG",
    "MAX_NONCE_BYTES",
    "CertificateEvidence",
    "CertificateForm",
    "claims_buffer",
    "cmw_extension",
    "read_certificate_evidence",
    "report_data_of_buffer",
    "report_data_of_key",
    "tagged_evidence",
]

CertificateForm = Literal["interoperable", "cmw", "gramine"]

DICE_EXTENSION: Final = "2.23.133.5.4.9"  # TCG DICE: tagged evidence, later the CMW
CMW_EXTENSION: Final = "1.3.6.1.5.5.7.1.35"  # RFC 9999: id-pe-cmw
# Gramine meant 1.2.840.113741.1337.6, and wrote its tag and length into it.
GRAMINE_EXTENSION: Final = "0.6.9.42.840.113741.1337.6"
_GRAMINE_MEANT: Final = "1.2.840.113741.1337.6"
INTEL_QUOTE_TAG: Final = 60000
_INTEL_REPORT_TAGS: Final = (60001, 60002)  # local reports: nobody but the chip can check them
MAX_NONCE_BYTES: Final = 64

_MAX_BUFFER: Final = 1024
_MAX_CLAIMS: Final = 16
_MAX_EXTENSION: Final = MAX_EVIDENCE_BYTES + 4096
_SGX, _TDX = "application/vnd.cloister.sgx", "application/vnd.cloister.tdx"
_TEE_TYPE: Final = slice(4, 8)
_TEES: Final[Mapping[bytes, str]] = {bytes(4): _SGX, b"\x81\0\0\0": _TDX}
_REPORT_DATA: Final = 64
_SIGNATURES: Final = frozenset(
    {
        ECDSA_SHA256,
        ECDSA_SHA384,
        "1.2.840.10045.4.3.4",  # ECDSA with SHA-512
        "1.3.101.112",  # Ed25519
        RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA384,
    }
)
# Critical extensions that change nothing here: what the key may be used for, and for which names.
_UNDERSTOOD: Final = frozenset(
    {
        "2.5.29.15",
        "2.5.29.17",
        "2.5.29.19",
        "2.5.29.37",
        DICE_EXTENSION,
        CMW_EXTENSION,
        GRAMINE_EXTENSION,
        _GRAMINE_MEANT,
    }
)
_OCTET_STRING, _UTF8_STRING = 0x04, 0x0C
_SHA256, _SHA384, _SHA512 = 1, 7, 8  # IANA: named information hash algorithms


@dataclass(frozen=True, slots=True)
class CertificateEvidence:
    """Evidence that came in a certificate, and the rule that binds it to the certificate's key.

    Attributes:
        form: How it was carried.
        evidence: Untrusted.
        report_data: What genuine evidence about this key reports: one of these.
        nonce: What the certificate says that it answers, in forms that can; it is bound like the
            key.
        not_checked: What nobody looked at.
    """

    form: CertificateForm
    evidence: Evidence
    report_data: tuple[bytes, ...]
    nonce: bytes | None
    not_checked: tuple[NotChecked, ...]

    def require_bound(self, claims: Claims) -> None:
        """Check that evidence which was verified is about the certificate's key.

        Raises:
            EvidenceError: It is about something else (`evidence.binding`).
        """
        if not any(same_bytes(claims.report_data, each) for each in self.report_data):
            raise EvidenceError(
                "the evidence in the certificate is not bound to the certificate's key",
                code="evidence.binding",
                detail=f"{self.form}: report data {claims.report_data.hex()}",
            )

    def require_nonce(self, nonce: bytes) -> None:
        """Check which nonce the certificate answers.

        Raises:
            EvidenceError: Another, or none (`evidence.binding`).
        """
        if self.nonce is None or not same_bytes(self.nonce, nonce):
            answer = "no nonce" if self.nonce is None else "another nonce"
            raise EvidenceError(f"the certificate answers {answer}", code="evidence.binding")


def read_certificate_evidence(
    carrier: CarrierCertificate, *, media_types: Collection[str], at: int
) -> CertificateEvidence:
    """Return the evidence in a certificate, with the rule that binds the key.

    The numbered procedure: (1) the certificate is valid at that instant, has no critical extension
    that is unknown here, and, where it names itself as its issuer, is signed by its own key; (2)
    one form of evidence, the newest that is there; (3) what that form wraps, with the binding to
    the key; (4) evidence of the kind that was asked for.

    Args:
        carrier: Untrusted.
        media_types: Of the root of trust that is asked for.
        at: The instant to judge at, in seconds since the epoch.

    Raises:
        MalformedError: It carries no evidence (`certificate.malformed`), or not in the form that
            it says (`evidence.malformed`, `cmw.malformed`).
        EvidenceError: Evidence of another kind (`evidence.kind`), or of another key
            (`evidence.binding`).
        EndorsementError: It is not valid then (`endorsement.expired`), or not signed by its own
            key (`endorsement.signature`).
    """
    # 1  The certificate.
    certificate = carrier.certificate
    certificate.require_valid(at=at)
    if not certificate.critical <= _UNDERSTOOD:
        raise MalformedError(
            "the certificate has a critical extension that is not understood",
            code="certificate.malformed",
        )
    notes: list[NotChecked] = []
    if certificate.issuer == certificate.subject:
        carrier.require_self_signed(_SIGNATURES)
    else:
        notes.append(NotChecked("certificate.issuer", "the evidence vouches for the key, no CA"))
    # 2  One form.
    form, value = _carried(certificate.extensions)
    # 3  What is in it.
    spki, nonce = certificate.public_key, None
    if form == "interoperable":
        evidence, buffer = _read_tagged(value)
        nonce = _read_buffer(buffer, spki)
        bound: tuple[bytes, ...] = (report_data_of_buffer(buffer).value,)
    elif form == "gramine":
        evidence = _intel_quote(value)
        bound = (_padded(sha256(spki)),)
    else:
        evidence = evidence_in(read_cmw(_choice(value))[1], media_types)
        bound = (report_data_of_key(spki).value, _padded(sha256(spki)), sha256(spki))
    if nonce is None:
        notes.append(NotChecked("certificate.nonce", "the certificate answers no nonce: no age"))
    # 4  Of the kind that was asked for.
    if evidence.media_type not in media_types:
        raise EvidenceError(
            "the certificate carries evidence of another kind", code="evidence.kind"
        )
    return CertificateEvidence(form, evidence, bound, nonce, tuple(notes))


def claims_buffer(spki: bytes, nonce: bytes | None) -> bytes:
    """Return the claims that interoperable RA-TLS binds: the key, and what is answered.

    Args:
        spki: DER SubjectPublicKeyInfo of the certificate's key.
        nonce: Of 1 to 64 bytes, untrusted; None for a certificate that answers nothing.

    Raises:
        MalformedError: The nonce is too long or empty (`evidence.malformed`).
    """
    claims: dict[int | str, bytes] = {"pubkey-hash": write_foreign([_SHA256, sha256(spki)])}
    if nonce is not None:
        if not 0 < len(nonce) <= MAX_NONCE_BYTES:
            raise _malformed(f"a nonce has 1 to {MAX_NONCE_BYTES} bytes")
        claims["nonce"] = nonce
    return write_foreign(claims)


def report_data_of_buffer(buffer: bytes) -> ReportData:
    """Return what evidence reports about a claims buffer: its SHA-256, and zeros."""
    return ReportData(_padded(sha256(buffer)))


def report_data_of_key(spki: bytes) -> ReportData:
    """Return what Cloister's evidence reports in a CMW certificate: SHA-512 of the key."""
    return ReportData(sha512(spki))


def tagged_evidence(quote: Evidence, buffer: bytes) -> bytes:
    """Return the value of the extension that carries Intel's quotes in the interoperable form.

    Raises:
        EvidenceError: The form has no place for such evidence (`evidence.kind`).
    """
    if quote.media_type not in {_SGX, _TDX}:
        raise EvidenceError(
            "interoperable RA-TLS carries bare quotes of Intel's", code="evidence.kind"
        )
    return write_foreign(Tagged(INTEL_QUOTE_TAG, [quote.body, buffer]))


def cmw_extension(evidence: Evidence) -> bytes:
    """Return the value of the CMW extension: evidence as a record of CBOR."""
    record = CmwRecord(their_media_type(evidence.media_type), evidence.body, EVIDENCE)
    return _der(_OCTET_STRING, write_cbor_cmw(record))


def _carried(extensions: Mapping[str, bytes]) -> tuple[CertificateForm, bytes]:
    """Say in which form a certificate carries evidence.

    Gramine's own comes last: its certificates have it beside the interoperable one, with another
    quote in it.
    """
    if DICE_EXTENSION in extensions and CMW_EXTENSION in extensions:
        raise MalformedError(
            "the certificate carries evidence in two forms", code="certificate.malformed"
        )
    if DICE_EXTENSION in extensions:
        value = extensions[DICE_EXTENSION]
        tagged = value[:1] == b"\xd9"
        return "interoperable" if tagged else "cmw", value
    if CMW_EXTENSION in extensions:
        return "cmw", extensions[CMW_EXTENSION]
    for name in (GRAMINE_EXTENSION, _GRAMINE_MEANT):
        if name in extensions:
            return "gramine", extensions[name]
    raise MalformedError(
        "the certificate carries no evidence in a form that binds its key",
        code="certificate.malformed",
        hint="interoperable RA-TLS, the CMW extension, and Gramine's are read",
    )


def _read_tagged(value: bytes) -> tuple[Evidence, bytes]:
    """Read the quote and the claims buffer of interoperable RA-TLS."""
    found = read_foreign(
        value,
        what="evidence of a certificate",
        max_bytes=_MAX_EXTENSION,
        code="evidence.malformed",
        tags={INTEL_QUOTE_TAG, *_INTEL_REPORT_TAGS},
    )
    if not isinstance(found, Tagged):
        raise _malformed("it has no tag")
    if found.tag != INTEL_QUOTE_TAG:
        raise EvidenceError(
            "the certificate carries a local report, which its own chip alone can check",
            code="evidence.kind",
        )
    parts = found.value
    if not isinstance(parts, Sequence) or isinstance(parts, bytes | str):
        raise _malformed("it is not an array")
    if len(parts) != 2:  # noqa: PLR2004  # quote and claims
        raise _malformed("it has not two parts")
    quote, buffer = parts
    if not isinstance(quote, bytes) or not isinstance(buffer, bytes):
        raise _malformed("quote and claims are byte strings")
    return _intel_quote(quote), buffer


def _read_buffer(buffer: bytes, spki: bytes) -> bytes | None:
    """Read a claims buffer, check that it names the certificate's key; return its nonce."""
    found = read_foreign(
        buffer, what="claims of a certificate", max_bytes=_MAX_BUFFER, code="evidence.malformed"
    )
    if not isinstance(found, Mapping) or not 0 < len(found) <= _MAX_CLAIMS:
        raise _malformed("its claims are not a map")
    if not all(isinstance(key, str) and isinstance(each, bytes) for key, each in found.items()):
        raise _malformed("a claim is a byte string under a text")
    hashed, nonce = found.get("pubkey-hash"), found.get("nonce")
    if not isinstance(hashed, bytes):
        raise _malformed("its claims lack the key's hash")
    if not _is_hash_of(hashed, spki):
        raise EvidenceError(
            "the evidence in the certificate names another key", code="evidence.binding"
        )
    if nonce is not None and not (isinstance(nonce, bytes) and 0 < len(nonce) <= MAX_NONCE_BYTES):
        raise _malformed(f"a nonce has 1 to {MAX_NONCE_BYTES} bytes")
    return nonce if isinstance(nonce, bytes) else None


def _is_hash_of(entry: bytes, spki: bytes) -> bool:
    """Tell whether a CoSWID hash entry is of this key."""
    found = read_foreign(
        entry, what="hash of a certificate's key", max_bytes=128, code="evidence.malformed"
    )
    if not isinstance(found, Sequence) or isinstance(found, bytes | str):
        raise _malformed("a key's hash is not an array")
    if len(found) != 2 or isinstance(found[0], bool) or not isinstance(found[1], bytes):  # noqa: PLR2004  # algorithm and value
        raise _malformed("a key's hash has an algorithm and a value")
    hashes = {_SHA256: sha256, _SHA384: sha384, _SHA512: sha512}
    if not isinstance(found[0], int) or found[0] not in hashes:
        raise _malformed("a key's hash is SHA-256, SHA-384 or SHA-512")
    return same_bytes(found[1], hashes[found[0]](spki))


def _intel_quote(quote: bytes) -> Evidence:
    """Say of a quote whose it is, by the type that stands in its header."""
    media_type = _TEES.get(quote[_TEE_TYPE])
    if media_type is None or len(quote) > MAX_EVIDENCE_BYTES:
        raise _malformed("it is no quote of SGX or TDX")
    return Evidence(media_type, quote)


def _choice(value: bytes) -> bytes:
    """Open the CHOICE of the CMW extension; DICE has the wrapper bare, too."""
    if value[:1] == bytes([_OCTET_STRING]):
        return _content(value, _OCTET_STRING)
    if value[:1] == bytes([_UTF8_STRING]):
        return _content(value, _UTF8_STRING)
    return value


def _content(value: bytes, tag: int) -> bytes:
    """Return what one DER string holds, where it is all of `value`, in the one DER spelling."""
    first = value[1] if len(value) > 1 else 0
    start = 2 if first < 0x80 else 2 + first - 0x80  # noqa: PLR2004  # DER: longer lengths
    content = value[start:]
    if _der(tag, content) != value:
        raise _malformed("its extension is not one DER string")
    return content


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:  # noqa: PLR2004  # DER: longer lengths say how many bytes they have
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 + len(length)]) + length + content


def _padded(digest: bytes) -> bytes:
    return digest + bytes(_REPORT_DATA - len(digest))


def _malformed(problem: str) -> MalformedError:
    return MalformedError(f"evidence of a certificate: {problem}", code="evidence.malformed")
