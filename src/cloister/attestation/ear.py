"""Attestation results for other relying parties: EAR tokens (draft-ietf-rats-ear). No I/O.

Example::

    # at the key service
    token = issue_ear(result, key=key, issuer="https://keys.example", audience="https://rp.example",
                      nonce=nonce, at=now, lifetime_s=300)
    # at the relying party, offline, under the JWKS that it pinned
    ear = verify_ear(token, jwks=KeySet.from_bytes(pinned), audience="https://rp.example",
                     nonce=nonce, at=now, accept_simulated=False, at_least="affirming")

Spec: ear-v1.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cloister import __version__
from cloister.attestation.ear_claims import (
    CLOISTER_CLAIM,
    CLOISTER_VERSION,
    DIALECTS,
    IETF,
    MAX_LIFETIME_S,
    Appraisal,
    Dialect,
    EarClaims,
    Tier,
    read_claims,
    worst,
)
from cloister.attestation.ear_verdict import VerdictFacts
from cloister.attestation.result import AttestationResult
from cloister.crypto.digest import digest_to_text, same_bytes
from cloister.crypto.jose import (
    KeySet,
    TokenSigningKey,
    sign_compact,
    to_base64url,
    verify_compact,
)
from cloister.errors import AppraisalError, CallerError, EvidenceError, MalformedError
from cloister.wire.strict_json import write_json

__all__ = [
    "CLOCK_SKEW_S",
    "MAX_NONCE_BYTES",
    "MIN_NONCE_BYTES",
    "Least",
    "VerifiedEar",
    "ear_claims",
    "issue_ear",
    "issued_claims",
    "sign_claims",
    "trustworthiness",
    "verify_ear",
]

Least = Literal["affirming", "warning"]

MIN_NONCE_BYTES: Final = 8
MAX_NONCE_BYTES: Final = 64
CLOCK_SKEW_S: Final = 60  # how far ahead of the reader's clock an issuer's may go
# Values of AR4SI, section 2.3.4, and two of the range that it leaves to verifiers.
_NO_CLAIM: Final = 0
_AFFIRMED: Final = 2
_AFFIRMED_AT_START: Final = 3
_EXPOSED: Final = 32
_SIMULATED: Final = -33
# Rules that say whether a platform is new enough: a policy's own, or of a kind of evidence.
_VERSION_RULES: Final = frozenset(
    {"minimum_svn", "status", "tdx.status", "reported_tcb", "snp.reported_tcb", "security_version"}
)
# Rules that together say which launcher was started, where `measurement` alone does not: of a TD it
# is the firmware, and of Azure's VMs too, whose other parts are in registers of a virtual TPM.
_IMAGE_RULES: Final = {
    "tdx": frozenset({"measurement", "rtmr1", "rtmr2"}),
    "azure-tdx": frozenset[str](),
    "azure-snp": frozenset[str](),
}
_CLAIMS: Final = re.compile(r"^claims[.\[]")
_INSPECTABLE: Final = -34


def trustworthiness(result: AttestationResult) -> dict[str, int]:
    """Return the AR4SI vector: what rules that held affirm; a rule left out affirms nothing.

    Spec: ear-v1, clause EAR-42.
    """
    held = set(_aspects(result))
    image = _IMAGE_RULES.get(result.root_of_trust, frozenset({"measurement"}))
    executables = bool(image) and image | {"code", "runtime"} <= held
    hardware = _AFFIRMED if held & _VERSION_RULES else _NO_CLAIM
    opaque = _AFFIRMED if "debug" in held else _NO_CLAIM
    if result.debug:
        opaque = _INSPECTABLE
    if not result.hardware_rooted:
        hardware = opaque = _SIMULATED
    configuration = _AFFIRMED if "debug" in held else _NO_CLAIM
    return {
        "instance-identity": _AFFIRMED if "anchors" in held else _NO_CLAIM,
        "configuration": _EXPOSED if result.debug else configuration,
        "executables": _AFFIRMED_AT_START if executables else _NO_CLAIM,
        "file-system": _AFFIRMED if "volumes" in held and "latest" not in held else _NO_CLAIM,
        "hardware": hardware,
        "runtime-opaque": opaque,
        "storage-opaque": _NO_CLAIM,
        "sourced-data": _NO_CLAIM,
    }


def _aspects(result: AttestationResult) -> Iterator[str]:
    """Name what each rule that held was about, by its place in the policy."""
    root = f"roots_of_trust.{result.root_of_trust}."
    code = digest_to_text(result.launch.code)
    for hit in result.checked:
        if hit.rule.startswith(root):
            yield _CLAIMS.sub("", hit.rule.removeprefix(root)).rstrip("]")
        elif hit.rule.startswith("workloads"):
            if hit.rule.endswith(".runtime"):
                yield "runtime"
            elif hit.rule.endswith(".code.digests"):
                yield "code"
            elif hit.expected == "latest":
                yield "latest"
        elif hit.rule.startswith("volumes") and hit.rule.endswith(".root"):
            yield "volumes"
            if hit.found == code:
                yield "code"


def _status(result: AttestationResult) -> Tier:
    """Affirm only what hardware vouched for, with every check made and nothing inspectable."""
    whole = result.hardware_rooted and not result.debug and not result.not_checked
    return "affirming" if whole else "warning"


def ear_claims(
    result: AttestationResult, *, issuer: str, audience: str, nonce: bytes, at: int, lifetime_s: int
) -> dict[str, object]:
    """Return the claims-set that `issue_ear` signs.

    Spec: ear-v1, clauses EAR-40 to EAR-44.
    """
    appraisal: dict[str, object] = {
        IETF.status: _status(result),
        IETF.vector: trustworthiness(result),
        IETF.policies: [digest_to_text(result.policy)],
        CLOISTER_CLAIM: {
            "version": CLOISTER_VERSION,
            "root_of_trust": result.root_of_trust,
            "hardware_rooted": result.hardware_rooted,
            "anchor": digest_to_text(result.anchor),
            "measurement": result.measurement.hex(),
            "security_version": result.security_version,
            "debug": result.debug,
            "launch": {
                "code": digest_to_text(result.launch.code),
                "runtime": digest_to_text(result.launch.runtime),
            },
            "not_checked": [
                {"rule": item.rule, "reason": item.reason} for item in result.not_checked
            ],
        },
    }
    return issued_claims(
        {result.workload: appraisal},
        issuer=issuer,
        audience=audience,
        nonce=nonce,
        at=at,
        lifetime_s=lifetime_s,
    )


def issued_claims(
    submods: Mapping[str, Mapping[str, object]],
    *,
    issuer: str,
    audience: str,
    nonce: bytes,
    at: int,
    lifetime_s: int,
) -> dict[str, object]:
    """Return the claims-set of appraisals by their labels.

    Raises:
        MalformedError: The nonce has not 8 to 64 bytes (`token.malformed`).

    Spec: ear-v1, clauses EAR-40 and EAR-41.
    """
    if not MIN_NONCE_BYTES <= len(nonce) <= MAX_NONCE_BYTES:
        raise _malformed(f"a nonce has {MIN_NONCE_BYTES} to {MAX_NONCE_BYTES} bytes")
    return {
        "eat_profile": IETF.profile,
        "iss": issuer,
        "aud": audience,
        "iat": at,
        "exp": at + lifetime_s,
        "eat_nonce": to_base64url(nonce),
        IETF.verifier: {"developer": "Cloister", "build": f"cloister {__version__}"},
        "submods": submods,
    }


def sign_claims(claims: Mapping[str, object], *, key: TokenSigningKey) -> str:
    """Sign a claims-set, unless a reader would refuse it.

    Raises:
        MalformedError: A reader would (`token.malformed`, `wire.too-large`).

    Spec: ear-v1, clause EAR-44.
    """
    try:
        payload = write_json(claims)
    except ValueError as e:  # of the codec: half a surrogate pair
        raise _malformed("issuer and audience are Unicode") from e
    # What a reader would refuse is not signed.
    _require_complete(read_claims(payload))
    return sign_compact(payload, key=key, typ=IETF.typ)


def issue_ear(
    result: AttestationResult,
    *,
    key: TokenSigningKey,
    issuer: str,
    audience: str,
    nonce: bytes,
    at: int,
    lifetime_s: int,
) -> str:
    """Return a signed EAR that tells a relying party what one appraisal established.

    Simulation cannot be left out: a result that no hardware signed is at most `warning`, and says
    so in three places.

    Args:
        result: From an appraisal that this process made, or received under a pinned key.
        key: Of the issuer; its public half is in the JWKS that relying parties pin.
        issuer: Who signs; 1 to 255 characters.
        audience: For whom; untrusted.
        nonce: The relying party's, 8 to 64 bytes; untrusted.
        at: Now, in seconds since the epoch.
        lifetime_s: How long the token is good for, 1 to 86 400.

    Raises:
        MalformedError: An argument is out of bounds, or the result contradicts itself, for
            instance simulation that calls itself hardware (`token.malformed`).
    """
    claims = ear_claims(
        result, issuer=issuer, audience=audience, nonce=nonce, at=at, lifetime_s=lifetime_s
    )
    return sign_claims(claims, key=key)


@dataclass(frozen=True, slots=True)
class VerifiedEar:
    """What a pinned key vouches for, to this audience, in answer to this nonce.

    Attributes:
        kid: Name of the key that signed.
        issuer: Who he says he is; the pinned key is what is known of him.
        dialect: How the token is spelt.
        issued_at: In seconds since the epoch.
        expires_at: Likewise.
        status: The worst tier in it.
        hardware_rooted: True where the token says of every appraisal that hardware vouched.
        developer: Who made the verifier.
        build: Which one it is.
        appraisals: At least one.
    """

    kid: str
    issuer: str
    dialect: Dialect
    issued_at: int
    expires_at: int
    status: Tier
    hardware_rooted: bool
    developer: str
    build: str
    appraisals: tuple[Appraisal, ...]

    def as_record(self) -> dict[str, object]:
        """Return what `--json` prints: the same facts, digests as text."""
        return {
            "kid": self.kid,
            "issuer": self.issuer,
            "dialect": self.dialect.name,
            "issued_at": self.issued_at,
            "expires_at": self.expires_at,
            "status": self.status,
            "hardware_rooted": self.hardware_rooted,
            "verifier": {"developer": self.developer, "build": self.build},
            "appraisals": [_appraisal_record(each) for each in self.appraisals],
        }


def verify_ear(
    token: str,
    *,
    jwks: KeySet,
    audience: str,
    nonce: bytes,
    at: int,
    accept_simulated: bool,
    at_least: Least,
) -> VerifiedEar:
    """Return what a token establishes for this relying party; everything is required.

    The numbered procedure: (1) a pinned key signed it; (2) its claims have their form, and it has
    those that are judged here; (3) it is valid now; (4) it is for this audience; (5) it answers
    this nonce; (6) hardware vouched, unless simulation is accepted; (7) its status is good enough.

    Args:
        token: Untrusted.
        jwks: Pinned: from a file that came in a trusted way, never from the token.
        audience: This relying party, as it told the issuer.
        nonce: What this relying party gave out for this one answer, 8 to 64 bytes.
        at: Now, in seconds since the epoch.
        accept_simulated: Whether a token counts that does not say that hardware vouched. True
            protects nobody against the attested machine's operator.
        at_least: The worst status that is accepted. Simulated results, and those whose policy left
            checks out, are at most `warning`.

    Raises:
        MalformedError: `token.malformed`, `wire.too-large`.
        EvidenceError: `token.key-unknown`, `token.algorithm`, `token.signature`, `token.expired`,
            `token.audience`, `token.nonce`.
        AppraisalError: `token.simulated`, `token.status`.
        CallerError: The nonce that is asked for is none (`caller.misuse`).

    Spec: ear-v1, clauses EAR-50 to EAR-57.
    """
    if not MIN_NONCE_BYTES <= len(nonce) <= MAX_NONCE_BYTES:
        raise CallerError(
            f"a nonce has {MIN_NONCE_BYTES} to {MAX_NONCE_BYTES} bytes", code="caller.misuse"
        )
    # 1  A pinned key signed it.
    signed = verify_compact(token, keys=jwks, types={each.typ for each in DIALECTS})
    # 2  The form, and that everything below is there.
    claims = read_claims(signed.payload)
    if signed.typ != claims.dialect.typ:
        raise _malformed("the token's typ is that of another profile")
    issuer, expires_at, found_audience, found_nonce = _require_complete(claims)
    # 3  Now.
    earliest = max(claims.issued_at, claims.not_before or 0)
    if at >= expires_at or earliest > at + CLOCK_SKEW_S:
        raise EvidenceError(
            f"the token is valid from {earliest} to {expires_at}, and this clock says {at}",
            code="token.expired",
            hint="ask for a new token; if it is new, compare the clocks of both machines",
        )
    # 4  For this audience.
    if not same_bytes(found_audience.encode(), audience.encode()):
        raise EvidenceError("the token is for another audience", code="token.audience")
    # 5  In answer to this nonce.
    if not any(same_bytes(found_nonce.encode(), each) for each in _spellings(nonce)):
        raise EvidenceError("the token answers another nonce", code="token.nonce")
    # 6  Hardware.
    if not claims.hardware_rooted and not accept_simulated:
        raise _simulated(claims)
    # 7  Status.
    if worst((claims.status, at_least)) != at_least:
        raise AppraisalError(
            f"the token's status is {claims.status}",
            code="token.status",
            rule="ear_status",
            expected=f"{at_least} or better",
            found=claims.status,
        )
    return VerifiedEar(
        kid=signed.kid,
        issuer=issuer,
        dialect=claims.dialect,
        issued_at=claims.issued_at,
        expires_at=expires_at,
        status=claims.status,
        hardware_rooted=claims.hardware_rooted,
        developer=claims.developer,
        build=claims.build,
        appraisals=claims.appraisals,
    )


def _require_complete(claims: EarClaims) -> tuple[str, int, str, str]:
    """Return issuer, expiry, audience and nonce, all of which a token for relying parties has."""
    if claims.issuer is None or claims.audience is None or claims.nonce is None:
        raise _malformed("the token lacks iss, aud or eat_nonce")
    if claims.expires_at is None:
        raise _malformed("the token lacks exp")
    if not 0 < claims.expires_at - claims.issued_at <= MAX_LIFETIME_S:
        raise _malformed(f"a token is good for 1 to {MAX_LIFETIME_S} seconds")
    return claims.issuer, claims.expires_at, claims.audience, claims.nonce


def _spellings(nonce: bytes) -> tuple[bytes, ...]:
    """Return how issuers write a nonce: base64url without and with padding, and base64."""
    return (
        to_base64url(nonce).encode(),
        base64.urlsafe_b64encode(nonce),
        base64.b64encode(nonce),
    )


def _simulated(claims: EarClaims) -> AppraisalError:
    roots = [each.facts.root_of_trust for each in claims.appraisals if each.facts is not None]
    said = len(roots) == len(claims.appraisals)
    return AppraisalError(
        "no hardware vouched for what this token is about"
        if said
        else "the token does not say whether hardware vouched",
        code="token.simulated",
        rule="hardware_rooted",
        expected="true",
        found=f"false, by {', '.join(roots)}" if said else "not said",
    )


def _appraisal_record(appraisal: Appraisal) -> dict[str, object]:
    record: dict[str, object] = {
        "label": appraisal.label,
        "status": appraisal.status,
        "trustworthiness_vector": dict(appraisal.vector),
        "policies": list(appraisal.policies),
        "cloister": None,
    }
    facts = appraisal.facts
    if isinstance(facts, VerdictFacts):
        record["cloister"] = facts.as_record()
    elif facts is not None:
        record["cloister"] = {
            "root_of_trust": facts.root_of_trust,
            "hardware_rooted": facts.hardware_rooted,
            "anchor": digest_to_text(facts.anchor),
            "measurement": facts.measurement.hex(),
            "security_version": facts.security_version,
            "debug": facts.debug,
            "launch": {
                "code": digest_to_text(facts.launch.code),
                "runtime": digest_to_text(facts.launch.runtime),
            },
            "not_checked": [
                {"rule": item.rule, "reason": item.reason} for item in facts.not_checked
            ],
        }
    return record


def _malformed(problem: str) -> MalformedError:
    return MalformedError(problem, code="token.malformed")
