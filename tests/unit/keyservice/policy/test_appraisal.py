"""Who is admitted, and by which rule others are refused."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from cloister.attestation.claims import Claims
from cloister.attestation.ear import trustworthiness
from cloister.attestation.measurement import LaunchMeasurement
from cloister.errors import AppraisalError, ReleaseDeniedError
from cloister.keyservice.policy.appraisal import appraise
from cloister.keyservice.policy.canonical import policy_hash
from cloister.keyservice.policy.explain import explain
from cloister.keyservice.policy.model import (
    CodeDigests,
    Policy,
    RootsOfTrust,
    SimRoot,
    Unchecked,
    VolumeRule,
)
from cloister.keyservice.policy.reader import parse_policy
from cloister.testing.policies import (
    CODE_ROOT,
    VOLUME_ROOTS,
    sample_claims,
    sample_measurement,
    sample_policy,
    sample_text,
)


def with_sim(policy: Policy, **changes: object) -> Policy:
    assert policy.roots_of_trust.sim is not None
    sim: SimRoot = replace(policy.roots_of_trust.sim, **changes)
    return replace(policy, roots_of_trust=RootsOfTrust(sim=sim))


@pytest.mark.spec("POL-60")
def test_a_result_lists_what_was_checked_and_is_not_hardware_rooted() -> None:
    """Every rule that held is in the result; simulation says so."""
    policy = sample_policy()
    result = appraise(
        policy, "train", sample_claims(), sample_measurement(), volume_roots=VOLUME_ROOTS
    )
    assert result.policy == policy_hash(policy)
    assert result.workload == "train"
    assert result.hardware_rooted is False
    assert result.not_checked == ()
    assert [hit.rule for hit in result.checked] == [
        "workloads.train",
        "roots_of_trust",
        "roots_of_trust.sim.anchors",
        "roots_of_trust.sim.measurement",
        "roots_of_trust.sim.debug",
        "roots_of_trust.sim.minimum_svn",
        "volumes.code.root",
        "workloads.train.runtime",
        "volumes.code.root",
        "workloads.train.volumes[/data]",
        "workloads.train.volumes[/model]",
    ]
    assert type(result).from_bytes(result.to_bytes()) == result


@pytest.mark.spec("RES-6")
def test_a_result_of_simulation_has_no_claims_besides() -> None:
    """What a simulated platform says besides is nobody's spelling."""
    claims = replace(sample_claims(), vendor={"x": 1})
    result = appraise(
        sample_policy(), "train", claims, sample_measurement(), volume_roots=VOLUME_ROOTS
    )
    assert result.vendor == {}


@pytest.mark.spec("EAR-42")
def test_a_token_for_others_recognises_the_rules_of_a_policy() -> None:
    """The trustworthiness vector finds each rule by the place that appraisals give it."""
    policy = sample_policy()
    claims, measurement = sample_claims(), sample_measurement()
    volumes = {
        name: replace(rule, root="sha256:" + VOLUME_ROOTS[name].hex())
        for name, rule in policy.volumes.items()
        if name in VOLUME_ROOTS
    }
    exact = replace(policy, volumes=policy.volumes | volumes)
    for each, file_system in ((policy, 0), (exact, 2)):
        result = appraise(each, "train", claims, measurement, volume_roots=VOLUME_ROOTS)
        vector = trustworthiness(result)
        assert vector.pop("file-system") == file_system
        assert vector == {
            "instance-identity": 2,
            "configuration": 2,
            "executables": 3,
            "hardware": -33,
            "runtime-opaque": -33,
            "storage-opaque": 0,
            "sourced-data": 0,
        }
    left_out = Unchecked(unchecked="platforms are not versioned here")
    unchecked = with_sim(policy, measurement=left_out)
    result = appraise(unchecked, "train", claims, measurement, volume_roots=VOLUME_ROOTS)
    assert trustworthiness(result)["executables"] == 0


@pytest.mark.spec("POL-59")
def test_what_was_left_out_is_in_the_result_with_its_reason() -> None:
    """An unchecked rule holds, visibly."""
    left_out = Unchecked(unchecked="platforms are not versioned here")
    policy = with_sim(sample_policy(), minimum_svn=left_out, measurement=left_out)
    claims = replace(sample_claims(), security_version=0, measurement=bytes(32))
    result = appraise(policy, "train", claims, sample_measurement(), volume_roots=VOLUME_ROOTS)
    assert [(item.rule, item.reason) for item in result.not_checked] == [
        ("roots_of_trust.sim.measurement", left_out.unchecked),
        ("roots_of_trust.sim.minimum_svn", left_out.unchecked),
    ]


