"""Jobs over a store: what is written with what, and what is logged."""

import dataclasses

import pytest

from cloister.errors import ReleaseDeniedError, StorageFullError
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.log import LogEntry
from cloister.keyservice.member_records import Job, Member
from cloister.keyservice.records import Holder, PolicyRecord
from cloister.testing.keyservice import ServiceBench

POLICY = PolicyRecord(b"p" * 32, b"", "lab", "digits", current=True, at=0)
NEWER = dataclasses.replace(POLICY, hash=b"q" * 32)


def member(instance: str, *, key: bytes = b"k", expires: int = 100) -> Member:
    """Somebody whom the policy admits."""
    uri = f"spiffe://example.test/lab/digits/train/{instance}"
    return Member(
        "train", instance, uri, POLICY.hash, b"e" * 32, b"r" * 32, key * 32, 10, 10, expires
    )


def admit(
    bench: ServiceBench,
    candidate: Member,
    *,
    at: int = 10,
    policy: PolicyRecord = POLICY,
    index: int | None = None,
) -> Job:
    """Admit in a transaction of its own."""
    with bench.store.transaction():
        return Jobs(bench.store).admit(policy, candidate, index=index, maximum=None, at=at).job


def logged(bench: ServiceBench) -> list[LogEntry]:
    """Everything in the log."""
    return [LogEntry.from_bytes(entry) for entry in bench.store.entries(0, 100)]


@pytest.mark.spec("MEM-2")
def test_members_survive_a_restart(bench: ServiceBench) -> None:
    """Job and member are in the state."""
    job = admit(bench, member("a"))
    bench.restart()
    jobs = Jobs(bench.store)
    assert jobs.settled(POLICY, at=11) == job
    assert jobs.members(job) == [member("a")]
    assert jobs.member(job, "train", "a") == member("a")
    assert jobs.member(job, "train", "b") is None


@pytest.mark.spec("MEM-7", "MEM-8", "RL-8")
def test_looking_takes_out_who_has_lapsed(bench: ServiceBench) -> None:
    """Durably, with one entry for the step; looking again changes nothing."""
    admit(bench, member("a"))
    admit(bench, member("b", key=b"l"))
    before = len(logged(bench))
    job = Jobs(bench.store).settled(POLICY, at=100)
    assert (job.epoch, job.live) == (3, {})
    assert Jobs(bench.store).members(job) == []
    (entry,) = logged(bench)[before:]
    assert (entry.operation, entry.subject, entry.instance) == ("member.lapse", "lab/digits", "")
    assert (entry.policy, entry.evidence) == (POLICY.hash, bytes(32))
    assert len(set(entry.requester)) > 8
    bench.restart()
    assert Jobs(bench.store).settled(POLICY, at=100) == job
    assert len(logged(bench)) == before + 1


def test_looking_at_nobody_new_writes_nothing(bench: ServiceBench) -> None:
    """A renewal outdates the remembered time; that is no change of the state."""
    admit(bench, member("a", expires=50))
    admit(bench, member("a", expires=500))
    before = len(logged(bench))
    job = Jobs(bench.store).settled(POLICY, at=60)
    assert (job.epoch, job.live, job.soonest) == (1, {"train": 1}, 500)
    assert len(logged(bench)) == before


@pytest.mark.spec("MEM-6")
def test_a_replaced_policy_leaves_nobody(bench: ServiceBench) -> None:
    """And the newer version admits anew."""
    admit(bench, member("a"))
    newer = dataclasses.replace(member("a"), policy=NEWER.hash)
    job = admit(bench, newer, policy=NEWER)
    assert (job.epoch, job.policy) == (3, NEWER.hash)
    assert Jobs(bench.store).members(job) == [newer]


@pytest.mark.spec("MEM-8")
def test_leaving_is_logged_with_the_members_own_facts(bench: ServiceBench) -> None:
    """Role, instance, evidence and key."""
    job = admit(bench, member("a"))
    with bench.store.transaction():
        left = Jobs(bench.store).leave(job, member("a"), at=20)
    assert (left.epoch, left.live) == (2, {})
    entry = logged(bench)[-1]
    assert (entry.operation, entry.subject, entry.instance) == ("member.leave", "train", "a")
    assert (entry.evidence, entry.requester, entry.at) == (b"e" * 32, b"k" * 32, 20)


