"""Rules one by one."""

from dataclasses import replace

import pytest

from cloister.keyservice.policy.rules import rules
from cloister.testing.policies import (
    VOLUME_ROOTS,
    sample_claims,
    sample_measurement,
    sample_policy,
)


@pytest.mark.spec("POL-61")
def test_rules_come_in_the_order_of_their_numbers() -> None:
    """For a workload that is named, for one that is not, and for a foreign root of trust."""
    cases = [("train", "sim"), ("nobody", "sim"), ("train", "tdx"), ("nobody", "tdx")]
    for workload, root_of_trust in cases:
        claims = replace(sample_claims(), root_of_trust=root_of_trust)
        found = list(
            rules(
                sample_policy(),
                workload,
                claims,
                measurement=sample_measurement(),
                volume_roots=VOLUME_ROOTS,
            )
        )
        numbers = [rule.number for rule in found]
        assert numbers == sorted(numbers)
        assert set(numbers) == set(range(1, 10))


def test_what_cannot_be_judged_comes_after_a_refusal() -> None:
    """So it never decides."""
    claims = replace(sample_claims(), root_of_trust="tdx")
    verdicts = [
        rule.verdict
        for rule in rules(
            sample_policy(),
            "nobody",
            claims,
            measurement=sample_measurement(),
            volume_roots={},
        )
    ]
    assert verdicts[0] == "refused"
    assert verdicts.count("not reached") == 7


def test_a_digest_unlike_any_reference_has_no_nearest() -> None:
    """A guess would mislead."""
    claims = replace(sample_claims(), measurement=bytes(32))
    (rule,) = [
        rule
        for rule in rules(
            sample_policy(),
            "train",
            claims,
            measurement=sample_measurement(),
            volume_roots=VOLUME_ROOTS,
        )
        if rule.verdict == "refused"
    ]
    assert rule.nearest == ""
    assert rule.expected == "sha256:" + "b2" * 32
