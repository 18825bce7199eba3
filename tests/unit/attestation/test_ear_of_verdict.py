"""A verdict as an EAR: what nobody checked affirms nothing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.claims import Claims
from cloister.attestation.ear import VerifiedEar, verify_ear
from cloister.attestation.ear_claims import TRUST_CLAIMS, tier_of
from cloister.attestation.ear_of_verdict import (
    _AFFIRMED_BY,
    issue_verdict_ear,
    verdict_status,
    verdict_trustworthiness,
)
from cloister.attestation.ear_verdict import VerdictFacts
from cloister.attestation.result import NotChecked, RuleHit
from cloister.attestation.verdict import Reason, Verdict
from cloister.crypto.jose import KeySet, TokenSigningKey
from cloister.errors import CloisterError, MalformedError
from cloister.tee.registry import ROOTS_OF_TRUST, by_name

PAGE: Final = (Path(__file__).parents[3] / "docs/spec/ear-v1.md").read_text("utf-8")
KEY: Final = TokenSigningKey.generate("EdDSA")
KEYS: Final = KeySet([KEY.public])
AT, NONCE, POLICY = 1_800_000_000, b"n" * 64, b"p" * 32
KINDS: Final = [root.name for root in ROOTS_OF_TRUST]
REASON: Final = Reason("appraisal.claim", "measurement: MRTD", "aa", "bb")


def claims(kind: str, **changes: Any) -> Claims:
    """What genuine evidence of a kind says."""
    whole = Claims(
        root_of_trust=kind,
        anchor=b"a" * 32,
        hardware_rooted=kind != "sim",
        measurement=b"m" * 48,
        report_data=NONCE,
        debug=False,
        security_version=20260101,
        status="UpToDate",
        advisories=(),
        hardware_id=b"id",
        vendor={"rtmr0": bytes(48), "tcb": {"01": 3}, "features": ["a"], "none": None},
    )
    return dataclasses.replace(whole, **changes)


def accepted(
    kind: str,
    rules: Collection[str] | None = None,
    *,
    left_out: Collection[str] = (),
    **changes: Any,
) -> Verdict:
    """A verdict of which these rules held; all of the kind's, where none are named."""
    root = by_name(kind)
    assert root is not None
    held = [field.path for field in root.fields()] if rules is None else sorted(rules)
    return Verdict(
        accepted=True,
        decided=True,
        status="UpToDate",
        reasons=(),
        checked=tuple(RuleHit(rule, "x", "x") for rule in held),
        not_checked=tuple(NotChecked(rule, "why not") for rule in left_out),
        claims=claims(kind, **changes),
    )


def refused(kind: str, *reasons: Reason, genuine: bool = True) -> Verdict:
    """A verdict that does not accept."""
    return Verdict(
        accepted=False,
        decided=True,
        status="",
        reasons=reasons,
        checked=(),
        not_checked=(),
        claims=claims(kind) if genuine else None,
    )


def issue(verdict: Verdict, kind: str = "tdx", **changes: Any) -> str:
    """Tell a verdict."""
    wanted: dict[str, Any] = {
        "kind": kind,
        "policy": POLICY,
        "key": KEY,
        "issuer": "iss",
        "audience": "rp",
        "nonce": NONCE,
        "at": AT,
        "lifetime_s": 300,
    }
    return issue_verdict_ear(verdict, **(wanted | changes))


def judge(token: str, **changes: Any) -> VerifiedEar:
    """Read it as a relying party that wants all of it."""
    wanted: dict[str, Any] = {
        "jwks": KEYS,
        "audience": "rp",
        "nonce": NONCE,
        "at": AT,
        "accept_simulated": False,
        "at_least": "affirming",
    }
    return verify_ear(token, **(wanted | changes))


