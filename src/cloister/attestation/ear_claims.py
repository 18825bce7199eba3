"""EAR claims-sets: what the text of an attestation result for other systems says, and no more.

Four profiles are read: the IETF draft's of its fourth revision, which Cloister writes, and of its
third, and those of Veraison and Trustee, which spell the same claims with dots. An `EarClaims` is
untrusted: `cloister.attestation.ear` makes a `VerifiedEar` of it.

Spec: ear-v1, clauses EAR-20 to EAR-39.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from cloister.attestation.ear_verdict import VERDICT_CLAIM, VerdictFacts, read_verdict
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import NotChecked
from cloister.crypto.digest import digest_from_text
from cloister.crypto.jose import MAX_TOKEN_BYTES
from cloister.errors import MalformedError
from cloister.wire import Fields, Value
from cloister.wire.strict_json import read_json

__all__ = [
    "CLOISTER_CLAIM",
    "CLOISTER_VERSION",
    "DIALECTS",
    "IETF",
    "IETF_03",
    "MAX_LIFETIME_S",
    "SIMULATED_ROOT",
    "TRUST_CLAIMS",
    "Appraisal",
    "CloisterFacts",
    "Dialect",
    "EarClaims",
    "Tier",
    "read_claims",
    "tier_of",
    "worst",
]

Tier = Literal["affirming", "warning", "none", "contraindicated"]

MAX_LIFETIME_S: Final = 86400
CLOISTER_CLAIM: Final = "cloister_appraisal"
CLOISTER_VERSION: Final = 1
SIMULATED_ROOT: Final = "sim"  # the root of trust that no hardware stands behind
# The trustworthiness claims of AR4SI that Cloister writes; a reader takes others too.
TRUST_CLAIMS: Final = (
    "instance-identity",
    "configuration",
    "executables",
    "file-system",
    "hardware",
    "runtime-opaque",
    "storage-opaque",
    "sourced-data",
)
# The claims that speak of hardware; without hardware they affirm nothing.
_HARDWARE_CLAIMS: Final = ("hardware", "runtime-opaque")

_MAX_DEPTH: Final = 16
_MAX_SUBMODS: Final = 16
_MAX_TRUST_CLAIMS: Final = 32
_MAX_POLICIES: Final = 16
_MAX_NOT_CHECKED: Final = 1024
_MAX_TEXT: Final = 4096
_MAX_NAME: Final = 255
_MIN_NONCE: Final = 8
_MAX_NONCE: Final = 88
_MAX_MEASUREMENT: Final = 64
# From best to worst. "None" asserts nothing, which is worth less than a warning.
_TIERS: Final[tuple[Tier, ...]] = ("affirming", "warning", "none", "contraindicated")
_GOOD: Final[tuple[Tier, ...]] = ("affirming", "warning")
# What evidence that was not accepted is; what was accepted is of a good tier.
_TIER_OF: Final[Mapping[str, Tier]] = {"reject": "contraindicated", "undecided": "none"}
# How older readers and writers of the dotted spelling have the tiers.
_TIER_NUMBERS: Final[Mapping[int, Tier]] = {
    0: "none",
    2: "affirming",
    32: "warning",
    96: "contraindicated",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one profile spells the claims of EAR.

    Attributes:
        name: For people.
        profile: `eat_profile`.
        typ: `typ` of the header that its tokens have.
        status: Claim of the tier, in each appraisal and perhaps above them.
        vector: Claim of the trustworthiness vector.
        policies: Claim of the policies that were applied.
        verifier: Claim of the verifier's name.
        foreign: How claim names of the other spelling begin; a token has one spelling.
    """

    name: str
    profile: str
    typ: str
    status: str
    vector: str
    policies: str
    verifier: str
    foreign: str

    @property
    def ietf(self) -> bool:
        """Whether it is the IETF's: policies are a list, and what Cloister says besides is read."""
        return self.foreign == "ear."


