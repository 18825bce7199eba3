"""What those who read a policy learn of a refusal, and what the refused requester does not."""

from __future__ import annotations

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey
from cloister.errors import AppraisalError, CloisterError
from cloister.keyservice.log import LogEntry
from cloister.keyservice.refusals import MAX_REFUSALS, Refusal
from cloister.testing.keyservice import CODE_ROOT, MEASUREMENT, ServiceBench, policy_text

OTHER = LaunchMeasurement(code=CODE_ROOT, runtime=MEASUREMENT.runtime[:-1] + b"!")


def ask(
    bench: ServiceBench,
    policy: bytes,
    *,
    instance: str = "run-1",
    measurement: LaunchMeasurement = OTHER,
) -> CloisterError:
    """Ask with a runtime that differs in one byte, or another thing; what the requester gets."""
    with pytest.raises(CloisterError) as e:
        bench.release_client().release(
            policy=policy,
            workload="train",
            instance=instance,
            measurement=measurement,
            attester=bench.attester(),
        )
    return e.value


@pytest.mark.spec("KR-88")
def test_a_reader_learns_rule_expected_and_found(bench: ServiceBench, policy: bytes) -> None:
    """With the entry of the log that it is about."""
    ask(bench, policy)
    (found,) = bench.owner().refusals("lab", "digits")
    (data,) = bench.store.entries(found.entry, 1)
    entry = LogEntry.from_bytes(data)
    assert (entry.code, entry.subject, entry.instance) == (found.code, "train", "run-1")
    assert (found.code, found.policy) == ("appraisal.runtime", policy)
    assert found.rule == "workloads.train.runtime"
    assert found.expected == digest_to_text(MEASUREMENT.runtime)
    assert found.found == digest_to_text(OTHER.runtime)
    assert Refusal.from_value(found.to_value()) == found


@pytest.mark.spec("KR-36")
def test_a_requester_learns_a_code_and_a_sentence(bench: ServiceBench, policy: bytes) -> None:
    """Nothing that crosses the wire towards him has a part of what was wanted."""
    wire: list[bytes] = []

    def tap(path: str, body: bytes, answer: bytes) -> bytes:
        del path, body
        wire.append(answer)
        return answer

    bench.tap = tap
    error = ask(bench, policy)
    assert isinstance(error, AppraisalError)
    assert (error.rule, error.expected, error.found) == ("", "", "")
    assert (error.hint, error.detail) == (None, None)
    wanted = digest_to_text(MEASUREMENT.runtime).encode()
    for answer in wire:
        assert wanted[:20] not in answer
        assert b"workloads.train" not in answer
        assert MEASUREMENT.runtime not in answer


@pytest.mark.spec("KR-88")
def test_the_newest_of_the_policy_in_force_are_kept(bench: ServiceBench, policy: bytes) -> None:
    """So many, until the policy is replaced or the service ends."""
    for number in range(MAX_REFUSALS + 3):
        ask(bench, policy, instance=f"run-{number}")
    found = bench.owner().refusals("lab", "digits")
    assert [each.instance for each in found] == [f"run-{n}" for n in range(3, MAX_REFUSALS + 3)]
    bench.apply(policy_text(bench, predecessor=digest_to_text(policy), svn="0"))
    assert bench.owner().refusals("lab", "digits") == ()


@pytest.mark.spec("KR-88", "KR-83")
def test_others_learn_nothing(bench: ServiceBench, policy: bytes) -> None:
    """A foreign tenant is answered as for a policy that there is not."""
    eve = SigningKey.generate()
    bench.owner().propose_charter(bench.charter("other", (eve,)))
    ask(bench, policy)
    said = set()
    for name in ("digits", "nobody"):
        with pytest.raises(CloisterError) as e:
            bench.client(eve).refusals("lab", name)
        said.add((e.value.code, e.value.public))
    assert said == {("release.policy-unknown", "the key service does not know this policy")}


@pytest.mark.spec("KR-88")
def test_what_no_appraisal_refused_is_not_kept(bench: ServiceBench, policy: bytes) -> None:
    """An unknown policy or workload says all that there is by its code."""
    for named, workload in ((b"?" * 32, "train"), (policy, "steal")):
        with pytest.raises(CloisterError):
            bench.release_client().release(
                policy=named,
                workload=workload,
                instance="run-1",
                measurement=OTHER,
                attester=bench.attester(),
            )
    assert bench.owner().refusals("lab", "digits") == ()


@pytest.mark.spec("MEM-25")
def test_a_job_is_told_that_somebody_was_refused(bench: ServiceBench, policy: bytes) -> None:
    """When, for which role, and by which code; the digests of what was wanted stay inside."""
    member = bench.member(
        bench.release_client()
        .release(
            policy=policy,
            workload="serve",
            instance="run-1",
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )
        .bundle
    )
    assert member.refusals(0) == ()
    bench.clock.move(10)
    ask(bench, policy)
    altered = LaunchMeasurement(code=CODE_ROOT[:-1] + b"!", runtime=MEASUREMENT.runtime)
    bench.clock.move(10)
    ask(bench, policy, measurement=altered)
    answers: list[bytes] = []

    def tap(path: str, body: bytes, answer: bytes) -> bytes:
        del path, body
        answers.append(answer)
        return answer

    bench.tap = tap
    found = member.refusals(0)
    kept = bench.owner().refusals("lab", "digits")
    at = bench.clock.at
    assert [(each.at, each.role, each.code) for each in found] == [
        (at - 10, "train", "appraisal.runtime"),
        (at, "train", "appraisal.code"),
    ]
    assert [each.entry for each in found] == [each.entry for each in kept]
    assert member.refusals(at) == found[1:]
    assert member.refusals(at + 1) == ()
    for wanted in (MEASUREMENT.runtime, CODE_ROOT):
        assert wanted not in answers[0]
        assert digest_to_text(wanted).encode() not in answers[0]


@pytest.mark.spec("MEM-25")
def test_a_job_is_told_of_the_newest_of_its_policy(bench: ServiceBench, policy: bytes) -> None:
    """So many and no more, of the version in force, until the service ends."""
    for number in range(MAX_REFUSALS + 1):
        ask(bench, policy, instance=f"run-{number}")
    newer = bench.apply(policy_text(bench, predecessor=digest_to_text(policy), svn="0"))
    release = bench.release_client().release(
        policy=newer,
        workload="serve",
        instance="run-1",
        measurement=MEASUREMENT,
        attester=bench.attester(),
    )
    member = bench.member(release.bundle)
    assert member.refusals(0) == ()
    for number in range(MAX_REFUSALS + 1):
        ask(bench, newer, instance=f"run-{number}")
    assert len(member.refusals(0)) == MAX_REFUSALS
    bench.restart()
    assert member.refusals(0) == ()
