"""Which changes of rules for evidence let more happen."""

from __future__ import annotations

import time

import pytest

from cloister.keyservice.policy import parse_policy
from cloister.keyservice.policy.difference import compare
from cloister.keyservice.policy.difference_claims import claim_of
from cloister.testing.genuine import section, with_gpus
from cloister.testing.policies import sample_text

ANCHOR = "sha256:" + "a1" * 32
OTHER = "sha256:" + "a2" * 32
LEFT_OUT = "{unchecked: a reason that is long}"


def effects(old: str, new: str) -> list[str]:
    """The effects between the sample with one section and with another."""
    policies = []
    for part in (old, new):
        before, mark, after = sample_text().partition("# Sealed")
        text = before.rstrip() + "\n" + part + "\n" + mark + after
        policies.append(parse_policy(text.encode(), source="p"))
    return sorted(change.effect for change in compare(*policies))


def with_rule(claim: str, rule: str) -> str:
    """A section of SNP with one rule otherwise; an empty one leaves it out."""
    return section("snp", anchors=[ANCHOR], measurement=b"m", claims={claim: rule})


@pytest.mark.parametrize(
    ("claim", "old", "new", "expected"),
    [
        ("vmpl", "{one_of: [0]}", "{one_of: [0]}", []),
        ("vmpl", "{one_of: [0]}", "{one_of: [0, 1]}", ["weaker"]),
        ("vmpl", "{one_of: [0, 1]}", "{one_of: [0]}", ["stricter"]),
        ("vmpl", "{one_of: [0]}", LEFT_OUT, ["weaker", "weaker"]),
        ("vmpl", LEFT_OUT, "{one_of: [0]}", ["stricter", "stricter"]),
        ("vmpl", LEFT_OUT, "{unchecked: another reason}", ["other"]),
        ("vmpl", "{at_least: 1}", "{at_least: 2}", ["stricter"]),
        ("vmpl", "{at_least: 2}", "{at_least: 1}", ["weaker"]),
        ("vmpl", "{at_least: 2}", "{one_of: [2]}", ["weaker", "weaker"]),
        ("reported_tcb", "{at_least: {snp: 2}}", "{at_least: {snp: 3}}", ["stricter"]),
        ("reported_tcb", "{at_least: {snp: 2}}", "{at_least: {snp: 2, tee: 0}}", ["stricter"]),
        ("reported_tcb", "{at_least: {snp: 2, tee: 0}}", "{at_least: {snp: 2}}", ["weaker"]),
        ("policy.smt", "", "{one_of: [clear]}", ["stricter"]),
        ("policy.smt", "{one_of: [clear]}", "", ["weaker"]),
        ("policy.smt", "", LEFT_OUT, ["other"]),
        ("advisories", "{within: [B]}", "{within: [A, B]}", ["weaker"]),
        ("advisories", "{within: []}", "{within: [A]}", ["weaker", "weaker"]),
        ("advisories", "{within: [A]}", "{within: []}", ["stricter", "stricter"]),
        ("advisories", "{within: []}", LEFT_OUT, ["weaker", "weaker"]),
        ("advisories", LEFT_OUT, "{within: []}", ["stricter", "stricter"]),
    ],
)
def test_each_change_of_a_rule(claim: str, old: str, new: str, expected: list[str]) -> None:
    """What is not known to be stricter or neutral is weaker."""
    assert effects(with_rule(claim, old), with_rule(claim, new)) == expected


def test_a_kind_that_comes_or_goes() -> None:
    """Each of its rules with it, whatever it asks for."""
    part = with_rule("vmpl", "{one_of: [0]}")
    assert set(effects("", part)) == {"weaker"}
    assert set(effects(part, "")) == {"stricter"}


def test_accelerators_that_are_asked_for_as_well_are_stricter() -> None:
    """And no longer asking for them is weaker; with their processor they come and go like it."""
    alone = with_rule("vmpl", "{one_of: [0]}")
    both = with_gpus(alone, [ANCHOR])
    assert set(effects(alone, both)) == {"stricter"}
    assert set(effects(both, alone)) == {"weaker"}
    assert set(effects("", both)) == {"weaker"}
    assert set(effects(both, "")) == {"stricter"}
    loose = with_gpus(alone, [ANCHOR, OTHER], {"measres": LEFT_OUT})
    assert effects(both, loose) == ["weaker"] * 3
    assert effects(loose, both) == ["stricter"] * 3


def test_another_root_is_weaker() -> None:
    """And one root less is stricter."""
    one = section("snp", anchors=[ANCHOR], measurement=b"m")
    two = section("snp", anchors=[ANCHOR, OTHER], measurement=b"m")
    assert effects(one, two) == ["weaker"]
    assert effects(two, one) == ["stricter"]


def test_other_places_are_no_claims() -> None:
    """Of `sim`, and of what is no rule."""
    assert claim_of("roots_of_trust.sim.debug") is None
    assert claim_of("roots_of_trust.tdx.anchors[manufacturer]") is None
    found = claim_of("roots_of_trust.azure-snp.claims[snp.policy.smt].one_of[set]")
    assert found is not None
    assert found.place == "roots_of_trust.azure-snp.claims[snp.policy.smt]"


def test_a_large_change_is_compared_in_one_pass() -> None:
    """A proposal is a stranger's: thousands of values take no minutes."""
    values = [f'"{number:08x}"' for number in range(250)]
    claims = {f"tpm.pcrs.sha256.{n}": f"{{one_of: [{', '.join(values)}]}}" for n in range(24)}
    small = section("azure-snp", anchors=[ANCHOR], measurement=b"m")
    large = section("azure-snp", anchors=[ANCHOR], measurement=b"m", claims=claims)
    began = time.process_time()
    found = effects(small, large)
    assert found == ["stricter"] * (24 * 250)
    assert time.process_time() - began < 20