def _ietf(name: str, revision: str) -> Dialect:
    return Dialect(
        name=name,
        profile=f"tag:ietf.org,2026:rats/ear#{revision}",
        typ="eat+jwt",
        status="ear_status",
        vector="ear_trustworthiness_vector",
        policies="ear_appraisal_policy_ids",
        verifier="ear_verifier_id",
        foreign="ear.",
    )


IETF: Final = _ietf("ietf", "04")
IETF_03: Final = _ietf("ietf-03", "03")


def _dotted(name: str, profile: str) -> Dialect:
    return Dialect(
        name=name,
        profile=profile,
        typ="JWT",
        status="ear.status",
        vector="ear.trustworthiness-vector",
        policies="ear.appraisal-policy-id",
        verifier="ear.verifier-id",
        foreign="ear_",
    )


DIALECTS: Final = (
    IETF,
    IETF_03,
    _dotted("veraison", "tag:github.com,2023:veraison/ear"),
    _dotted("trustee", "tag:github.com,2024:confidential-containers/Trustee"),
)


@dataclass(frozen=True, slots=True)
class CloisterFacts:
    """What only Cloister's own tokens say of one environment.

    Attributes:
        root_of_trust: Registry name, such as `sim`.
        hardware_rooted: False for everything that no hardware signed.
        anchor: SHA-256 of the trust anchor that vouched.
        measurement: Digest of the launcher's image.
        security_version: The platform's version number.
        debug: Whether the environment can be inspected from outside.
        launch: What the launcher measured.
        not_checked: Checks that the policy's author left out.
    """

    root_of_trust: str
    hardware_rooted: bool
    anchor: bytes
    measurement: bytes
    security_version: int
    debug: bool
    launch: LaunchMeasurement
    not_checked: tuple[NotChecked, ...]


@dataclass(frozen=True, slots=True)
class Appraisal:
    """One attester's appraisal.

    Attributes:
        label: Name of the submodule; in Cloister's tokens the workload.
        status: Its tier.
        vector: Trustworthiness claim to its value, from -128 to 127.
        policies: Identifiers of the policies that were applied, in their order.
        facts: What Cloister says besides; None in tokens of others.
    """

    label: str
    status: Tier
    vector: Mapping[str, int]
    policies: tuple[str, ...]
    facts: CloisterFacts | VerdictFacts | None


@dataclass(frozen=True, slots=True)
class EarClaims:
    """What a claims-set says; nobody vouches for it yet.

    Attributes:
        dialect: How it is spelt.
        issued_at: In seconds since the epoch.
        not_before: Likewise, or None.
        expires_at: Likewise, or None.
        issuer: Who says so, by his own account, or None.
        audience: For whom, or None.
        nonce: The relying party's nonce as it stands there, or None.
        developer: Who made the verifier.
        build: Which one it is.
        status: The worst tier that stands anywhere in it.
        appraisals: At least one.
    """

    dialect: Dialect
    issued_at: int
    not_before: int | None
    expires_at: int | None
    issuer: str | None
    audience: str | None
    nonce: str | None
    developer: str
    build: str
    status: Tier
    appraisals: tuple[Appraisal, ...]

    @property
    def hardware_rooted(self) -> bool:
        """True where every appraisal says so; what is not said is not so."""
        return all(
            each.facts is not None and each.facts.hardware_rooted for each in self.appraisals
        )


def tier_of(value: int) -> Tier:
    """Return the tier of a trustworthiness claim's value (AR4SI, section 2.3.2)."""
    if value in {-1, 0, 1}:
        return "none"
    if -32 <= value <= 31:  # noqa: PLR2004  # the draft's bounds
        return "affirming"
    return "warning" if -96 <= value <= 95 else "contraindicated"  # noqa: PLR2004  # likewise


def worst(tiers: Iterable[Tier]) -> Tier:
    """Return the tier of least trust among at least one."""
    return max(tiers, key=_TIERS.index)


