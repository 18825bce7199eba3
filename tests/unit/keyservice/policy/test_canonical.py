"""One spelling, one hash."""

from dataclasses import replace

import pytest

from cloister.errors import MalformedError
from cloister.keyservice.policy.canonical import (
    MAX_CANONICAL_BYTES,
    canonical_bytes,
    policy_from_canonical,
    policy_hash,
)
from cloister.keyservice.policy.model import VolumeRule
from cloister.keyservice.policy.reader import parse_policy
from cloister.testing.policies import sample_policy, sample_text
from cloister.wire import decode, encode


@pytest.mark.spec("POL-40", "POL-42")
def test_the_canonical_form_reads_back_without_locations() -> None:
    """Everything but the hints survives, and the hash with it."""
    policy = sample_policy()
    again = policy_from_canonical(canonical_bytes(policy))
    assert again.volumes["code"].location is None
    assert again.workloads == policy.workloads
    assert policy_hash(again) == policy_hash(policy)


@pytest.mark.spec("POL-42")
def test_a_location_changes_no_hash() -> None:
    """Where ciphertext lies is the operator's business."""
    text = sample_text().replace("./code", "/somewhere/else")
    assert policy_hash(parse_policy(text.encode(), source="x")) == policy_hash(sample_policy())


@pytest.mark.spec("POL-42")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: digits", "name: digit"),
        ("minimum_svn: 2", "minimum_svn: 3"),
        ('"--epochs", "3"', '"3", "--epochs"'),
        ("access: write", "access: read"),
        ("logs: drop", "logs: pass"),
        ("predecessor: none", 'predecessor: "sha256:' + "00" * 32 + '"'),
    ],
)
def test_a_fact_changes_the_hash(old: str, new: str) -> None:
    """Every fact is part of the hash, the order of arguments included."""
    text = sample_text()
    assert old in text
    changed = parse_policy(text.replace(old, new, 1).encode(), source="x")
    assert policy_hash(changed) != policy_hash(sample_policy())


def test_a_policy_built_by_hand_is_judged_before_it_gets_a_hash() -> None:
    """What no reader accepts has no canonical form."""
    volumes = {"data": VolumeRule(id="nonsense", root="latest")}
    with pytest.raises(MalformedError) as caught:
        policy_hash(replace(sample_policy(), volumes=volumes))
    assert caught.value.code == "policy.invalid"
    odd = replace(sample_policy(), predecessor=None)
    with pytest.raises(MalformedError) as caught:
        canonical_bytes(odd)
    assert caught.value.code == "policy.invalid"
    odd = replace(sample_policy(), name=1.5)
    with pytest.raises(MalformedError) as caught:
        canonical_bytes(odd)
    assert caught.value.code == "policy.invalid"


@pytest.mark.spec("POL-43")
def test_canonical_bytes_with_a_location_are_refused() -> None:
    """A hint that is not hashed does not travel with what is."""
    tree = decode(canonical_bytes(sample_policy()), max_bytes=MAX_CANONICAL_BYTES)
    assert isinstance(tree, dict)
    tree["volumes"]["code"]["location"] = "./code"
    with pytest.raises(MalformedError) as caught:
        policy_from_canonical(encode(tree))
    assert caught.value.code == "policy.malformed"


@pytest.mark.spec("POL-43")
def test_canonical_bytes_are_bounded() -> None:
    """More than the limit is refused before decoding."""
    with pytest.raises(MalformedError) as caught:
        policy_from_canonical(bytes(MAX_CANONICAL_BYTES + 1))
    assert caught.value.code == "policy.too-large"


@pytest.mark.spec("POL-43")
@pytest.mark.parametrize("data", [b"", b"\xa0\x00", b"\xbf\xff", b"\xff", b"\x9f" * 100])
def test_bytes_that_are_not_canonical_are_malformed(data: bytes) -> None:
    """CBOR in another spelling, or no CBOR, is `policy.malformed`."""
    with pytest.raises(MalformedError) as caught:
        policy_from_canonical(data)
    assert caught.value.code == "policy.malformed"