@pytest.mark.spec("EAR-45")
def test_a_verdict_is_established_elsewhere() -> None:
    """With every fact of it, claims in the manufacturer's spelling."""
    verdict = accepted("tdx")
    found = judge(issue(verdict))
    assert (found.issued_at, found.hardware_rooted, found.dialect.name) == (AT, True, "ietf")
    (run,) = found.appraisals
    assert (run.label, run.policies) == ("tdx", (f"sha256:{POLICY.hex()}",))
    assert isinstance(run.facts, VerdictFacts)
    assert run.facts.verdict == "accept"
    assert run.facts.claims is not None
    assert run.facts.claims["tcb"] == {"01": 3}
    assert run.facts.claims["rtmr0"] == "00" * 48
    assert run.facts.checked == tuple(hit.rule for hit in verdict.checked)
    record: Any = found.as_record()
    assert record["appraisals"][0]["cloister"]["claims"]["measurement"] == b"m".hex() * 48
    assert judge(issue(verdict, policy=None)).appraisals[0].policies == ()


@pytest.mark.spec("EAR-46")
def test_the_table_of_the_page_is_that_of_the_code() -> None:
    """Kind by kind, and every rule is a claim of its kind."""
    row = re.compile(r"^\| `([a-z-]+)` \|" + 5 * r"([^|]*)\|" + "$", re.MULTILINE)
    columns = ("instance-identity", "configuration", "executables", "hardware", "runtime-opaque")
    listed = {}
    for kind, *cells in row.findall(PAGE):
        rules = [frozenset(re.findall(r"`([^`]+)`", cell)) for cell in cells]
        listed[kind] = {name: each for name, each in zip(columns, rules, strict=True) if each}
    assert listed == _AFFIRMED_BY
    assert set(listed) == set(KINDS)
    for kind, places in _AFFIRMED_BY.items():
        root = by_name(kind)
        assert root is not None
        known = {field.path for field in root.fields()}
        assert {rule for rules in places.values() for rule in rules} <= known, kind


@pytest.mark.spec("EAR-46")
@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_that_was_left_out_affirms_nothing(kind: str) -> None:
    """Each rule of the table is needed for its claim, and for no other."""
    places = _AFFIRMED_BY[kind]
    everything = {rule for rules in places.values() for rule in rules}
    whole = verdict_trustworthiness(accepted(kind), kind)
    assert set(whole) == set(TRUST_CLAIMS)
    for rule in everything:
        left = everything - {rule}
        vector = verdict_trustworthiness(accepted(kind, left, left_out={rule}), kind)
        affirmed = {name for name, value in vector.items() if tier_of(value) == "affirming"}
        assert not affirmed & {name for name, rules in places.items() if rule in rules}
    nothing = verdict_trustworthiness(accepted(kind, {"report_data"}), kind)
    assert not {name for name, value in nothing.items() if tier_of(value) == "affirming"}


@pytest.mark.spec("EAR-46")
@given(st.sampled_from(KINDS), st.data())
def test_no_affirmation_rests_on_what_was_not_checked(kind: str, data: st.DataObject) -> None:
    """Whatever rules held, and whatever stands on both lists."""
    root = by_name(kind)
    assert root is not None
    paths = [field.path for field in root.fields()]
    held = data.draw(st.sets(st.sampled_from(paths), min_size=1))
    open_ = data.draw(st.sets(st.sampled_from(paths)))
    verdict = accepted(kind, held, left_out=open_)
    vector = verdict_trustworthiness(verdict, kind)
    for name, value in vector.items():
        if tier_of(value) == "affirming":
            assert _AFFIRMED_BY[kind][name] <= held - open_
    assert verdict_status(verdict, vector) != "affirming" or not open_
    judge(issue(verdict, kind), accept_simulated=True, at_least="warning")