def read_claims(data: bytes) -> EarClaims:
    """Read an EAR claims-set in JSON from untrusted bytes; claims that we do not know are ignored.

    Raises:
        MalformedError: Not strict JSON, another profile, a claim that is missing or of another
            form, two spellings at once, or a status better than what it rests on.

    Spec: ear-v1, clauses EAR-20 to EAR-35.
    """
    value = read_json(
        data,
        what="EAR",
        max_bytes=MAX_TOKEN_BYTES,
        max_depth=_MAX_DEPTH,
        code="token.malformed",
    )
    fields = Fields(value, what="EAR", code="token.malformed")
    profile = fields.text("eat_profile", max_length=_MAX_NAME)
    dialect = next((each for each in DIALECTS if each.profile == profile), None)
    if dialect is None:
        raise _malformed("the EAR has a profile that is not read here")
    _require_one_spelling(fields, dialect)
    verifier = fields.submap(dialect.verifier)
    appraisals = _appraisals(fields.submap("submods"), dialect)
    found = worst(each.status for each in appraisals)
    if fields.has(dialect.status):
        above = _tier(fields, dialect)
        _require_no_better(above, (each.status for each in appraisals))
        found = worst((above, found))
    return EarClaims(
        dialect=dialect,
        issued_at=fields.integer("iat"),
        not_before=fields.integer("nbf") if fields.has("nbf") else None,
        expires_at=fields.integer("exp") if fields.has("exp") else None,
        issuer=_name(fields, "iss") if fields.has("iss") else None,
        audience=_name(fields, "aud") if fields.has("aud") else None,
        nonce=_nonce(fields) if fields.has("eat_nonce") else None,
        developer=_name(verifier, "developer"),
        build=_name(verifier, "build"),
        status=found,
        appraisals=appraisals,
    )


def _appraisals(submods: Fields, dialect: Dialect) -> tuple[Appraisal, ...]:
    labels = submods.keys()
    if not 0 < len(labels) <= _MAX_SUBMODS:
        raise _malformed(f"an EAR has 1 to {_MAX_SUBMODS} submods")
    if not all(0 < len(label) <= _MAX_NAME for label in labels):
        raise _malformed(f"the label of a submod has 1 to {_MAX_NAME} characters")
    return tuple(_appraisal(label, submods.submap(label), dialect) for label in labels)


def _appraisal(label: str, fields: Fields, dialect: Dialect) -> Appraisal:
    _require_one_spelling(fields, dialect)
    status = _tier(fields, dialect)
    vector = _vector(fields.submap(dialect.vector)) if fields.has(dialect.vector) else {}
    _require_no_better(status, map(tier_of, vector.values()))
    facts = _cloister(fields) if dialect.ietf else None
    if facts is not None:
        _require_honest(status, vector, facts)
    return Appraisal(label, status, vector, _policies(fields, dialect), facts)


def _cloister(fields: Fields) -> CloisterFacts | VerdictFacts | None:
    """Read what Cloister says besides, of a run or of evidence."""
    if fields.has(CLOISTER_CLAIM) and fields.has(VERDICT_CLAIM):
        raise _malformed("an appraisal is of a run or of evidence, not both")
    if fields.has(CLOISTER_CLAIM):
        return _facts(fields.submap(CLOISTER_CLAIM))
    return read_verdict(fields.submap(VERDICT_CLAIM)) if fields.has(VERDICT_CLAIM) else None


def _vector(fields: Fields) -> dict[str, int]:
    names = fields.keys()
    if len(names) > _MAX_TRUST_CLAIMS or not all(0 < len(name) <= _MAX_NAME for name in names):
        raise _malformed("a trustworthiness vector has another form")
    return {name: fields.integer(name, minimum=-128, maximum=127) for name in names}


def _policies(fields: Fields, dialect: Dialect) -> tuple[str, ...]:
    if not fields.has(dialect.policies):
        return ()
    if not dialect.ietf:
        return (fields.text(dialect.policies, max_length=_MAX_TEXT),)
    found = fields.texts(dialect.policies, max_items=_MAX_POLICIES, max_length=_MAX_TEXT)
    if not found:
        raise _malformed("a list of policies is not empty")
    return tuple(found)


