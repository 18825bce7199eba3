"""The claims of a TPM's quote that a policy may judge, and the strict defaults."""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence_rules import Field, Form, OneOf, Rule, Unchecked
from cloister.tee.tpm.layout import PCRS

__all__ = ["FIELDS", "quote_fields"]

_NO_POLICY: Final = Unchecked("no policy was given")
_TRUE: Final = OneOf((True,))


def _must(path: str, form: Form, default: Rule, about: str) -> Field:
    return Field(path, form, required=True, default=default, about=about)


def _may(path: str, form: Form, about: str, default: Rule = _NO_POLICY) -> Field:
    return Field(path, form, required=False, default=default, about=about)


def quote_fields(prefix: str) -> tuple[Field, ...]:
    """Return the fields of any quote; `prefix` is where they lie among the vendor's."""
    pcrs = (
        _may(f"{prefix}pcrs.{bank}.{index}", "bytes", f"PCR {index} of the {bank} bank")
        for bank in ("sha256", "sha384")
        for index in range(PCRS)
    )
    return (
        _may(f"{prefix}safe", "boolean", "safe: the clock was not set back", _TRUE),
        _may(f"{prefix}event_log", "boolean", "a log leads to the quoted values of PCRs 0 to 7"),
        _may(f"{prefix}secure_boot", "text", "SecureBoot as the log has it: on, off or unknown"),
        _may(f"{prefix}replayed", "texts", "PCRs that the event log explains, as bank:index"),
        _may(f"{prefix}pcr_digest", "bytes", "pcrDigest of the quoted PCRs"),
        _may(f"{prefix}clock", "integer", "clock: milliseconds since the TPM was made or cleared"),
        _may(f"{prefix}reset_count", "integer", "resetCount"),
        _may(f"{prefix}restart_count", "integer", "restartCount"),
        _may(f"{prefix}firmware_version", "integer", "firmwareVersion"),
        _may(f"{prefix}qualified_signer", "bytes", "qualifiedSigner: the key's qualified name"),
        *pcrs,
    )


FIELDS: Final = (
    _must("measurement", "bytes", _NO_POLICY, "SHA-256 of TPMS_QUOTE_INFO: which PCRs, and values"),
    _must("report_data", "bytes", _NO_POLICY, "extraData: the nonce"),
    _must("revocation_checked", "boolean", _TRUE, "lists were looked at, or the key is pinned"),
    _may("status", "text", "nobody says a word about a TPM's version", OneOf(("",))),
    _may("debug", "boolean", "a TPM does not know whether its machine is inspected"),
    _may("ak", "bytes", "SHA-256 of the attestation key's public key info"),
    _may("ak_pinned", "boolean", "the key itself is the anchor"),
    _may("ak_subject", "text", "common name in the key's certificate"),
    _may("vouched_by", "text", "whose pinned root certifies the key; empty for another"),
    *quote_fields(""),
)
