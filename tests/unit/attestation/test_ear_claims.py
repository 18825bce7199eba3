"""What an EAR claims-set says."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cloister.attestation.ear_claims import (
    DIALECTS,
    IETF,
    IETF_03,
    TRUST_CLAIMS,
    EarClaims,
    read_claims,
    tier_of,
    worst,
)
from cloister.errors import MalformedError
from cloister.wire.strict_json import write_json

SHARED = Path(os.environ.get("CLOISTER_SHARED", Path(__file__).parents[4] / "shared"))
PUBLIC = SHARED / "vectors" / "ear"
_NO_PUBLIC = pytest.mark.skipif(
    not PUBLIC.is_dir(), reason=f"no public vectors at {PUBLIC}; set CLOISTER_SHARED"
)

FACTS: dict[str, Any] = {
    "version": 1,
    "root_of_trust": "sim",
    "hardware_rooted": False,
    "anchor": "sha256:" + "a" * 64,
    "measurement": "ab",
    "security_version": 0,
    "debug": False,
    "launch": {"code": "sha256:" + "c" * 64, "runtime": "sha256:" + "d" * 64},
    "not_checked": [{"rule": "r", "reason": "because"}],
}
RUN: dict[str, Any] = {
    "ear_status": "warning",
    "ear_trustworthiness_vector": {"hardware": -33},
    "ear_appraisal_policy_ids": ["p"],
    "cloister_appraisal": FACTS,
}
CLAIMS: dict[str, Any] = {
    "eat_profile": IETF.profile,
    "iat": 5,
    "ear_verifier_id": {"developer": "d", "build": "b"},
    "submods": {"train": RUN},
}


def changed(*path: str, to: object) -> bytes:
    """The claims with one place changed; `...` takes it away."""
    value: Any = copy.deepcopy(CLAIMS)
    place = value
    for name in path[:-1]:
        place = place[name]
    if to is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return write_json(value)


def refused(data: bytes) -> str:
    with pytest.raises(MalformedError) as caught:
        read_claims(data)
    return caught.value.code


@pytest.mark.spec("EAR-20", "EAR-31")
def test_claims_are_read() -> None:
    """With what Cloister says besides."""
    found = read_claims(write_json(CLAIMS))
    assert (found.dialect, found.issued_at, found.status) == (IETF, 5, "warning")
    assert (found.expires_at, found.audience, found.issuer, found.nonce) == (None,) * 4
    (run,) = found.appraisals
    assert run.label == "train"
    assert run.policies == ("p",)
    assert run.facts is not None
    assert run.facts.launch.code == b"\xcc" * 32
    assert not found.hardware_rooted


RUN_AT = ("submods", "train")
FACTS_AT = (*RUN_AT, "cloister_appraisal")


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("eat_profile",), "tag:ietf.org,2026:rats/ear#02"),
        (("eat_profile",), ...),
        (("iat",), 5.0),
        (("iat",), True),
        (("iat",), -1),
        (("iat",), ...),
        (("nbf",), "5"),
        (("exp",), None),
        (("iss",), ""),
        (("iss",), "x" * 256),
        (("aud",), ["a"]),
        (("eat_nonce",), "short"),
        (("eat_nonce",), "x" * 89),
        (("eat_nonce",), ["x" * 12, "y" * 12]),
        (("ear_verifier_id",), "d"),
        (("ear_verifier_id", "build"), ...),
        (("ear_status",), 2),
        (("ear_status",), "affirming"),
        (("submods",), []),
        (("submods", ""), RUN),
        (("submods", "x" * 256), RUN),
        (("submods",), {str(n): RUN for n in range(17)}),
        (("submods", "train"), "token"),
        (("ear.status",), "warning"),
        ((*RUN_AT, "ear.status"), "warning"),
        ((*RUN_AT, "ear_status"), "Warning"),
        ((*RUN_AT, "ear_status"), ...),
        ((*RUN_AT, "ear_status"), "affirming"),
        ((*RUN_AT, "ear_appraisal_policy_ids"), []),
        ((*RUN_AT, "ear_appraisal_policy_ids"), "p"),
        ((*RUN_AT, "ear_appraisal_policy_ids"), [1]),
        ((*RUN_AT, "ear_trustworthiness_vector"), []),
        ((*RUN_AT, "ear_trustworthiness_vector"), {"": 2}),
        ((*RUN_AT, "ear_trustworthiness_vector"), {"hardware": 128}),
        ((*RUN_AT, "ear_trustworthiness_vector"), {"hardware": True}),
        ((*RUN_AT, "ear_trustworthiness_vector"), {"hardware": 2.0}),
        ((*RUN_AT, "ear_trustworthiness_vector"), {"hardware": 96}),
        ((*RUN_AT, "ear_trustworthiness_vector"), {"hardware": 2}),
        ((*RUN_AT, "ear_trustworthiness_vector"), {"runtime-opaque": -2}),
        ((*RUN_AT, "ear_trustworthiness_vector"), {str(n): 0 for n in range(33)}),
        (FACTS_AT, None),
        ((*FACTS_AT, "version"), 2),
        ((*FACTS_AT, "version"), True),
        ((*FACTS_AT, "root_of_trust"), ""),
        ((*FACTS_AT, "hardware_rooted"), ...),
        ((*FACTS_AT, "hardware_rooted"), 0),
        ((*FACTS_AT, "hardware_rooted"), True),
        ((*FACTS_AT, "anchor"), "a" * 64),
        ((*FACTS_AT, "measurement"), "AB"),
        ((*FACTS_AT, "measurement"), "a"),
        ((*FACTS_AT, "measurement"), "a b"),
        ((*FACTS_AT, "measurement"), "ab" * 65),
        ((*FACTS_AT, "launch", "code"), "sha256:" + "C" * 64),
        ((*FACTS_AT, "launch", "more"), 1),
        ((*FACTS_AT, "not_checked"), ...),
        ((*FACTS_AT, "not_checked"), ["r"]),
        ((*FACTS_AT, "not_checked"), [{"rule": "r", "reason": "x", "more": 1}]),
        ((*FACTS_AT, "more"), 1),
    ],
)
@pytest.mark.spec(*(f"EAR-{n}" for n in range(20, 35)))
def test_each_claim_has_one_form(path: tuple[str, ...], to: object) -> None:
    """Anything else is malformed, also where a pinned key signed it."""
    assert refused(changed(*path, to=to)) == "token.malformed"


@pytest.mark.spec("EAR-32", "EAR-33", "EAR-34")
def test_a_token_does_not_take_back_what_it_admits() -> None:
    """Affirming wants hardware, every check, and nothing that can be inspected."""
    run = RUN | {"ear_status": "affirming", "ear_trustworthiness_vector": {"hardware": 2}}
    facts = FACTS | {"root_of_trust": "snp", "hardware_rooted": True, "not_checked": []}

    def claims(**changes: object) -> bytes:
        each = run | {"cloister_appraisal": facts | changes}
        return write_json(CLAIMS | {"submods": {"train": each}})

    assert read_claims(claims()).hardware_rooted
    for changes in (
        {"root_of_trust": "sim"},
        {"hardware_rooted": False},
        {"debug": True},
        {"not_checked": FACTS["not_checked"]},
    ):
        assert refused(claims(**changes)) == "token.malformed"


@pytest.mark.spec("EAR-30")
def test_claims_that_nobody_knows_are_ignored() -> None:
    """As the draft wants it; a fraction among them is fine."""
    assert read_claims(changed("jti", to=[1.5])) == read_claims(write_json(CLAIMS))


@pytest.mark.spec("EAR-28", "EAR-29")
def test_tiers() -> None:
    """Every value of 8 bits has one, and the order is that of trust."""
    found = {tier: [] for tier in ("affirming", "warning", "none", "contraindicated")}
    for value in range(-128, 128):
        found[tier_of(value)].append(value)
    assert found["none"] == [-1, 0, 1]
    assert found["affirming"] == [*range(-32, -1), *range(2, 32)]
    assert found["warning"] == [*range(-96, -32), *range(32, 96)]
    assert found["contraindicated"] == [*range(-128, -96), *range(96, 128)]
    assert worst(["affirming", "warning"]) == "warning"
    assert worst(["none", "warning"]) == "none"
    assert worst(["none", "contraindicated"]) == "contraindicated"


@pytest.mark.spec("EAR-35")
def test_what_others_say_of_cloister_s_claim_is_ignored() -> None:
    """Only the IETF profile has it; a token of another profile is never rooted in hardware."""
    for dialect in DIALECTS[2:]:
        run = {dialect.status: "affirming", "cloister_appraisal": {"hardware_rooted": True}}
        verifier = {"developer": "d", "build": "b"}
        claims = {"eat_profile": dialect.profile, "iat": 1, dialect.verifier: verifier}
        found = read_claims(write_json(claims | {"submods": {"a": run}}))
        assert found.appraisals[0].facts is None
        assert not found.hardware_rooted


@pytest.mark.spec("EAR-20", "EAR-31")
def test_both_revisions_of_the_draft_are_read_alike() -> None:
    """What Cloister says besides included; the newer one is written."""
    older = read_claims(write_json(CLAIMS | {"eat_profile": IETF_03.profile}))
    newer = read_claims(write_json(CLAIMS))
    assert older.appraisals == newer.appraisals
    assert (older.dialect, newer.dialect) == (IETF_03, IETF)


@pytest.mark.spec("EAR-27")
def test_tiers_that_are_numbers_in_the_dotted_spelling() -> None:
    """Older writers have them so; the IETF's profile has texts only."""
    for number, tier in ((0, "none"), (2, "affirming"), (32, "warning"), (96, "contraindicated")):
        for dialect in DIALECTS[2:]:
            claims = {
                "eat_profile": dialect.profile,
                "iat": 1,
                dialect.verifier: {"developer": "d", "build": "b"},
                "submods": {"a": {dialect.status: number}},
            }
            assert read_claims(write_json(claims)).status == tier
            for other in (number + 1, True, str(number), None, 2.0):
                bad = claims | {"submods": {"a": {dialect.status: other}}}
                assert refused(write_json(bad)) == "token.malformed"
        assert refused(changed(*RUN_AT, "ear_status", to=number)) == "token.malformed"


