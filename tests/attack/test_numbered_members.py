"""The operator chooses what he starts; which instance a run is, and for how long, he cannot choose.

Two members of one index, indices that are not there or oddly spelled, another's shard, and a
member that was put out and goes on asking.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.client import ReleaseClient
from cloister.keyservice.log import LogEntry
from cloister.testing.keyservice import DATA_ID, MEASUREMENT, ServiceBench, policy_text

A, B, C = (digit * 16 for digit in "abc")
NETWORK = "instances: {maximum: 2}\n    connections: {serve: any}"
SHARD_IDS = [bytes([0x50 + index]) * 16 for index in range(2)]
SHARD_KEYS = [bytes([0x60 + index]) * 32 for index in range(2)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServiceBench]:
    """A domain with code, data and two shards."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    for volume, key in zip(SHARD_IDS, SHARD_KEYS, strict=True):
        bench.owner().register_volume(
            volume,
            key=key,
            version=0,
            root=bytes(32),
            kind="data",
            service_hpke=bench.domain.hpke,
            namespace="/",
        )
    yield bench
    bench.close()


@pytest.fixture
def policy(bench: ServiceBench) -> bytes:
    """Two numbered instances of `serve`, each with a shard, and two of `train`, which writes."""
    text = policy_text(bench, instances=NETWORK, lifetime="certificate_lifetime: 600")
    text = text.replace("/data: {volume: data, access: read}",
                        "/data: {shards: [shard-0, shard-1], access: read}")  # fmt: skip
    shards = "".join(
        f'  shard-{index}: {{id: "{volume.hex()}", root: latest}}\n'
        for index, volume in enumerate(SHARD_IDS)
    )
    return bench.apply(text.replace("workloads:", f"{shards}workloads:", 1))


def ask(
    bench: ServiceBench,
    policy: bytes,
    instance: str,
    *,
    workload: str = "serve",
    client: ReleaseClient | None = None,
) -> Bundle:
    """Attest as one instance."""
    return (
        (client or bench.release_client())
        .release(
            policy=policy,
            workload=workload,
            instance=instance,
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )
        .bundle
    )


def refused(bench: ServiceBench, policy: bytes, instance: str, **changes: object) -> str:
    """Attest, expecting a refusal."""
    with pytest.raises(CloisterError) as e:
        ask(bench, policy, instance, **changes)
    return e.value.code


@pytest.mark.spec("MEM-18", "MEM-22", "MEM-62")
def test_two_members_of_one_index_are_one(bench: ServiceBench, policy: bytes) -> None:
    """The newer is in; the older sees no roster, renews nothing, and has nothing to leave."""
    client = bench.release_client()
    first = ask(bench, policy, f"0.{A}", client=client)
    other = bench.member(ask(bench, policy, f"1.{B}"))
    second = bench.member(ask(bench, policy, f"0.{C}"))
    roster = second.roster()
    assert [each.instance for each in roster.members] == [f"0.{C}", f"1.{B}"]
    assert roster.epoch == 4
    assert other.roster() == roster
    with pytest.raises(CloisterError) as e:
        bench.member(first).roster()
    assert e.value.code == "release.not-member"
    with pytest.raises(CloisterError) as e:
        client.renew(
            policy=policy,
            workload="serve",
            instance=f"0.{A}",
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )
    assert e.value.code == "release.not-member"
    bench.member(first).leave()
    assert other.roster() == roster
    bench.restart()
    assert other.roster().members == roster.members


@pytest.mark.spec("MEM-12", "MEM-18")
def test_restarts_never_make_more_members_than_there_may_be(
    bench: ServiceBench, policy: bytes
) -> None:
    """However often each index is started."""
    for turn in range(4):
        for index in range(2):
            ask(bench, policy, f"{index}.{turn:016x}")
    found = bench.owner().job_status("lab", "digits")
    assert found.roles["serve"] == (2, 2)
    entries = [LogEntry.from_bytes(each) for each in bench.store.entries(0, 100)]
    replaced = [each.instance for each in entries if each.operation == "member.replace"]
    assert replaced == [f"{index}.{turn:016x}" for turn in range(3) for index in range(2)]


@pytest.mark.parametrize(
    "instance",
    [
        f"2.{A}",
        f"999.{A}",
        f"1000.{A}",
        f"01.{A}",
        f"00.{A}",
        f"0.{A.upper()}",
        f"0.{A[:15]}",
        f"0.{A * 2}a",
        f"0-{A}",
        "0",
        "run-1",
    ],
)
@pytest.mark.spec("MEM-17")
def test_an_index_that_there_is_not_or_is_spelled_oddly(
    bench: ServiceBench, policy: bytes, instance: str
) -> None:
    """Refused, in the log, and nobody's place is touched."""
    member = bench.member(ask(bench, policy, f"0.{A}"))
    before = bench.store.log_size
    assert refused(bench, policy, instance) == "release.instance-index"
    assert bench.store.log_size == before + 1
    assert [each.instance for each in member.roster().members] == [f"0.{A}"]


