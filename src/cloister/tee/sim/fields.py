"""The claims of simulated evidence: what a policy may judge, and what is asked where there is none.

Spec: sim-evidence-v1.
"""

from __future__ import annotations

from typing import Final

from cloister.attestation.evidence_rules import Field, OneOf, Unchecked

__all__ = ["FIELDS"]

_NO_POLICY: Final = Unchecked("no policy was given")

FIELDS: Final = (
    Field(
        "measurement",
        "bytes",
        required=True,
        default=_NO_POLICY,
        about="SHA-256 of the Cloister installation that runs",
    ),
    Field(
        "report_data", "bytes", required=True, default=_NO_POLICY, about="what the evidence is for"
    ),
    Field(
        "debug",
        "boolean",
        required=True,
        default=OneOf((False,)),
        about="whether the platform calls itself inspectable",
    ),
    Field(
        "security_version",
        "integer",
        required=True,
        default=_NO_POLICY,
        about="the platform's own number",
    ),
)