def public(name: str) -> EarClaims:
    return read_claims((PUBLIC / name).read_bytes())


@_NO_PUBLIC
@pytest.mark.spec("EAR-20", "EAR-25", "EAR-26", "EAR-27", "EAR-28")
def test_the_drafts_examples_are_read() -> None:
    """The JSON examples of draft-ietf-rats-ear."""
    names = sorted(path.name for path in PUBLIC.glob("draft-*-json-*.diag"))
    assert len(names) >= 4
    for name in names:
        found = public(name)
        assert found.dialect is IETF_03
        assert found.developer == "https://veraison-project.org"
        assert found.appraisals[0].vector["hardware"] == 2
    assert public("draft-ear-json-1.diag").status == "contraindicated"
    assert public("draft-ear-json-2.diag").status == "affirming"


@_NO_PUBLIC
@pytest.mark.spec("EAR-20", "EAR-30")
def test_claims_of_veraison_and_trustee_are_read() -> None:
    """What their own repositories have as examples."""
    names = [path.name for path in PUBLIC.glob("ear-claims*.json")]
    assert len(names) >= 4
    assert {public(name).dialect.name for name in names} == {"veraison"}
    full = public("ear-claims-tv-ok.json").appraisals[0]
    assert set(full.vector) == set(TRUST_CLAIMS)
    trustee = public("coco-trustee-ear-claims.json")
    assert (trustee.dialect.name, trustee.status) == ("trustee", "contraindicated")
    assert trustee.expires_at == trustee.issued_at + 300


@_NO_PUBLIC
def test_the_claims_of_their_tokens_are_read_or_refused() -> None:
    """Older forms, a fraction for a time, and unknown profiles are refused; the rest is read."""
    read = 0
    for sample in json.loads((PUBLIC / "ear-jwt-samples.json").read_text("utf-8")):
        claims = sample["claims"]
        data = json.dumps(claims).encode()
        known = claims.get("eat_profile") in {each.profile for each in DIALECTS}
        if known and type(claims["iat"]) is int:
            assert read_claims(data).appraisals
            read += 1
        else:
            assert refused(data) == "token.malformed"
    assert read >= 4
