"""The values of secrets: made by their rule, and shown by part. No state, no clock.

Spec: secret-release-v1, clauses SEC-1 to SEC-6.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

from cloister.crypto.generated import (
    certificate_end,
    draw_password,
    issue_certificate,
    make_authority,
    make_key_pair,
)
from cloister.crypto.kdf import random_bytes
from cloister.errors import LocalProtocolError, ReleaseDeniedError
from cloister.keyservice.policy.secret_rules import CertificateForm, SecretRule
from cloister.keyservice.secret_records import SecretRecord

__all__ = ["PUBLIC_PARTS", "issue", "make_value", "needs_renewal", "part_of", "public_parts"]

PUBLIC_PARTS: Final = ("public", "certificate", "chain")
_DAY_S: Final = 86400
# A certificate with less than a third of its lifetime left is renewed.
_RENEW_AT: Final = 3


def make_value(
    rule: SecretRule, *, authority: Mapping[str, bytes] | None, at: int
) -> dict[str, bytes]:
    """Make a new value; the caller keeps it before anybody gets it.

    Args:
        rule: Of any kind but those whose value comes later (`COMES_LATER`).
        authority: The parts of the authority that a certificate names, else None.
        at: Now.
    """
    if rule.symmetric is not None:
        return {"value": random_bytes(rule.symmetric.bytes)}
    if rule.password is not None:
        drawn = draw_password(length=rule.password.length, alphabet=rule.password.alphabet)
        return {"value": drawn.encode()}
    if rule.key_pair is not None:
        pair = make_key_pair(rule.key_pair.algorithm)
        return {"private": pair.private, "public": pair.public}
    pair = make_key_pair("ecdsa-p256")
    parts = {"private": pair.private, "public": pair.public}
    if rule.authority is not None:
        certificate = make_authority(
            pair.private,
            common_name=rule.authority.common_name,
            at=at,
            lifetime_s=rule.authority.lifetime_days * _DAY_S,
        )
        return parts | {"certificate": certificate}
    if rule.certificate is None or authority is None:
        raise LocalProtocolError("nobody makes such a secret", code="protocol.local")
    return issue(parts, rule.certificate, authority=authority, at=at)


def issue(
    parts: Mapping[str, bytes],
    form: CertificateForm,
    *,
    authority: Mapping[str, bytes],
    at: int,
) -> dict[str, bytes]:
    """Return the key of `parts` with a new certificate by `authority`.

    Raises:
        ReleaseDeniedError: The authority is over (`release.secret-expired`).
    """
    _end_of(authority, form, at=at)
    certificate = issue_certificate(
        parts["private"],
        authority_private=authority["private"],
        authority_certificate=authority["certificate"],
        dns=form.dns or (),
        spiffe=form.spiffe,
        at=at,
        lifetime_s=form.lifetime_days * _DAY_S,
    )
    return {
        "private": parts["private"],
        "public": parts["public"],
        "certificate": certificate,
        "chain": certificate + authority["certificate"],
    }


def needs_renewal(
    parts: Mapping[str, bytes],
    form: CertificateForm,
    *,
    authority: Mapping[str, bytes],
    at: int,
) -> bool:
    """Tell whether a certificate is near its end, or its authority has another value by now.

    Raises:
        ReleaseDeniedError: The authority itself is over (`release.secret-expired`).
    """
    end = _end_of(authority, form, at=at)
    if not parts["chain"].endswith(authority["certificate"]):
        return True
    left = certificate_end(parts["certificate"]) - at
    return left * _RENEW_AT < form.lifetime_days * _DAY_S and left < end - at


def _end_of(authority: Mapping[str, bytes], form: CertificateForm, *, at: int) -> int:
    end = certificate_end(authority["certificate"])
    if end <= at:
        raise ReleaseDeniedError(
            f"authority {form.authority} is over",
            code="release.secret-expired",
            hint="raise its epoch in a new policy",
        )
    return end


def part_of(record: SecretRecord, part: str) -> bytes:
    """Return what a template with this part shows; the part is one of the kind's."""
    if part == "hex":
        return record.parts["value"].hex().encode()
    if part == "base64":
        return base64.b64encode(record.parts["value"])
    return record.parts[part or "value"]


def public_parts(record: SecretRecord) -> dict[str, bytes]:
    """Return the parts that anybody may see."""
    return {name: record.parts[name] for name in PUBLIC_PARTS if name in record.parts}
