"""EAR tokens for other relying parties."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

import pytest

from cloister import __version__
from cloister.attestation.ear import ear_claims, issue_ear, trustworthiness, verify_ear
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult, NotChecked, RuleHit
from cloister.crypto.digest import digest_to_text
from cloister.crypto.jose import KeySet, TokenSigningKey, sign_compact, to_base64url
from cloister.errors import AppraisalError, CallerError, CloisterError, MalformedError
from cloister.wire.strict_json import write_json

KEY = TokenSigningKey.generate("ES256")
KEYS = KeySet([KEY.public])
AT, NONCE = 1_800_000_000, b"n" * 16
CODE, RUNTIME = b"c" * 32, b"r" * 32


def hit(rule: str, found: str = "yes", expected: str = "x") -> RuleHit:
    return RuleHit(rule, expected, found)


RULES = (
    hit("workloads.train"),
    hit("roots_of_trust"),
    hit("roots_of_trust.sim.anchors"),
    hit("roots_of_trust.sim.measurement"),
    hit("roots_of_trust.sim.debug"),
    hit("roots_of_trust.sim.minimum_svn"),
    hit("workloads.train.code.digests"),
    hit("workloads.train.runtime"),
    hit("volumes.data.root"),
)
RESULT = AttestationResult(
    policy=b"p" * 32,
    workload="train",
    root_of_trust="sim",
    hardware_rooted=False,
    anchor=b"a" * 32,
    measurement=b"m" * 48,
    security_version=3,
    debug=False,
    launch=LaunchMeasurement(CODE, RUNTIME),
    checked=RULES,
    not_checked=(),
)
HARDWARE = dataclasses.replace(
    RESULT,
    root_of_trust="snp",
    hardware_rooted=True,
    checked=tuple(hit(each.rule.replace(".sim.", ".snp.")) for each in RULES),
)
LEFT_OUT = (NotChecked("workloads.train.runtime", "changes daily"),)


def without(result: AttestationResult, ending: str) -> AttestationResult:
    kept = tuple(each for each in result.checked if not each.rule.endswith(ending))
    assert len(kept) == len(result.checked) - 1
    return dataclasses.replace(result, checked=kept, not_checked=(NotChecked("x", "y"),))


def issue(result: AttestationResult = RESULT, **changes: Any) -> str:
    wanted: dict[str, Any] = {
        "key": KEY,
        "issuer": "iss",
        "audience": "rp",
        "nonce": NONCE,
        "at": AT,
        "lifetime_s": 300,
    }
    return issue_ear(result, **(wanted | changes))


def judge(token: str, **changes: Any) -> Any:
    wanted: dict[str, Any] = {
        "jwks": KEYS,
        "audience": "rp",
        "nonce": NONCE,
        "at": AT,
        "accept_simulated": True,
        "at_least": "warning",
    }
    return verify_ear(token, **(wanted | changes))


def refused(token: str, **changes: Any) -> str:
    with pytest.raises(CloisterError) as caught:
        judge(token, **changes)
    return caught.value.code


@pytest.mark.spec("EAR-40", "EAR-41", "EAR-44")
def test_what_was_issued_is_established() -> None:
    """Every fact of the result that the page has, and who said so."""
    found = judge(issue())
    assert (found.issuer, found.kid) == ("iss", KEY.public.kid)
    assert (found.issued_at, found.expires_at) == (AT, AT + 300)
    assert (found.developer, found.build) == ("Cloister", f"cloister {__version__}")
    (run,) = found.appraisals
    assert run.label == "train"
    assert run.policies == (digest_to_text(RESULT.policy),)
    facts = run.facts
    for name in ("root_of_trust", "hardware_rooted", "anchor", "measurement", "debug", "launch"):
        assert getattr(facts, name) == getattr(RESULT, name)
    assert facts.security_version == 3
    record = json.loads(json.dumps(found.as_record()))
    assert record["hardware_rooted"] is False
    assert record["appraisals"][0]["cloister"]["launch"]["code"] == digest_to_text(CODE)


@pytest.mark.spec("EAR-43")
def test_simulation_is_unmistakable() -> None:
    """In the status, in the vector and by name, whatever the policy checked."""
    claims = ear_claims(RESULT, issuer="i", audience="a", nonce=NONCE, at=AT, lifetime_s=1)
    run = claims["submods"]["train"]
    assert run["ear_status"] == "warning"
    assert run["ear_trustworthiness_vector"]["hardware"] == -33
    assert run["ear_trustworthiness_vector"]["runtime-opaque"] == -33
    assert run["cloister_appraisal"]["hardware_rooted"] is False
    assert run["cloister_appraisal"]["root_of_trust"] == "sim"
    assert not judge(issue()).hardware_rooted


@pytest.mark.spec("EAR-32", "EAR-44")
def test_simulation_that_calls_itself_hardware_is_not_signed() -> None:
    """Also where the result says so."""
    with pytest.raises(MalformedError) as caught:
        issue(dataclasses.replace(RESULT, hardware_rooted=True))
    assert caught.value.code == "token.malformed"


@pytest.mark.spec("EAR-43")
def test_affirming_wants_hardware_and_every_check() -> None:
    """A check that was left out, or a debug mode, makes it a warning."""
    assert judge(issue(HARDWARE), accept_simulated=False, at_least="affirming").hardware_rooted
    for result in (
        RESULT,
        dataclasses.replace(HARDWARE, not_checked=LEFT_OUT),
        dataclasses.replace(HARDWARE, debug=True),
    ):
        assert judge(issue(result)).status == "warning"
        assert refused(issue(result), at_least="affirming") == "token.status"


@pytest.mark.spec("EAR-42")
def test_the_vector_affirms_what_was_checked() -> None:
    """All of it, by hardware and in simulation."""
    affirmed = {
        "instance-identity": 2,
        "configuration": 2,
        "executables": 3,
        "file-system": 2,
        "hardware": 2,
        "runtime-opaque": 2,
        "storage-opaque": 0,
        "sourced-data": 0,
    }
    assert trustworthiness(HARDWARE) == affirmed
    assert trustworthiness(RESULT) == affirmed | {"hardware": -33, "runtime-opaque": -33}


@pytest.mark.parametrize(
    ("ending", "lost"),
    [
        (".anchors", {"instance-identity"}),
        (".measurement", {"executables"}),
        (".debug", {"configuration", "runtime-opaque"}),
        (".minimum_svn", {"hardware"}),
        (".digests", {"executables"}),
        (".runtime", {"executables"}),
        (".root", {"file-system"}),
    ],
)
@pytest.mark.spec("EAR-42")
def test_a_rule_that_was_left_out_affirms_nothing(ending: str, lost: set[str]) -> None:
    """And takes nothing else with it."""
    whole, found = trustworthiness(HARDWARE), trustworthiness(without(HARDWARE, ending))
    assert {name for name in whole if whole[name] != found[name]} == lost
    assert all(found[name] == 0 for name in lost)


@pytest.mark.spec("EAR-42")
def test_what_can_be_inspected_is_a_warning() -> None:
    """By hardware that says so itself."""
    found = trustworthiness(dataclasses.replace(HARDWARE, debug=True))
    assert (found["configuration"], found["runtime-opaque"]) == (32, -34)


@pytest.mark.spec("EAR-42")
def test_code_on_a_volume_and_volumes_at_any_state() -> None:
    """A volume's root stands for code where it is the code; `latest` affirms no file."""
    code = hit("volumes.code.root", found=digest_to_text(CODE))
    latest = hit("workloads.train.volumes[/data]", expected="latest")
    rules = tuple(each for each in HARDWARE.checked if not each.rule.endswith(".digests"))
    on_volume = dataclasses.replace(HARDWARE, checked=(*rules, code))
    assert trustworthiness(on_volume)["executables"] == 3
    assert trustworthiness(on_volume)["file-system"] == 2
    any_state = dataclasses.replace(HARDWARE, checked=(*HARDWARE.checked, latest))
    assert trustworthiness(any_state)["file-system"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": b"n" * 7},
        {"nonce": b"n" * 65},
        {"issuer": ""},
        {"audience": ""},
        {"audience": "x" * 256},
        {"audience": "\ud800"},
        {"lifetime_s": 0},
        {"lifetime_s": 86401},
        {"at": -1},
    ],
)
@pytest.mark.spec("EAR-41", "EAR-44")
def test_what_a_reader_would_refuse_is_not_signed(changes: dict[str, Any]) -> None:
    """Audience and nonce come from somebody else."""
    with pytest.raises(MalformedError) as caught:
        issue(**changes)
    assert caught.value.code == "token.malformed"


