"""The claims of Nitro documents: what a policy may judge, and what is asked where there is none.

Spec: nitro-evidence-v1, clause NIT-20.
"""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence_rules import Field, OneOf, Unchecked

__all__ = ["FIELDS"]

_NO_POLICY: Final = Unchecked("no policy was given")
_REGISTERS: Final = {
    1: "the kernel and its first file system",
    2: "the application",
    3: "the role of the parent instance",
    4: "the parent instance",
    8: "the certificate that signed the image",
}


def _may(path: str, about: str) -> Field:
    return Field(path, "bytes", required=False, default=_NO_POLICY, about=about)


FIELDS: Final = (
    Field(
        "measurement", "bytes", required=True, default=_NO_POLICY, about="PCR0: the enclave's image"
    ),
    Field(
        "report_data",
        "bytes",
        required=True,
        default=_NO_POLICY,
        about="user_data, empty where there is none",
    ),
    Field(
        "debug",
        "boolean",
        required=True,
        default=OneOf((False,)),
        about="whether PCR0 is zero, as in debug mode",
    ),
    *(_may(f"pcrs.{n}", _REGISTERS.get(n, f"register {n}")) for n in range(1, 32)),
    _may("nonce", "the enclave's nonce"),
    _may("public_key", "the enclave's public key"),
    Field(
        "module_id",
        "text",
        required=False,
        default=_NO_POLICY,
        about="the instance and its enclave",
    ),
    Field(
        "timestamp",
        "integer",
        required=False,
        default=_NO_POLICY,
        about="when it was made, in milliseconds since the epoch",
    ),
)
