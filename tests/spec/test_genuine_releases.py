"""Genuine evidence of processors before the rules of a release, at the instants of each sample.

A sample was made for another request, so no release can be granted by it: it is found genuine, and
then refused for whom it was made. What the rules say of it is asked of them directly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.evidence import Endorsement, Evidence
from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult
from cloister.errors import AppraisalError, CloisterError
from cloister.keyservice.messages import ReleaseRequest
from cloister.keyservice.policy import Policy, canonical_bytes, parse_policy, policy_hash
from cloister.keyservice.policy.appraisal import appraise
from cloister.keyservice.records import PolicyRecord, Records, VolumeRecord
from cloister.keyservice.session import decide
from cloister.tee.registry import by_media_type
from cloister.tee.snp.endorsements import CERTIFICATE_TYPE, CHAIN_TYPE, LIST_TYPE
from cloister.testing.genuine import section
from cloister.testing.policies import (
    VOLUME_ROOTS,
    sample_measurement,
    sample_text,
)
from evidence_samples import folder, instant, load

ANY: Final = "{unchecked: whatever this sample says}"
_TIMELESS: Final = {CERTIFICATE_TYPE, CHAIN_TYPE}
NOBODY: Final = "sha256:" + "a1" * 32
Case = tuple[str, Evidence, list[Endorsement], int, str]


def intel(kind: str) -> list[Case]:
    """Every quote of a kind whose first check finds it genuine."""
    found: list[Case] = []
    for path in sorted(folder(kind).glob("**/sample.json")):
        facts = load(path)
        check = facts["checks"][0] if facts["checks"] else None
        if check is None or path.parent.name == "coco-v4-sandbox-root":
            continue
        if check["expect"]["tcb_status"] == "NoMatchingTcbLevel":
            continue
        quote = (path.parent / facts["quote_file"]).read_bytes()
        collateral = (path.parent / check["collateral"]).read_bytes()
        given = [Endorsement("application/vnd.cloister.intel-collateral+json", collateral)]
        evidence = Evidence(f"application/vnd.cloister.{kind}", quote)
        at = instant(check["verify_at"])
        found.append((path.parent.name, evidence, given, at, check["expect"]["tcb_status"]))
    return found


def amd() -> list[Case]:
    """Every report at its first instant."""
    found: list[Case] = []
    for path in sorted(folder("snp").glob("*/sample.json")):
        facts = load(path)
        check, here = facts["checks"][0], path.parent
        given = [
            Endorsement(CERTIFICATE_TYPE, (here / facts["certificates"]["leaf"]).read_bytes()),
            Endorsement(CHAIN_TYPE, (here / facts["certificates"]["chain"]).read_bytes()),
        ]
        if "crl" in check:
            given.append(Endorsement(LIST_TYPE, (here / check["crl"]).read_bytes()))
        report = Evidence(
            "application/vnd.cloister.snp", (here / facts["report_file"]).read_bytes()
        )
        found.append((here.name, report, given, instant(check["verify_at"]), ""))
    return found


def cases(kind: str) -> list[Case]:
    """All samples of a kind; none of them being there is a skip, said aloud."""
    return amd() if kind == "snp" else intel(kind)


def policy_of(kind: str, claims: Claims, *, anchor: str = "manufacturer", **rules: str) -> Policy:
    """A policy that accepts exactly this sample, unless rules say otherwise."""
    root = by_media_type(f"application/vnd.cloister.{kind}")
    required = {field.path: ANY for field in root.fields() if field.required}
    required.pop("report_data")
    required["debug"] = "{one_of: [set]}" if claims.debug else "{one_of: [clear]}"
    required["measurement"] = f'{{one_of: ["{claims.measurement.hex()}"]}}'
    if claims.status:
        required["status"] = f"{{one_of: [{claims.status}]}}"
    part = section(kind, anchors=[anchor], measurement=b"", claims=required | rules)
    before, _, rest = sample_text().partition("roots_of_trust:\n")
    text = f"{before}roots_of_trust:\n{part}\n" + rest[rest.index("\n\n") :]
    return parse_policy(text.encode(), source="policy.yaml")


class OnePolicy(Records):
    """A state with one policy in force, and no volume."""

    def __init__(self, policy: Policy) -> None:
        canonical = canonical_bytes(policy)
        self.record = PolicyRecord(
            policy_hash(policy), canonical, "clinic", "digits", current=True, at=0
        )

    def policy(self, digest: bytes) -> PolicyRecord | None:
        return self.record if digest == self.record.hash else None

    def current_policy(self, namespace: str, name: str) -> PolicyRecord | None:
        del namespace, name
        return self.record

    def governor(self, namespace: str) -> str:
        return namespace

    def volume_in(self, volume_id: bytes, governor: str) -> VolumeRecord | None:
        del volume_id, governor
        return None


def genuine(case: Case, own: Sequence[Endorsement] = ()) -> Claims:
    """What the sample says, as a release finds it: with endorsements of the service's own."""
    _, evidence, given, at, _ = case
    root = by_media_type(evidence.media_type)
    verifier = root.verifier(sorted(root.manufacturer_roots()))
    return verifier.verify(evidence, root.choose(evidence, tuple(given), own), at=at)


