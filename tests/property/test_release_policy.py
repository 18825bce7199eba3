"""Properties of policies: round trips, hashes, and decisions that agree with explanations."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.attestation.measurement import LaunchMeasurement
from cloister.errors import AppraisalError, ReleaseDeniedError
from cloister.keyservice.policy.appraisal import appraise
from cloister.keyservice.policy.canonical import canonical_bytes, policy_from_canonical, policy_hash
from cloister.keyservice.policy.draft import draft_policy
from cloister.keyservice.policy.explain import explain
from cloister.keyservice.policy.model import Instances, Policy, RootsOfTrust
from cloister.keyservice.policy.network_rules import EgressRule, Ports
from cloister.keyservice.policy.node import CONTROL
from cloister.keyservice.policy.reader import parse_policy
from cloister.testing.networks import networked_policy
from cloister.testing.policies import (
    CODE_ROOT,
    RUNTIME,
    VOLUME_ROOTS,
    sample_claims,
    sample_draft,
    sample_policy,
)
from cloister.wire import decode

POLICY = sample_policy()
values = st.text(max_size=60).filter(lambda text: not CONTROL.search(text) and "\r" not in text)
variables = st.from_regex(r"X_[A-Za-z0-9_]{0,20}", fullmatch=True)


@given(st.dictionaries(variables, values, max_size=6), st.lists(values.filter(bool), max_size=5))
def test_texts_survive_draft_reading_and_canonical_bytes(
    environment: dict[str, str], arguments: list[str]
) -> None:
    """What an author says arrives unchanged on both ways, with one hash."""
    facts = sample_draft()
    command = ("python", "/code/train.py", *arguments)
    train = replace(facts.workloads["train"], environment=environment, command=command)
    text = draft_policy(
        replace(facts, workloads={"train": train, "serve": facts.workloads["serve"]})
    )
    policy = parse_policy(text.encode(), source="x")
    assert policy.workloads["train"].command == command
    assert policy.workloads["train"].environment == environment
    again = policy_from_canonical(canonical_bytes(policy))
    assert again.workloads == policy.workloads
    assert canonical_bytes(again) == canonical_bytes(policy)


@given(st.randoms(use_true_random=False), st.sampled_from([sample_policy(), networked_policy()]))
def test_key_order_and_spelling_leave_the_hash_alone(shuffler: object, policy: Policy) -> None:
    """A policy written as JSON with its keys in any order has the hash of the YAML."""
    tree = decode(canonical_bytes(policy), max_bytes=1 << 20)

    def shuffled(item: object) -> object:
        if isinstance(item, dict):
            keys = list(item)
            shuffler.shuffle(keys)
            return {key: shuffled(item[key]) for key in keys}
        return [shuffled(part) for part in item] if isinstance(item, list) else item

    text = "# a comment\n" + json.dumps(shuffled(tree), indent=1)
    assert policy_hash(parse_policy(text.encode(), source="x")) == policy_hash(policy)


_PORTS = st.integers(1, 65_535)
_PLACES = st.from_regex(r"[a-z][a-z0-9-]{0,8}[a-z]\.(example|test)", fullmatch=True)


@given(
    connections=st.dictionaries(
        st.sampled_from(["train", "serve"]),
        st.just("any") | st.lists(_PORTS, min_size=1, max_size=4, unique=True).map(tuple),
        min_size=1,
    ),
    egress=st.dictionaries(
        _PLACES,
        st.builds(
            EgressRule,
            ports=st.lists(_PORTS, min_size=1, max_size=4, unique=True).map(tuple),
            bytes=st.integers(1, 10**15),
            rate=st.integers(1, 10**12),
        ),
        min_size=1,
        max_size=3,
    ),
    maximum=st.integers(1, 1000),
    restarts=st.none() | st.integers(0, 1000),
)
def test_networks_survive_draft_reading_and_canonical_bytes(
    connections: dict[str, Ports],
    egress: dict[str, EgressRule],
    maximum: int,
    restarts: int | None,
) -> None:
    """Connections, egress and instances arrive unchanged on both ways, and change the hash."""
    facts = sample_draft()
    plain = {
        role: replace(workload, instances=Instances(maximum=maximum, restarts=restarts))
        for role, workload in facts.workloads.items()
    }
    networked = replace(plain["train"], connections=connections, egress=egress)
    text = draft_policy(replace(facts, workloads={**plain, "train": networked}))
    policy = parse_policy(text.encode(), source="x")
    assert policy.workloads["train"] == networked
    assert policy_from_canonical(canonical_bytes(policy)).workloads == policy.workloads
    without = parse_policy(draft_policy(replace(facts, workloads=plain)).encode(), source="x")
    assert policy_hash(policy) != policy_hash(without)


@given(
    workload=st.sampled_from(["train", "serve", "steal"]),
    root_of_trust=st.sampled_from(["sim", "tdx"]),
    hardware=st.booleans(),
    debug=st.booleans(),
    svn=st.integers(0, 4),
    code=st.sampled_from([CODE_ROOT, RUNTIME]),
    runtime=st.sampled_from([CODE_ROOT, RUNTIME]),
    registered=st.sets(st.sampled_from(sorted(VOLUME_ROOTS))),
    empty=st.booleans(),
)
def test_explanations_agree_with_decisions(
    *,
    workload: str,
    root_of_trust: str,
    hardware: bool,
    debug: bool,
    svn: int,
    code: bytes,
    runtime: bytes,
    registered: set[str],
    empty: bool,
) -> None:
    """Explain says refused exactly when appraise raises, by the same rule and code."""
    claims = replace(
        sample_claims(),
        root_of_trust=root_of_trust,
        hardware_rooted=hardware,
        debug=debug,
        security_version=svn,
    )
    measurement = LaunchMeasurement(code=code, runtime=runtime)
    roots = {name: VOLUME_ROOTS[name] for name in registered}
    policy = POLICY
    if empty:
        policy = replace(policy, roots_of_trust=RootsOfTrust())
    shown = explain(policy, workload, claims, measurement, volume_roots=roots)
    decided = shown.refused_by
    if decided is None:
        result = appraise(policy, workload, claims, measurement, volume_roots=roots)
        assert [hit.rule for hit in result.checked] == [r.path for r in shown.rules]
        return
    with pytest.raises((AppraisalError, ReleaseDeniedError)) as caught:
        appraise(policy, workload, claims, measurement, volume_roots=roots)
    error = caught.value
    assert (decided.code, decided.sentence) == (error.code, error.public)
    if isinstance(error, AppraisalError):
        found = (error.rule, error.expected, error.found)
        assert found == (decided.path, decided.expected, decided.found)