def test_a_result_without_a_workload_is_not_signed() -> None:
    """The label of a submod has a character."""
    with pytest.raises(MalformedError) as caught:
        issue(dataclasses.replace(RESULT, workload=""))
    assert caught.value.code == "token.malformed"


def test_a_result_too_large_for_a_token_is_not_signed() -> None:
    """A thousand long reasons fit in a result, and not in a token."""
    many = tuple(NotChecked("r", "x" * 4000) for _ in range(100))
    with pytest.raises(MalformedError) as caught:
        issue(dataclasses.replace(RESULT, not_checked=many))
    assert caught.value.code == "wire.too-large"


@pytest.mark.spec("EAR-50")
def test_nothing_is_optional() -> None:
    """Whoever forgets a check gets no answer."""
    parameters = list(inspect.signature(verify_ear).parameters.values())
    assert [each.name for each in parameters] == [
        "token",
        "jwks",
        "audience",
        "nonce",
        "at",
        "accept_simulated",
        "at_least",
    ]
    assert all(each.default is inspect.Parameter.empty for each in parameters)


@pytest.mark.spec("EAR-53")
def test_time_is_judged_to_the_second() -> None:
    """Good until just before its end, and 60 seconds before its beginning."""
    token = issue()
    for at in (AT - 60, AT, AT + 299):
        assert judge(token, at=at)
    for at in (AT - 61, AT + 300, AT + 9999):
        assert refused(token, at=at) == "token.expired"