@pytest.mark.spec("EAR-47")
def test_what_evidence_admits_of_itself() -> None:
    """A version that is out of date, an advisory, debug, no hardware, no encryption."""
    plain = verdict_trustworthiness(accepted("tdx"), "tdx")
    assert plain == {
        "instance-identity": 2,
        "configuration": 2,
        "executables": 3,
        "file-system": 0,
        "hardware": 2,
        "runtime-opaque": 2,
        "storage-opaque": 0,
        "sourced-data": 0,
    }
    for changes, expected in (
        ({"status": "OutOfDate"}, {"hardware": 32}),
        ({"advisories": ("INTEL-SA-00001",)}, {"hardware": 32}),
        ({"debug": True}, {"configuration": 32, "runtime-opaque": -34}),
        ({"hardware_rooted": False}, {"hardware": -33, "runtime-opaque": -33}),
    ):
        verdict = accepted("tdx", **changes)
        assert verdict_trustworthiness(verdict, "tdx") == plain | expected
        with pytest.raises(CloisterError) as caught:
            judge(issue(verdict), accept_simulated=True)
        assert caught.value.code == "token.status"
    assert verdict_trustworthiness(accepted("nitro"), "nitro")["runtime-opaque"] == 32


@pytest.mark.spec("EAR-47", "EAR-48")
def test_a_refusal_is_told_and_never_accepted() -> None:
    """Of genuine evidence by its claim, of others by 99; an open verdict says nothing."""
    by_rule, forged = refused("tdx", REASON), refused("tdx", REASON, genuine=False)
    assert verdict_trustworthiness(by_rule, "tdx")["executables"] == 96
    vector = verdict_trustworthiness(forged, "tdx")
    assert vector == dict.fromkeys(TRUST_CLAIMS, 0) | {"instance-identity": 99}
    stale = dataclasses.replace(forged, decided=False)
    assert set(verdict_trustworthiness(stale, "tdx").values()) == {0}
    for verdict, tier in (
        (by_rule, "contraindicated"),
        (forged, "contraindicated"),
        (stale, "none"),
    ):
        assert verdict_status(verdict, verdict_trustworthiness(verdict, "tdx")) == tier
        with pytest.raises(CloisterError) as caught:
            judge(issue(verdict), accept_simulated=True, at_least="warning")
        assert caught.value.code == "token.status"


@pytest.mark.spec("EAR-48")
def test_affirming_wants_everything() -> None:
    """Hardware, and nothing left out."""
    assert judge(issue(accepted("sgx"), "sgx")).status == "affirming"
    for verdict, kind in (
        (accepted("sgx", left_out={"fmspc"}), "sgx"),
        (accepted("sgx", hardware_rooted=False), "sgx"),
        (accepted("sim"), "sim"),
    ):
        found = judge(issue(verdict, kind), accept_simulated=True, at_least="warning")
        assert found.status == "warning"


def test_simulation_is_not_hardware() -> None:
    """A reader that does not accept it, refuses it by its own code; a lie is not signed."""
    with pytest.raises(CloisterError) as caught:
        judge(issue(accepted("sim"), "sim"), at_least="warning")
    assert caught.value.code == "token.simulated"
    with pytest.raises(MalformedError):
        issue(accepted("sim", hardware_rooted=True), "sim")


@pytest.mark.spec("EAR-44")
@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "vax"},
        {"kind": "sgx"},
        {"nonce": b"short"},
        {"nonce": bytes(65)},
        {"issuer": ""},
        {"audience": "x" * 256},
        {"lifetime_s": 0},
        {"lifetime_s": 86401},
        {"issuer": "\ud800"},
    ],
)
def test_what_readers_refuse_is_not_signed(changes: dict[str, Any]) -> None:
    """By its own code."""
    with pytest.raises(MalformedError) as caught:
        issue(accepted("tdx"), **changes)
    assert caught.value.code == "token.malformed"


def test_claims_beyond_bounds_are_not_signed() -> None:
    """A token holds so much and no more."""
    with pytest.raises(MalformedError):
        issue(accepted("tdx", vendor={"long": bytes(40000)}))
    with pytest.raises(MalformedError):
        issue(accepted("tdx", vendor={str(n): n for n in range(600)}))
