"""The owner's operations on jobs, through the whole service."""

import pytest

from cloister.errors import CloisterError, MalformedError
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.roster import Expected
from cloister.testing.keyservice import MEASUREMENT, ServiceBench, policy_text


def ask(bench: ServiceBench, policy: bytes, instance: str) -> Bundle:
    """A member of role `serve`."""
    return (
        bench.release_client()
        .release(
            policy=policy,
            workload="serve",
            instance=instance,
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )
        .bundle
    )


@pytest.mark.spec("MEM-40")
def test_the_status_tells_epoch_and_numbers(bench: ServiceBench) -> None:
    """With the maximum where the policy has one."""
    policy = bench.apply(policy_text(bench, instances="instances: {maximum: 4}"))
    ask(bench, policy, "a")
    ask(bench, policy, "b")
    status = bench.owner().job_status("lab", "digits")
    assert (status.policy, status.epoch) == (policy, 2)
    assert status.roles == {"train": (0, 4), "serve": (2, 4)}


@pytest.mark.spec("MEM-41")
def test_the_owner_gets_a_roster_that_others_can_check(bench: ServiceBench, policy: bytes) -> None:
    """Signed, and without lapsed members."""
    ask(bench, policy, "a")
    bench.clock.move(50_000)
    ask(bench, policy, "b")
    bench.clock.move(40_000)
    expected = Expected(
        service=bench.domain.identity,
        domain="example.test",
        namespace="lab",
        name="digits",
        of="serve",
        epoch=3,
        at=bench.clock.at,
        max_age_s=60,
    )
    roster = bench.owner().members("lab", "digits", of="serve").verify(expected)
    assert [member.instance for member in roster.members] == ["b"]


@pytest.mark.spec("MEM-42")
def test_expelling_is_logged_with_role_and_instance(bench: ServiceBench, policy: bytes) -> None:
    """And gives the new epoch."""
    ask(bench, policy, "a")
    owner = bench.owner()
    assert owner.expel("lab", "digits", role="serve", instance="a") == 2
    entries, _ = owner.read_log(first=0, count=100, old=None)
    entry = entries[-1]
    assert (entry.operation, entry.subject, entry.instance) == ("member.expel", "serve", "a")
    assert (entry.policy, entry.granted) == (policy, True)


@pytest.mark.spec("MEM-42")
@pytest.mark.parametrize("operation", ["status", "members", "expel"])
def test_of_an_unknown_policy_there_is_no_job(
    bench: ServiceBench, policy: bytes, operation: str
) -> None:
    """Each of the three says so."""
    owner = bench.owner()
    attempts = {
        "status": lambda: owner.job_status("lab", "letters"),
        "members": lambda: owner.members("lab", "letters"),
        "expel": lambda: owner.expel("lab", "letters", role="serve", instance="a"),
    }
    with pytest.raises(CloisterError) as e:
        attempts[operation]()
    assert e.value.code == "release.policy-unknown"


@pytest.mark.spec("MEM-42")
def test_nobody_can_be_expelled_who_is_not_there(bench: ServiceBench, policy: bytes) -> None:
    """A name that nobody has, or has any more."""
    ask(bench, policy, "a")
    owner = bench.owner()
    owner.expel("lab", "digits", role="serve", instance="a")
    for instance in ("a", "b"):
        with pytest.raises(CloisterError) as e:
            owner.expel("lab", "digits", role="serve", instance=instance)
        assert e.value.code == "release.not-member"


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("job.status", {"namespace": "lab"}),
        ("job.status", {"namespace": "lab", "name": "digits", "more": 1}),
        ("member.list", {"namespace": "lab", "name": "digits", "of": "a/b"}),
        ("member.expel", {"namespace": "lab", "name": "digits", "role": "..", "instance": "a"}),
        ("member.expel", {"namespace": "lab", "name": "digits", "role": "a", "instance": ""}),
    ],
)
def test_arguments_are_read_strictly(
    bench: ServiceBench, policy: bytes, operation: str, arguments: dict[str, object]
) -> None:
    """Missing, unknown, and names that are none."""
    with pytest.raises(MalformedError) as e:
        bench.owner().call.do(operation, arguments)
    assert e.value.code == "message.malformed"