@pytest.mark.spec("EAR-54", "EAR-55")
def test_another_audience_and_another_nonce() -> None:
    """Each has its own code; nothing shorter or longer passes."""
    for audience in ("", "r", "rp2", "RP", "rp/"):
        assert refused(issue(), audience=audience) == "token.audience"
    for nonce in (b"m" * 16, b"n" * 15, b"n" * 17):
        assert refused(issue(), nonce=nonce) == "token.nonce"


def test_a_reader_without_a_nonce_is_told_so() -> None:
    """That is not the token's fault."""
    for nonce in (b"", b"n" * 7, b"n" * 65):
        with pytest.raises(CallerError) as caught:
            judge(issue(), nonce=nonce)
        assert caught.value.code == "caller.misuse"


@pytest.mark.spec("EAR-56")
def test_simulation_counts_only_where_the_reader_says_so() -> None:
    """The error names the root of trust."""
    with pytest.raises(AppraisalError) as caught:
        judge(issue(), accept_simulated=False)
    assert caught.value.code == "token.simulated"
    assert caught.value.found == "false, by sim"


@pytest.mark.spec("EAR-51", "EAR-5")
def test_a_token_of_a_profile_has_its_type() -> None:
    """The IETF's claims under the type of the others are refused."""
    claims = ear_claims(RESULT, issuer="iss", audience="rp", nonce=NONCE, at=AT, lifetime_s=9)
    assert refused(sign_compact(write_json(claims), key=KEY, typ="JWT")) == "token.malformed"
    assert judge(sign_compact(write_json(claims), key=KEY, typ="eat+jwt"))


