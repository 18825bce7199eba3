"""The claims of CCA tokens: what a policy may judge, and what is asked where there is none.

Spec: cca-evidence-v1, clause CCA-20.
"""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence_rules import Field, Form, OneOf, Rule, Unchecked

__all__ = ["FIELDS"]

_NO_POLICY: Final = Unchecked("no policy was given")


def _must(path: str, form: Form, default: Rule, about: str) -> Field:
    return Field(path, form, required=True, default=default, about=about)


def _may(path: str, form: Form, about: str) -> Field:
    return Field(path, form, required=False, default=_NO_POLICY, about=about)


FIELDS: Final = (
    _must("measurement", "bytes", _NO_POLICY, "the realm's initial measurement"),
    _must("report_data", "bytes", _NO_POLICY, "the realm's challenge"),
    _must("debug", "boolean", OneOf((False,)), "whether the platform can be debugged"),
    _must("lifecycle", "text", OneOf(("secured",)), "the platform's state"),
    _must("software", "texts", _NO_POLICY, "the platform's software"),
    _may("hardware_id", "bytes", "the platform's instance id"),
    _may("implementation_id", "bytes", "the kind of platform"),
    _may("config", "bytes", "the platform's configuration"),
    _may("platform_profile", "text", "the format of the platform's token"),
    _may("platform_hash", "text", "the hash of the platform's measurements"),
    _may("verification_service", "text", "where the platform says that it may be verified"),
    _may("personalization_value", "bytes", "what the host gave when the realm was made"),
    *(_may(f"extensible.{n}", "bytes", f"the realm's register {n}") for n in range(4)),
    _may("realm_hash", "text", "the hash of the realm's measurements"),
)