def code_of(
    case: Case, policy: Policy, *, endorsements: Sequence[Endorsement] | None = None
) -> str:
    """The code by which a release with this sample is refused."""
    _, evidence, given, at, _ = case
    request = ReleaseRequest(
        service=b"s" * 32,
        nonce=b"n" * 32,
        policy=policy_hash(policy),
        workload="train",
        instance="run-1",
        hpke_key=b"h" * 1216,
        certificate_request=b"csr",
        measurement=LaunchMeasurement(b"c" * 32, b"r" * 32),
        evidence=evidence,
        endorsements=tuple(given if endorsements is None else endorsements),
    )
    again = ReleaseRequest.from_bytes(request.to_bytes())  # it fits the protocol
    with pytest.raises(CloisterError) as e:
        decide(again, records=OnePolicy(policy), own=(), at=at)
    return e.value.code


@pytest.mark.parametrize("kind", ["tdx", "sgx", "snp"])
@pytest.mark.spec("KR-24", "KR-25")
def test_a_genuine_sample_is_refused_for_whom_it_was_made(kind: str) -> None:
    """It is genuine by the manufacturer's pinned root, and by nobody else's."""
    found = cases(kind)
    assert found
    for case in found:
        claims = genuine(case)
        assert code_of(case, policy_of(kind, claims)) == "evidence.binding", case[0]
        assert code_of(case, policy_of(kind, claims, anchor=NOBODY)) == "endorsement.anchor", case[
            0
        ]
        missing = code_of(case, policy_of(kind, claims), endorsements=())
        assert missing == "endorsement.missing", case[0]


@pytest.mark.parametrize("kind", ["tdx", "sgx", "snp"])
@pytest.mark.spec("POL-62", "POL-63")
def test_the_rules_about_a_genuine_sample(kind: str) -> None:
    """A policy that names what it says accepts it as hardware; any other value is refused."""
    wrong: Mapping[str, tuple[str, str]] = {
        "measurement": ('{one_of: ["00"]}', "appraisal.measurement"),
        "hardware_id": ('{one_of: ["00"]}', "appraisal.claim"),
        "security_version": ("{at_least: 99999999}", "appraisal.claim"),
    }

    def result_of(policy: Policy, claims: Claims) -> AttestationResult:
        return appraise(policy, "train", claims, sample_measurement(), volume_roots=VOLUME_ROOTS)

    for case in cases(kind):
        claims = genuine(case)
        result = result_of(policy_of(kind, claims), claims)
        assert (result.root_of_trust, result.hardware_rooted) == (kind, True), case[0]
        assert AttestationResult.from_bytes(result.to_bytes()) == result
        for claim, (rule, code) in wrong.items():
            with pytest.raises(AppraisalError) as e:
                result_of(policy_of(kind, claims, **{claim: rule}), claims)
            assert (e.value.code, e.value.rule) == (code, f"roots_of_trust.{kind}.claims.{claim}")
        other = "{one_of: [clear]}" if claims.debug else "{one_of: [set]}"
        with pytest.raises(AppraisalError) as e:
            result_of(policy_of(kind, claims, debug=other), claims)
        assert e.value.code == "appraisal.debug"


def test_the_samples_differ_in_what_a_release_asks() -> None:
    """Among them are machines that are up to date and others, and some in debug mode."""
    found = [genuine(case) for kind in ("tdx", "sgx", "snp") for case in cases(kind)]
    assert {True, False} == {claims.debug for claims in found}
    assert len({claims.status for claims in found}) > 2


@pytest.mark.parametrize("kind", ["tdx", "sgx", "snp"])
@pytest.mark.spec("INTEL-19", "SNP-19", "KR-100")
def test_genuine_endorsements_that_the_service_has_do_as_well(kind: str) -> None:
    """What did not come along is found among everybody's, by what it is about."""
    own = {each.body: each for case in cases(kind) for each in case[2]}
    for case in cases(kind):
        name, evidence, given, at, _ = case
        # Of one platform there may be statements of several times: those of the sample's own.
        others = [each for each in own.values() if each.media_type in _TIMELESS or each in given]
        assert genuine((name, evidence, [], at, ""), others) == genuine(case), name