REFUSALS: list[tuple[str, str, Callable[[Claims], Claims], str]] = [
    ("POL-51", "other root of trust",
     lambda c: replace(c, root_of_trust="tdx", hardware_rooted=True),
     "appraisal.root-of-trust"),
    ("POL-51", "simulation that claims hardware", lambda c: replace(c, hardware_rooted=True),
     "appraisal.root-of-trust"),
    ("POL-52", "other platform", lambda c: replace(c, anchor=bytes(32)), "appraisal.root-of-trust"),
    ("POL-53", "other launcher", lambda c: replace(c, measurement=bytes(32)),
     "appraisal.measurement"),
    ("POL-53", "longer digest", lambda c: replace(c, measurement=c.measurement + bytes(16)),
     "appraisal.measurement"),
    ("POL-54", "debug", lambda c: replace(c, debug=True), "appraisal.debug"),
    ("POL-55", "old platform", lambda c: replace(c, security_version=1), "appraisal.svn"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("clause", "what", "change", "code"), REFUSALS, ids=[r[1] for r in REFUSALS]
)
@pytest.mark.spec("POL-51", "POL-52", "POL-53", "POL-54", "POL-55")
def test_an_environment_that_the_policy_does_not_name_is_refused(
    clause: str, what: str, change: Callable[[Claims], Claims], code: str
) -> None:
    """One claim that differs is enough, and the error says rule, expected and found."""
    claims = change(sample_claims())
    with pytest.raises(AppraisalError) as caught:
        appraise(sample_policy(), "train", claims, sample_measurement(), volume_roots=VOLUME_ROOTS)
    error = caught.value
    assert error.code == code
    assert error.rule
    assert error.expected != error.found
    assert not error.retryable


@pytest.mark.spec("POL-51")
def test_an_empty_set_of_roots_of_trust_refuses_everything() -> None:
    """Nothing named is nothing accepted."""
    policy = replace(sample_policy(), roots_of_trust=RootsOfTrust())
    with pytest.raises(AppraisalError) as caught:
        appraise(policy, "train", sample_claims(), sample_measurement(), volume_roots=VOLUME_ROOTS)
    assert caught.value.code == "appraisal.root-of-trust"
    assert "none" in caught.value.expected


@pytest.mark.spec("POL-50")
@pytest.mark.parametrize("name", ["steal", "", "train ", "TRAIN", "a" * 5000, "x\n\x1b[2J"])
def test_a_workload_that_the_policy_does_not_name_is_refused(name: str) -> None:
    """Names are compared exactly; a hostile one does no harm."""
    with pytest.raises(ReleaseDeniedError) as caught:
        appraise(
            sample_policy(), name, sample_claims(), sample_measurement(), volume_roots=VOLUME_ROOTS
        )
    assert caught.value.code == "release.workload-unknown"
    assert "\x1b" not in str(caught.value) + str(caught.value.detail)


@pytest.mark.spec("POL-56", "POL-57")
@pytest.mark.parametrize(
    ("measurement", "code"),
    [
        (LaunchMeasurement(code=bytes(32), runtime=sample_measurement().runtime), "appraisal.code"),
        (LaunchMeasurement(code=CODE_ROOT, runtime=bytes(32)), "appraisal.runtime"),
        (LaunchMeasurement(code=sample_measurement().runtime, runtime=CODE_ROOT), "appraisal.code"),
    ],
)
def test_other_code_or_runtime_is_refused(measurement: LaunchMeasurement, code: str) -> None:
    """What was measured must be what the policy names."""
    with pytest.raises(AppraisalError) as caught:
        appraise(sample_policy(), "train", sample_claims(), measurement, volume_roots=VOLUME_ROOTS)
    assert caught.value.code == code


@pytest.mark.spec("POL-56")
@pytest.mark.parametrize(
    "volumes",
    [
        {},
        {"code": VolumeRule(id="1" * 32, root="latest")},
    ],
)
def test_a_code_volume_without_an_exact_root_is_refused(volumes: dict[str, VolumeRule]) -> None:
    """No state pinned is no code admitted, whatever was measured."""
    policy = replace(sample_policy(), volumes=volumes)
    with pytest.raises(AppraisalError) as caught:
        appraise(policy, "train", sample_claims(), sample_measurement(), volume_roots=VOLUME_ROOTS)
    assert caught.value.code == "appraisal.code"


@pytest.mark.spec("POL-56")
def test_code_in_plain_is_admitted_by_its_digest() -> None:
    """A digest among several is enough; another is refused."""
    policy = sample_policy()
    train = policy.workloads["train"]
    for digests, holds in (((bytes(32), CODE_ROOT), True), ((bytes(32),), False)):
        code = CodeDigests(digests=tuple(f"sha256:{d.hex()}" for d in digests))
        changed = replace(policy, workloads={"train": replace(train, code=code)})
        explanation = explain(
            changed, "train", sample_claims(), sample_measurement(), volume_roots=VOLUME_ROOTS
        )
        assert (explanation.refused_by is None) is holds


@pytest.mark.spec("POL-58")
def test_volumes_must_be_registered_and_in_the_state_asked_for() -> None:
    """An unknown volume and another state are refused, each with its code."""
    roots = dict(VOLUME_ROOTS)
    del roots["data"]
    with pytest.raises(ReleaseDeniedError) as denied:
        appraise(
            sample_policy(), "train", sample_claims(), sample_measurement(), volume_roots=roots
        )
    assert denied.value.code == "release.volume-unknown"
    text = sample_text().replace("root: latest\n", 'root: "sha256:' + "e6" * 32 + '"\n', 1)
    with pytest.raises(AppraisalError) as caught:
        appraise(
            parse_policy(text.encode(), source="x"),
            "train",
            sample_claims(),
            sample_measurement(),
            volume_roots=VOLUME_ROOTS,
        )
    assert caught.value.code == "appraisal.volume-root"
    assert caught.value.rule == "volumes.data.root"


def test_a_workload_gets_no_look_at_volumes_of_others() -> None:
    """Only the volumes of the workload that asks are judged."""
    roots = dict(VOLUME_ROOTS)
    del roots["data"]
    appraise(sample_policy(), "serve", sample_claims(), sample_measurement(), volume_roots=roots)


def test_long_lists_of_references_are_shown_in_part() -> None:
    """A rule's text stays readable and within the limits of a result."""
    many = tuple(f"sha256:{i:064x}" for i in range(64))
    policy = with_sim(sample_policy(), measurement=(*many[:63], "sha256:" + "b2" * 32))
    result = appraise(
        policy, "train", sample_claims(), sample_measurement(), volume_roots=VOLUME_ROOTS
    )
    assert "and 56 more" in result.checked[3].expected
    assert type(result).from_bytes(result.to_bytes()) == result
