"""A verdict about hardware as an EAR: the vector follows from the rules that held. No I/O.

The table of `_AFFIRMED_BY` is the whole of it: which rules must have held before a trustworthiness
claim affirms anything. What nobody checked affirms nothing, and no argument changes that.

Spec: ear-v1, clauses EAR-45 to EAR-49.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cloister.attestation.claims import Claims
from cloister.attestation.ear import issued_claims, sign_claims
from cloister.attestation.ear_claims import IETF, TRUST_CLAIMS, Tier, tier_of, worst
from cloister.attestation.ear_verdict import VERDICT_CLAIM, VerdictFacts, VerdictWord
from cloister.attestation.verdict import Verdict
from cloister.crypto.digest import digest_to_text
from cloister.crypto.jose import TokenSigningKey
from cloister.errors import MalformedError
from cloister.wire import Value

__all__ = ["issue_verdict_ear", "verdict_status", "verdict_trustworthiness"]

# Values of AR4SI, section 2.3, and two of the range that it leaves to verifiers.
_NO_CLAIM: Final = 0
_AFFIRMED: Final = 2
_AFFIRMED_AT_START: Final = 3
_WARNED: Final = 32  # known weaknesses; exposed; kept apart, and not encrypted
_REFUSED: Final = 96
_NOT_GENUINE: Final = 99
_SIMULATED: Final = -33
_INSPECTABLE: Final = -34
_UP_TO_DATE: Final = frozenset({"", "UpToDate"})

Rules = frozenset[str]
_DEBUG: Final[Rules] = frozenset({"debug"})
_INTEL: Final[dict[str, Rules]] = {
    "instance-identity": frozenset({"hardware_id"}),
    "hardware": frozenset({"status", "advisories"}),
    "runtime-opaque": _DEBUG,
}
_TDX: Final = frozenset({"debug", "sept_ve_disable", "migratable", "mr_service_td"})
# By root of trust and trustworthiness claim: the rules that must all have held.
_AFFIRMED_BY: Final[Mapping[str, Mapping[str, Rules]]] = {
    "sim": {
        "configuration": _DEBUG,
        "executables": frozenset({"measurement"}),
        "hardware": frozenset({"security_version"}),
        "runtime-opaque": _DEBUG,
    },
    "sgx": _INTEL | {"configuration": _DEBUG, "executables": frozenset({"measurement"})},
    "tdx": _INTEL
    | {
        "configuration": _TDX,
        "executables": frozenset({"measurement", "rtmr0", "rtmr1", "rtmr2"}),
    },
    "snp": {
        "instance-identity": frozenset({"hardware_id", "revocation_checked"}),
        "configuration": frozenset({"debug", "policy.migrate_ma", "vmpl"}),
        "executables": frozenset({"measurement"}),
        "hardware": frozenset({"reported_tcb", "revocation_checked"}),
        "runtime-opaque": _DEBUG,
    },
    "azure-snp": {
        "instance-identity": frozenset({"hardware_id", "snp.revocation_checked"}),
        "configuration": frozenset({"debug", "snp.policy.migrate_ma"}),
        "hardware": frozenset({"snp.reported_tcb", "snp.revocation_checked"}),
        "runtime-opaque": _DEBUG,
    },
    "azure-tdx": _INTEL
    | {"configuration": frozenset({"debug", "tdx.sept_ve_disable", "tdx.migratable"})},
    "nitro": {
        "instance-identity": frozenset({"module_id"}),
        "configuration": _DEBUG,
        "executables": frozenset({"measurement"}),
        "runtime-opaque": _DEBUG,
    },
    "cca": {
        "instance-identity": frozenset({"hardware_id"}),
        "configuration": frozenset({"debug", "lifecycle"}),
        "executables": frozenset({"measurement", "software"}),
        "hardware": frozenset({"lifecycle", "implementation_id"}),
        "runtime-opaque": frozenset({"debug", "lifecycle"}),
    },
    "nvidia": {
        "configuration": _DEBUG,
        "executables": frozenset({"measres"}),
        "hardware": frozenset({"measres", "revocation"}),
    },
    "tpm": {"instance-identity": frozenset({"ak", "revocation_checked"})},
}
# Kept apart by a hypervisor, and not encrypted (AR4SI: runtime-opaque 32).
_ISOLATED: Final = frozenset({"nitro"})


def verdict_trustworthiness(verdict: Verdict, kind: str) -> dict[str, int]:
    """Return the AR4SI vector of a verdict about evidence of a kind.

    Spec: ear-v1, clauses EAR-46 and EAR-47.
    """
    vector = dict.fromkeys(TRUST_CLAIMS, _NO_CLAIM)
    claims = verdict.claims
    if claims is None:
        if verdict.decided:
            vector["instance-identity"] = _NOT_GENUINE
        return vector
    table = _AFFIRMED_BY.get(kind, {})
    held = {hit.rule for hit in verdict.checked} - {item.rule for item in verdict.not_checked}
    for claim, rules in table.items():
        if rules <= held:
            vector[claim] = _AFFIRMED_AT_START if claim == "executables" else _AFFIRMED
    vector |= _worse(vector, claims, kind)
    failed = _failed(verdict)
    vector |= {claim: _REFUSED for claim, rules in table.items() if rules & failed}
    return vector


def _worse(vector: Mapping[str, int], claims: Claims, kind: str) -> dict[str, int]:
    """Return what genuine evidence admits of itself, whatever rules held."""
    found: dict[str, int] = {}
    if vector["hardware"] == _AFFIRMED and (claims.status not in _UP_TO_DATE or claims.advisories):
        found["hardware"] = _WARNED
    if vector["runtime-opaque"] == _AFFIRMED and kind in _ISOLATED:
        found["runtime-opaque"] = _WARNED
    if claims.debug:
        found |= {"configuration": _WARNED, "runtime-opaque": _INSPECTABLE}
    if not claims.hardware_rooted:
        found |= {"hardware": _SIMULATED, "runtime-opaque": _SIMULATED}
    return found


def verdict_status(verdict: Verdict, vector: Mapping[str, int]) -> Tier:
    """Return the tier of a verdict: no better than the vector, and than what was left out.

    Spec: ear-v1, clause EAR-48.
    """
    if not verdict.decided:
        return "none"
    claims = verdict.claims
    if not verdict.accepted or claims is None:
        return "contraindicated"
    whole = claims.hardware_rooted and not claims.debug and not verdict.not_checked
    asserted = [tier for tier in map(tier_of, vector.values()) if tier != "none"]
    return worst(["affirming" if whole else "warning", *asserted])


def issue_verdict_ear(
    verdict: Verdict,
    *,
    kind: str,
    policy: bytes | None,
    key: TokenSigningKey,
    issuer: str,
    audience: str,
    nonce: bytes,
    at: int,
    lifetime_s: int,
) -> str:
    """Return a signed EAR that tells a relying party what became of one piece of evidence.

    Refused and undecided evidence can be told, too: such a token is `contraindicated` or `none`,
    which `verify_ear` never accepts.

    Args:
        verdict: Made by this process.
        kind: The root of trust that was asked for.
        policy: SHA-256 of the evidence policy's file; None where the defaults were asked for.
        key: Of the issuer.
        issuer: Who signs; 1 to 255 characters.
        audience: For whom; untrusted.
        nonce: The relying party's, 8 to 64 bytes; untrusted.
        at: The instant that the evidence was judged at: the token is of that time.
        lifetime_s: How long the token is good for, 1 to 86 400.

    Raises:
        MalformedError: An argument is out of bounds, or the evidence says more than a token holds
            (`token.malformed`, `wire.too-large`).
    """
    if kind not in _AFFIRMED_BY:
        raise MalformedError(f"nothing says what affirms {kind}", code="token.malformed")
    vector = verdict_trustworthiness(verdict, kind)
    appraisal: dict[str, object] = {
        IETF.status: verdict_status(verdict, vector),
        IETF.vector: vector,
        VERDICT_CLAIM: _facts(verdict, kind).as_record(),
    }
    if policy is not None:
        appraisal[IETF.policies] = [digest_to_text(policy)]
    claims = issued_claims(
        {kind: appraisal},
        issuer=issuer,
        audience=audience,
        nonce=nonce,
        at=at,
        lifetime_s=lifetime_s,
    )
    return sign_claims(claims, key=key)


def _facts(verdict: Verdict, kind: str) -> VerdictFacts:
    record = verdict.as_record()
    claims = record["claims"]
    decided: VerdictWord = "accept" if verdict.accepted else "reject"
    said: dict[str, Value] | None = None
    if verdict.claims is not None and isinstance(claims, dict):
        said = claims
    return VerdictFacts(
        root_of_trust=kind,
        verdict=decided if verdict.decided else "undecided",
        hardware_rooted=verdict.claims is not None and verdict.claims.hardware_rooted,
        status=verdict.status,
        reasons=tuple((reason.code, reason.detail) for reason in verdict.reasons),
        checked=tuple(hit.rule for hit in verdict.checked),
        not_checked=verdict.not_checked,
        claims=said,
    )


def _failed(verdict: Verdict) -> Rules:
    """Return the claims whose rules did not hold, by their paths."""
    return frozenset(
        reason.detail.partition(":")[0]
        for reason in verdict.reasons
        if reason.code == "appraisal.claim"
    )
