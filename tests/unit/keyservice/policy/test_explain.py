"""Explanations show every rule."""

from dataclasses import replace

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.errors import AppraisalError, CloisterError
from cloister.keyservice.policy.appraisal import appraise
from cloister.keyservice.policy.explain import RuleChange, explain, rule_changes
from cloister.testing.policies import (
    CODE_ROOT,
    VOLUME_ROOTS,
    sample_claims,
    sample_measurement,
    sample_policy,
)


@pytest.mark.spec("POL-61")
def test_an_explanation_judges_every_rule() -> None:
    """With three rules broken, all three are shown, and the first is the one that refuses."""
    claims = replace(sample_claims(), debug=True, security_version=0)
    measurement = LaunchMeasurement(code=CODE_ROOT, runtime=bytes(32))
    shown = explain(sample_policy(), "train", claims, measurement, volume_roots=VOLUME_ROOTS)
    refused = [rule.code for rule in shown.rules if rule.verdict == "refused"]
    assert refused == ["appraisal.debug", "appraisal.svn", "appraisal.runtime"]
    record = shown.as_record()
    assert record["refused"] is True
    assert record["code"] == "appraisal.debug"
    with pytest.raises(CloisterError) as caught:
        appraise(sample_policy(), "train", claims, measurement, volume_roots=VOLUME_ROOTS)
    assert caught.value.code == refused[0]


@pytest.mark.spec("POL-61")
def test_an_explanation_names_the_nearest_reference() -> None:
    """A digest with one wrong digit is recognised as a typing mistake."""
    almost = bytes.fromhex("b2" * 31 + "b3")
    claims = replace(sample_claims(), measurement=almost)
    shown = explain(
        sample_policy(), "train", claims, sample_measurement(), volume_roots=VOLUME_ROOTS
    )
    assert shown.refused_by is not None
    assert shown.refused_by.nearest == "sha256:" + "b2" * 32
    with pytest.raises(AppraisalError) as caught:
        appraise(sample_policy(), "train", claims, sample_measurement(), volume_roots=VOLUME_ROOTS)
    assert caught.value.hint == f"it nearly is sha256:{'b2' * 32}"


@pytest.mark.spec("POL-58", "POL-60", "POL-61")
def test_a_volume_is_judged_once_however_often_it_is_used() -> None:
    """The sample's code volume is mounted too: step 9 shows its root once, and so does a result."""
    arguments = (sample_policy(), "train", sample_claims(), sample_measurement())
    shown = explain(*arguments, volume_roots=VOLUME_ROOTS)
    judged = [(rule.number, rule.path) for rule in shown.rules if rule.number == 9]
    assert judged == [
        (9, "volumes.code.root"),
        (9, "workloads.train.volumes[/data]"),
        (9, "workloads.train.volumes[/model]"),
    ]
    result = appraise(*arguments, volume_roots=VOLUME_ROOTS)
    held = [hit.rule for hit in result.checked]
    assert held == [rule.path for rule in shown.rules]
    assert held.count("volumes.code.root") == 2  # step 7 the measured state, step 9 the anchored


@pytest.mark.spec("POL-58", "POL-61")
def test_an_unregistered_code_volume_is_shown_once() -> None:
    """At its first use, as code."""
    roots = {name: root for name, root in VOLUME_ROOTS.items() if name != "code"}
    shown = explain(
        sample_policy(), "train", sample_claims(), sample_measurement(), volume_roots=roots
    )
    refused = [(rule.path, rule.code) for rule in shown.rules if rule.verdict == "refused"]
    assert refused == [("workloads.train.code.volume", "release.volume-unknown")]


@pytest.mark.spec("POL-64")
def test_two_policies_differ_about_one_machine() -> None:
    """In verdicts, and in rules that only one of them has."""
    policy, claims = sample_policy(), replace(sample_claims(), debug=True)
    shown = explain(policy, "train", claims, sample_measurement(), volume_roots=VOLUME_ROOTS)
    healthy = explain(
        policy, "train", sample_claims(), sample_measurement(), volume_roots=VOLUME_ROOTS
    )
    assert rule_changes(shown, healthy) == (
        RuleChange("roots_of_trust.sim.debug", "refused", "holds"),
    )
    assert rule_changes(shown, shown) == ()
    shorter = replace(healthy, rules=healthy.rules[1:])
    gone = healthy.rules[0]
    assert rule_changes(healthy, shorter) == (RuleChange(gone.path, gone.verdict, "absent"),)
    assert rule_changes(shorter, healthy) == (RuleChange(gone.path, "absent", gone.verdict),)
