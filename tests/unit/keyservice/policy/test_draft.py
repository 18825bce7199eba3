"""Drafts are sound, commented and say what they were told."""

from dataclasses import replace

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.policy.canonical import canonical_bytes, policy_from_canonical, policy_hash
from cloister.keyservice.policy.draft import draft_policy
from cloister.keyservice.policy.model import Mount, VolumeRule
from cloister.keyservice.policy.reader import parse_policy
from cloister.testing.policies import sample_draft


@pytest.mark.spec("POL-74")
def test_a_draft_says_what_it_was_told() -> None:
    """Reading a draft gives the facts that it was written from."""
    facts = sample_draft(open_clients=True)
    text = draft_policy(facts)
    policy = parse_policy(text.encode(), source="draft")
    assert policy.workloads == facts.workloads
    assert policy.volumes == facts.volumes
    assert policy.roots_of_trust.sim == facts.sim
    assert text.count("#") > 8


@pytest.mark.spec("POL-74")
@pytest.mark.parametrize(
    "value", ["yes", "null", "1", "a: b", "'", '"', "a\nb", "é 漢 😀", "", "#", "True"]
)
def test_awkward_texts_survive_a_draft(value: str) -> None:
    """Quoting is the writer's business, not the author's."""
    facts = sample_draft()
    train = replace(facts.workloads["train"], environment={"X": value, "TRUE": "yes"})
    text = draft_policy(replace(facts, workloads=dict(facts.workloads) | {"train": train}))
    assert parse_policy(text.encode(), source="x").workloads["train"].environment == {
        "X": value,
        "TRUE": "yes",
    }


@pytest.mark.spec("POL-74")
def test_facts_that_make_no_sound_policy_are_refused() -> None:
    """A draft with a lint error, or that is no policy, never leaves."""
    facts = sample_draft()
    train = replace(facts.workloads["train"], volumes={"/usr": Mount(volume="x", access="read")})
    bad = [
        replace(facts, workloads={"train": train}),
        replace(facts, name="Not A Name"),
        replace(facts, volumes={"code": VolumeRule(id="1" * 32, root="latest")}),
    ]
    for draft in bad:
        with pytest.raises(MalformedError) as caught:
            draft_policy(draft)
        assert caught.value.code == "policy.invalid"


def test_regions_are_drafted() -> None:
    """Regions come back as they were given, and are part of the hash."""
    facts = sample_draft()
    rule = replace(facts.volumes["data"], regions={"/a/b": "plain", "/": "authenticated"})
    text = draft_policy(replace(facts, volumes={**facts.volumes, "data": rule}))
    policy = parse_policy(text.encode(), source="x")
    assert policy.volumes["data"].regions == rule.regions
    assert policy_from_canonical(canonical_bytes(policy)).volumes["data"].regions == rule.regions
    assert policy_hash(policy) != policy_hash(parse_policy(draft_policy(facts).encode(), source=""))