@pytest.mark.parametrize("instance", [f"+1.{A}", f"-1.{A}", f" 1.{A}", f"1 .{A}", f"\u0661.{A}"])
@pytest.mark.spec("MEM-17")
def test_a_spelling_that_is_no_name_reaches_no_rule(
    bench: ServiceBench, policy: bytes, instance: str
) -> None:
    """Names of instances have plain characters, so such a request cannot even be made."""
    assert refused(bench, policy, instance) == "message.malformed"


@pytest.mark.spec("KR-36", "MEM-17")
def test_a_prober_is_not_told_how_many_there_may_be(bench: ServiceBench, policy: bytes) -> None:
    """The sentence is the same for every index that there is not."""
    said = set()
    for index in (2, 3, 999):
        with pytest.raises(CloisterError) as e:
            ask(bench, policy, f"{index}.{A}")
        said.add((e.value.public, e.value.detail, e.value.hint))
    assert len(said) == 1


@pytest.mark.spec("MEM-11")
def test_another_key_under_a_live_members_name(bench: ServiceBench, policy: bytes) -> None:
    """Two certificates with one identity would be two instances that nobody can tell apart."""
    member = bench.member(ask(bench, policy, f"0.{A}"))
    assert refused(bench, policy, f"0.{A}") == "release.instance-taken"
    assert len(member.roster().members) == 1


@pytest.mark.spec("MEM-10", "MEM-18")
def test_an_expelled_key_puts_nobody_out(bench: ServiceBench, policy: bytes) -> None:
    """It is refused before anything happens."""
    client = bench.release_client()
    ask(bench, policy, f"0.{A}", client=client)
    bench.owner().expel("lab", "digits", role="serve", instance=f"0.{A}")
    member = bench.member(ask(bench, policy, f"0.{B}"))
    assert refused(bench, policy, f"0.{C}", client=client) == "release.expelled"
    assert len(member.roster().members) == 1


@pytest.mark.spec("MEM-19")
def test_a_writer_that_was_put_out_moves_no_anchor(bench: ServiceBench) -> None:
    """The newcomer has the lease at once; the old one's secret and epoch are good for nothing."""
    one = "instances: {maximum: 1}\n    connections: {serve: any}"
    policy = bench.apply(policy_text(bench, instances=one).replace("{serve: any}", "{train: any}"))
    old = ask(bench, policy, f"0.{A}", workload="train").volumes["/data"]
    anchor = bench.anchor(DATA_ID, old.lease)
    anchor.renew()
    new = ask(bench, policy, f"0.{B}", workload="train").volumes["/data"]
    assert new.lease.epoch == old.lease.epoch + 1
    with pytest.raises(CloisterError) as e:
        anchor.renew()
    assert e.value.code == "release.fenced"
    bench.anchor(DATA_ID, new.lease).renew()


@pytest.mark.spec("MEM-19", "KR-41")
def test_a_writer_of_another_index_waits(bench: ServiceBench) -> None:
    """Taking over is for the same index alone, and a refusal puts nobody out."""
    policy = bench.apply(policy_text(bench, instances=NETWORK.replace("serve", "train")))
    member = bench.member(ask(bench, policy, f"0.{A}", workload="train"))
    assert refused(bench, policy, f"1.{B}", workload="train") == "volume.leased"
    assert [each.instance for each in member.roster().members] == [f"0.{A}"]


@pytest.mark.spec("KR-38", "POL-86")
def test_an_instance_has_no_key_of_anothers_shard(bench: ServiceBench, policy: bytes) -> None:
    """Each bundle names its own shard and holds no byte of the other's key or identity."""
    for index in range(2):
        bundle = ask(bench, policy, f"{index}.{A}")
        assert bundle.volumes["/data"].id == SHARD_IDS[index]
        assert bundle.volumes["/data"].name == f"shard-{index}"
        data = bundle.to_bytes()
        assert SHARD_KEYS[index] in data
        assert SHARD_KEYS[1 - index] not in data
        assert SHARD_IDS[1 - index] not in data
        assert f"shard-{1 - index}".encode() not in data


@pytest.mark.spec("MEM-17")
def test_roles_without_a_network_are_named_as_before(bench: ServiceBench) -> None:
    """An index means nothing there, and puts nobody out."""
    policy = bench.apply(policy_text(bench, instances="instances: {maximum: 2}"))
    member = bench.member(ask(bench, policy, f"0.{A}"))
    ask(bench, policy, f"0.{B}")
    assert len(member.roster().members) == 2
    assert refused(bench, policy, "run-1") == "release.too-many"