def _facts(fields: Fields) -> CloisterFacts:
    fields.constant("version", CLOISTER_VERSION)
    launch = fields.submap("launch")
    found = CloisterFacts(
        root_of_trust=_name(fields, "root_of_trust"),
        hardware_rooted=fields.boolean("hardware_rooted"),
        anchor=_digest(fields, "anchor"),
        measurement=_hex(fields, "measurement"),
        security_version=fields.integer("security_version"),
        debug=fields.boolean("debug"),
        launch=LaunchMeasurement(_digest(launch, "code"), _digest(launch, "runtime")),
        not_checked=tuple(
            _not_checked(item) for item in fields.array("not_checked", max_items=_MAX_NOT_CHECKED)
        ),
    )
    launch.end()
    fields.end()
    return found


def _not_checked(item: Value) -> NotChecked:
    fields = Fields(item, what="EAR check left out", code="token.malformed")
    found = NotChecked(
        rule=fields.text("rule", max_length=_MAX_TEXT),
        reason=fields.text("reason", max_length=_MAX_TEXT),
    )
    fields.end()
    return found


def _require_honest(
    status: Tier, vector: Mapping[str, int], facts: CloisterFacts | VerdictFacts
) -> None:
    """Refuse a token that takes back in one claim what it admits in another."""
    if isinstance(facts, VerdictFacts):
        wanted = _TIER_OF.get(facts.verdict)
        if (wanted is not None and status != wanted) or (wanted is None and status not in _GOOD):
            raise _malformed("an EAR's status is another than its verdict's")
    if facts.hardware_rooted and facts.root_of_trust == SIMULATED_ROOT:
        raise _malformed("a simulated root of trust is not hardware")
    affirmed = {name for name in _HARDWARE_CLAIMS if tier_of(vector.get(name, 0)) == "affirming"}
    if not facts.hardware_rooted and (status == "affirming" or affirmed):
        raise _malformed("without hardware, an EAR affirms neither hardware nor the whole")
    if status == "affirming" and (facts.debug or facts.not_checked):
        raise _malformed("an EAR that affirms leaves nothing unchecked and nothing inspectable")


def _require_no_better(status: Tier, parts: Iterable[Tier]) -> None:
    """Refuse a status above the worst assertion that it sums up; `none` asserts nothing."""
    asserted = [part for part in parts if part != "none"]
    if asserted and _TIERS.index(status) < _TIERS.index(worst(asserted)):
        raise _malformed("an EAR's status is better than what it sums up")


def _require_one_spelling(fields: Fields, dialect: Dialect) -> None:
    if any(name.startswith(dialect.foreign) for name in fields.keys()):  # noqa: SIM118  # no dict
        raise _malformed("an EAR spells its claims in one way")


def _tier(fields: Fields, dialect: Dialect) -> Tier:
    value = fields.anything(dialect.status)
    if isinstance(value, int) and not isinstance(value, bool) and not dialect.ietf:
        tier = _TIER_NUMBERS.get(value)
    else:
        tier = next((each for each in _TIERS if each == value), None)
    if tier is None:
        raise _malformed("a status is affirming, warning, contraindicated or none")
    return tier


def _name(fields: Fields, name: str) -> str:
    text = fields.text(name, max_length=_MAX_NAME)
    if not text:
        raise _malformed(f"{name} is empty")
    return text


def _nonce(fields: Fields) -> str:
    text = fields.text("eat_nonce", max_length=_MAX_NONCE)
    if len(text) < _MIN_NONCE:
        raise _malformed(f"a nonce has at least {_MIN_NONCE} characters")
    return text


def _digest(fields: Fields, name: str) -> bytes:
    try:
        return digest_from_text(fields.text(name, max_length=_MAX_NAME))
    except MalformedError as e:
        raise _malformed(f"{name} is not a digest") from e


def _hex(fields: Fields, name: str) -> bytes:
    text = fields.text(name, max_length=2 * _MAX_MEASUREMENT)
    try:
        data = bytes.fromhex(text)
    except ValueError as e:
        raise _malformed(f"{name} is not hex") from e
    if data.hex() != text:
        raise _malformed(f"{name} is not lower-case hex")
    return data


def _malformed(problem: str) -> MalformedError:
    return MalformedError(problem, code="token.malformed")