@pytest.mark.parametrize("missing", ["iss", "aud", "exp", "eat_nonce"])
@pytest.mark.spec("EAR-51")
def test_a_token_for_relying_parties_is_complete(missing: str) -> None:
    """What is judged is there."""
    claims = ear_claims(RESULT, issuer="iss", audience="rp", nonce=NONCE, at=AT, lifetime_s=9)
    del claims[missing]
    token = sign_compact(write_json(claims), key=KEY, typ="eat+jwt")
    assert refused(token) == "token.malformed"


@pytest.mark.spec("EAR-55")
def test_nonces_of_other_issuers_are_recognised() -> None:
    """Padded, and in the other alphabet."""
    nonce = b"\xfb\xff" * 8
    claims = ear_claims(RESULT, issuer="iss", audience="rp", nonce=nonce, at=AT, lifetime_s=9)
    for text in (to_base64url(nonce), "-__7__v_-__7__v_-__7_w==", "+//7//v/+//7//v/+//7/w=="):
        token = sign_compact(write_json(claims | {"eat_nonce": text}), key=KEY, typ="eat+jwt")
        assert judge(token, nonce=nonce)


def test_a_foreign_appraisal_has_no_facts_of_ours() -> None:
    """It is read, and shown without them."""
    claims = {
        "eat_profile": "tag:github.com,2023:veraison/ear",
        "iss": "iss",
        "aud": "rp",
        "iat": AT,
        "exp": AT + 9,
        "eat_nonce": to_base64url(NONCE),
        "ear.verifier-id": {"developer": "d", "build": "b"},
        "submods": {"PSA": {"ear.status": "affirming"}},
    }
    token = sign_compact(write_json(claims), key=KEY, typ="JWT")
    record: Any = judge(token).as_record()
    assert record["appraisals"][0]["cloister"] is None
    with pytest.raises(AppraisalError) as caught:
        judge(token, accept_simulated=False)
    assert caught.value.found == "not said"


def genuine(kind: str, *claims: str) -> AttestationResult:
    """A result by a policy with a section about a kind, in which these claims were checked."""
    place = f"roots_of_trust.{kind}"
    paths = [
        f"{place}.claims[{claim}]" if "." in claim else f"{place}.claims.{claim}"
        for claim in claims
    ]
    kept = [each.rule for each in RULES if ".sim." not in each.rule]
    checked = tuple(hit(rule) for rule in [*kept, f"{place}.anchors", *paths])
    return dataclasses.replace(HARDWARE, root_of_trust=kind, checked=checked)


@pytest.mark.spec("EAR-42")
@pytest.mark.parametrize(
    ("kind", "claims", "executables", "hardware"),
    [
        ("snp", ["measurement", "debug", "reported_tcb"], 3, 2),
        ("snp", ["measurement", "debug"], 3, 0),
        ("snp", ["debug", "reported_tcb"], 0, 2),
        ("sgx", ["measurement", "debug", "status"], 3, 2),
        ("tdx", ["measurement", "rtmr1", "rtmr2", "debug", "status"], 3, 2),
        ("tdx", ["measurement", "rtmr1", "debug", "status"], 0, 2),
        ("tdx", ["measurement", "debug", "advisories"], 0, 0),
        ("azure-snp", ["measurement", "debug", "snp.reported_tcb"], 0, 2),
        ("nitro", ["measurement", "debug"], 3, 0),
    ],
)
def test_the_vector_of_genuine_evidence_affirms_what_its_section_checked(
    kind: str, claims: list[str], executables: int, hardware: int
) -> None:
    """Firmware alone is not the launcher's image."""
    vector = trustworthiness(genuine(kind, *claims))
    assert vector["instance-identity"] == 2
    assert (vector["executables"], vector["hardware"]) == (executables, hardware)
    assert vector["configuration"] == (2 if "debug" in claims else 0)
    assert vector["runtime-opaque"] == (2 if "debug" in claims else 0)