@pytest.mark.spec("MEM-10", "MEM-14")
def test_expelling_takes_out_the_key_under_every_name(bench: ServiceBench) -> None:
    """It may return under another version, and another key may have its name."""
    admit(bench, member("a"))
    job = admit(bench, member("b"))
    admit(bench, member("c", key=b"l"))
    job = Jobs(bench.store).settled(POLICY, at=11)
    with bench.store.transaction():
        left = Jobs(bench.store).expel(job, member("a"), at=20)
    assert (left.epoch, left.live) == (4, {"train": 1})
    with pytest.raises(ReleaseDeniedError) as e:
        admit(bench, member("z"))
    assert e.value.code == "release.expelled"
    assert admit(bench, member("a", key=b"n")).epoch == 5
    newer = dataclasses.replace(member("a"), policy=NEWER.hash)
    assert admit(bench, newer, policy=NEWER).live == {"train": 1}


def test_a_refused_admission_leaves_no_trace(bench: ServiceBench) -> None:
    """Not even the lapses that it saw: they are taken out by whoever looks next."""
    admit(bench, member("a", expires=50))
    admit(bench, member("b", key=b"l"))
    before = len(logged(bench))
    with pytest.raises(ReleaseDeniedError) as e:
        admit(bench, member("b", key=b"n"), at=60)
    assert e.value.code == "release.instance-taken"
    assert len(logged(bench)) == before
    assert Jobs(bench.store).settled(POLICY, at=60).epoch == 3


def test_an_admission_that_does_not_become_durable_has_not_happened(bench: ServiceBench) -> None:
    """The transaction is whole or nothing."""

    def admit_and_fail() -> None:
        with bench.store.transaction():
            Jobs(bench.store).admit(POLICY, member("a"), index=None, maximum=None, at=10)
            raise StorageFullError("full", code="storage.full")

    with pytest.raises(StorageFullError):
        admit_and_fail()
    assert Jobs(bench.store).settled(POLICY, at=10).epoch == 0


def test_jobs_of_one_name_in_two_namespaces_are_two(bench: ServiceBench) -> None:
    """So are their members."""
    admit(bench, member("a"))
    ward = dataclasses.replace(POLICY, namespace="ward")
    job = Jobs(bench.store).settled(ward, at=10)
    assert job.epoch == 0
    assert Jobs(bench.store).members(job) == []


@pytest.mark.spec("MEM-18", "MEM-19")
def test_a_newcomer_takes_the_place_of_its_index(bench: ServiceBench) -> None:
    """Durably, with an entry that names whom it was, and every lease of that key ended."""
    old, new = member(f"0.{'a' * 16}"), member(f"0.{'b' * 16}", key=b"n")
    admit(bench, old, index=0)
    admit(bench, member(f"1.{'c' * 16}", key=b"l"), index=1)
    volume = bench.store.volumes()[0]
    with bench.store.transaction():
        bench.store.put_volume(
            dataclasses.replace(volume, holder=Holder(old.key_digest, b"s" * 32), epoch=7)
        )
    assert Jobs(bench.store).displaced(POLICY, new, index=0, at=10) == (old,)
    assert Jobs(bench.store).displaced(POLICY, new, index=0, at=100) == ()  # it has lapsed
    job = admit(bench, new, index=0)
    bench.restart()
    jobs = Jobs(bench.store)
    assert jobs.settled(POLICY, at=11) == job
    assert (job.epoch, job.live) == (4, {"train": 2})
    assert jobs.member(job, "train", old.instance) is None
    assert jobs.member(job, "train", new.instance) == new
    entry = logged(bench)[-1]
    assert (entry.operation, entry.subject, entry.instance) == (
        "member.replace",
        "train",
        old.instance,
    )
    assert (entry.evidence, entry.requester) == (old.evidence, old.key_digest)
    found = next(each for each in bench.store.volumes() if each.id == volume.id)
    assert (found.holder, found.epoch) == (None, 7)


@pytest.mark.spec("MEM-18")
def test_taking_a_place_that_does_not_become_durable_has_not_happened(bench: ServiceBench) -> None:
    """The old member is in, and its lease runs."""
    old, new = member(f"0.{'a' * 16}"), member(f"0.{'b' * 16}", key=b"n")
    job = admit(bench, old, index=0)

    def admit_and_fail() -> None:
        with bench.store.transaction():
            Jobs(bench.store).admit(POLICY, new, index=0, maximum=1, at=10)
            raise StorageFullError("full", code="storage.full")

    with pytest.raises(StorageFullError):
        admit_and_fail()
    assert Jobs(bench.store).settled(POLICY, at=10) == job
    assert Jobs(bench.store).members(job) == [old]
