"""The attestation result."""

import dataclasses
import json

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.attestation.result import AttestationResult, NotChecked, RuleHit
from cloister.errors import MalformedError
from cloister.wire import decode, encode

RESULT = AttestationResult(
    policy=b"p" * 32,
    workload="train",
    root_of_trust="sim",
    hardware_rooted=False,
    anchor=b"a" * 32,
    measurement=b"m" * 32,
    security_version=1,
    debug=False,
    launch=LaunchMeasurement(b"c" * 32, b"r" * 32),
    checked=(RuleHit("roots_of_trust.sim.debug", "refused", "false"),),
    not_checked=(NotChecked("workloads.train.runtime", "development machine"),),
)


@pytest.mark.spec("RES-2")
def test_bytes_round_trip() -> None:
    """What was written is read."""
    assert AttestationResult.from_bytes(RESULT.to_bytes()) == RESULT


@pytest.mark.spec("RES-3")
def test_hardware_rooted_is_always_there() -> None:
    """Bytes without it are no result, and the record shows it."""
    value = decode(RESULT.to_bytes(), max_bytes=10000)
    assert isinstance(value, dict)
    del value["hardware_rooted"]
    with pytest.raises(MalformedError) as e:
        AttestationResult.from_bytes(encode(value))
    assert e.value.code == "message.malformed"
    assert RESULT.as_record()["hardware_rooted"] is False


@pytest.mark.spec("RES-4")
def test_a_result_without_rules_is_refused() -> None:
    """Nothing checked is no result."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(RESULT, checked=())
    assert e.value.code == "message.malformed"


@pytest.mark.spec("RES-5")
def test_the_record_lists_what_was_not_checked() -> None:
    """A reader sees what the policy's author left out, and why."""
    record = json.loads(json.dumps(RESULT.as_record()))
    assert record["not_checked"] == [
        {"rule": "workloads.train.runtime", "reason": "development machine"}
    ]


VENDOR = {"rtmr0": b"r" * 48, "tcb": {"01": 3}, "log": ["a"], "smt_enabled": True}


@pytest.mark.spec("RES-6")
def test_a_vendors_claims_are_kept_in_its_spelling() -> None:
    """In bytes as they are, as JSON with hex; a result without any has no place for them."""
    found = dataclasses.replace(RESULT, root_of_trust="tdx", vendor=VENDOR)
    assert AttestationResult.from_bytes(found.to_bytes()) == found
    record = json.loads(json.dumps(found.as_record()))
    assert record["vendor"] == VENDOR | {"rtmr0": (b"r" * 48).hex()}
    assert "vendor" not in RESULT.as_record()
    assert b"vendor" not in RESULT.to_bytes()


@pytest.mark.spec("RES-6")
@pytest.mark.parametrize(
    "vendor",
    [{"": 1}, {"x" * 256: 1}, {str(n): n for n in range(513)}, {"x": bytes(65536)}],
)
def test_a_vendors_claims_are_bounded(vendor: dict[str, bytes | int]) -> None:
    """When a result is made, and so when it is read."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(RESULT, vendor=vendor)
    assert e.value.code == "message.malformed"
