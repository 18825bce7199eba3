"""Who knows the identity of another tenant's volume, from its policy or from a shared disk.

He can neither find out whether it is registered, nor keep it from being registered, nor have its
key, its lease or its anchor for having registered the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, UnavailableError
from cloister.keyservice.bundle import Lease, VolumeGrant
from cloister.keyservice.log import LogEntry
from cloister.keyservice.namespace_log import read_own_log
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.keyservice.records import VolumeRecord
from cloister.keyservice.state import rows
from cloister.testing.keyservice import (
    CODE_ID,
    CODE_ROOT,
    DATA_ID,
    MEASUREMENT,
    ServiceBench,
    policy_text,
)

ANN, BEN, EVE = (SigningKey(bytes([number]) * 32) for number in range(1, 4))
KEYS = {
    "lab": b"A" * 32,
    "other": b"E" * 32,
    "third": b"T" * 32,
    "big": b"B" * 32,
    "free": b"F" * 32,
    "/": b"R" * 32,
}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServiceBench]:
    """`lab` is Ann's and Ben's, who both must approve; `other` is Eve's."""
    bench = ServiceBench.create(tmp_path)
    bench.owner().propose_charter(bench.charter("lab", (ANN, BEN), threshold=2))
    bench.owner().propose_charter(bench.charter("other", (EVE,)))
    yield bench
    bench.close()


def register(
    bench: ServiceBench, client: OwnerClient, namespace: str, volume: bytes = DATA_ID
) -> str:
    """Register a volume under its tenant's own key; the code of the refusal, or nothing."""
    try:
        client.register_volume(
            volume,
            key=KEYS[namespace.partition("/")[0] or "/"],
            version=3 if volume == CODE_ID else 0,
            root=CODE_ROOT if volume == CODE_ID else bytes(32),
            kind="data",
            service_hpke=bench.domain.hpke,
            namespace=namespace,
        )
    except CloisterError as e:
        return e.code
    return ""


def release(bench: ServiceBench, namespace: str, *keys: SigningKey) -> VolumeGrant:
    """Apply a policy of a namespace and have its data volume released."""
    text = policy_text(bench, namespace=namespace)
    canonical = canonical_bytes(parse_policy(text.encode(), source="p"))
    client = bench.client(keys[0])
    policy = client.propose_policy(canonical, bench.approve(canonical, *keys)).hash
    released = bench.release_client().release(
        policy=policy,
        workload="train",
        instance="run-1",
        measurement=MEASUREMENT,
        attester=bench.attester(),
    )
    return released.bundle.volumes["/data"]


@pytest.mark.spec("KR-86")
@pytest.mark.parametrize("order", [("lab", "other", "/"), ("/", "other", "lab")])
def test_who_comes_first_keeps_nobody_out_and_is_not_told(
    bench: ServiceBench, order: tuple[str, ...]
) -> None:
    """A free identity and one that another has are answered alike, byte for byte in length."""
    clients = {"lab": bench.client(ANN), "other": bench.client(EVE), "/": bench.owner()}
    sizes = set()
    for namespace in order:
        answers: list[bytes] = []

        def tap(path: str, body: bytes, answer: bytes, kept: list[bytes] = answers) -> bytes:
            del path, body
            kept.append(answer)
            return answer

        bench.tap = tap
        assert register(bench, clients[namespace], namespace) == ""
        sizes.add(len(answers[-1]))
    assert len(sizes) == 1
    bench.tap = None
    bench.restart()
    for namespace, client in clients.items():
        assert client.volume_key(DATA_ID).keys.newest == KEYS[namespace]
        assert register(bench, client, namespace) == ""
    assert len(bench.store.volumes()) == 3


@pytest.mark.spec("KR-86")
@pytest.mark.parametrize(("thief", "namespace"), [(EVE, "other"), (BEN, "lab")])
def test_a_recorded_registration_gives_nobody_the_key(
    bench: ServiceBench, thief: SigningKey, namespace: str
) -> None:
    """Held back and sent by another tenant, or by a fellow approver, under his own signature."""
    recorded: list[Mapping[str, object]] = []
    ann = bench.client(ANN)

    def held_back(operation: str, arguments: Mapping[str, object]) -> None:
        del operation
        recorded.append(arguments)
        raise UnavailableError("held back", code="keyservice.unreachable")

    ann.call.do = held_back
    assert register(bench, ann, "lab") == "keyservice.unreachable"
    arguments = {**recorded[0], "namespace": namespace}
    with pytest.raises(CloisterError) as e:
        bench.client(thief).call.do("volume.register", arguments)
    assert e.value.code == "message.malformed"
    assert bench.store.volumes() == []


@pytest.mark.spec("KR-87")
def test_each_tenants_policies_get_its_own_volume(bench: ServiceBench) -> None:
    """Key, lease and anchor; neither's writer keeps the other's waiting."""
    for volume in (CODE_ID, DATA_ID):
        assert register(bench, bench.client(EVE), "other", volume) == ""
        assert register(bench, bench.client(ANN), "lab", volume) == ""
    mine, hers = release(bench, "lab", ANN, BEN), release(bench, "other", EVE)
    assert (mine.keys.newest, hers.keys.newest) == (KEYS["lab"], KEYS["other"])
    anchor, other = bench.anchor(DATA_ID, mine.lease), bench.anchor(DATA_ID, hers.lease)
    state = anchor.state()
    anchor.advance(version=state.version, root=state.root, new_version=1, new_root=b"1" * 32)
    assert (anchor.state().version, other.state().version) == (1, 0)
    forged = bench.anchor(DATA_ID, Lease(hers.lease.epoch, mine.lease.secret, 15))
    assert forged.state().version == 1  # whose secret it is decides, and nothing else does
    bench.client(EVE).break_lease(DATA_ID)
    with pytest.raises(CloisterError) as e:
        other.state()
    assert e.value.code == "release.fenced"
    assert anchor.state().version == 1


@pytest.mark.spec("KR-51", "KR-87")
def test_a_readers_secret_is_of_one_tenants_volume(bench: ServiceBench) -> None:
    """Eve's reader sees Eve's anchor move, and never Ann's."""
    for client, namespace in ((bench.client(ANN), "lab"), (bench.client(EVE), "other")):
        for volume in (CODE_ID, DATA_ID):
            assert register(bench, client, namespace, volume) == ""
    text = policy_text(bench, namespace="other")
    canonical = canonical_bytes(parse_policy(text.encode(), source="p"))
    policy = bench.client(EVE).propose_policy(canonical).hash
    reader = bench.release_client().release(
        policy=policy,
        workload="serve",
        instance="run-1",
        measurement=MEASUREMENT,
        attester=bench.attester(),
    )
    writer = bench.anchor(DATA_ID, release(bench, "lab", ANN, BEN).lease)
    state = writer.state()
    writer.advance(version=state.version, root=state.root, new_version=7, new_root=b"7" * 32)
    assert bench.anchor(DATA_ID, reader.bundle.volumes["/data"].lease).state().version == 0


@pytest.mark.spec("KR-87", "KR-84")
def test_an_owner_gets_the_volume_that_he_may_hold(bench: ServiceBench) -> None:
    """Of two that he may hold, the one that he names; of none, the refusal of what is not there."""
    assert register(bench, bench.client(EVE), "other") == ""
    for client in (bench.client(ANN), bench.owner()):
        with pytest.raises(CloisterError) as e:
            client.volume_key(DATA_ID)
        assert e.value.code == "release.volume-unknown"
    bench.owner().propose_charter(bench.charter("third", (EVE,)))
    with pytest.raises(CloisterError) as e:
        bench.client(EVE).call.do("volume.key", {"id": DATA_ID, "namespace": "third"})
    assert e.value.code == "release.volume-unknown"
    assert register(bench, bench.client(EVE), "third") == ""
    for namespace in ("other", "third"):
        fields = bench.client(EVE).call.do("volume.key", {"id": DATA_ID, "namespace": namespace})
        assert fields.octets("key") == KEYS[namespace]


@pytest.mark.spec("RL-60", "KR-87")
def test_each_tenant_reads_its_own_volumes_entries(bench: ServiceBench) -> None:
    """The same identity is in both logs, under another tenant's name in neither."""
    assert register(bench, bench.client(EVE), "other") == ""
    assert register(bench, bench.client(ANN), "lab") == ""
    bench.client(EVE).volume_key(DATA_ID)
    for key, namespace, operations in (
        (ANN, "lab", ["namespace.apply", "volume.register"]),
        (EVE, "other", ["namespace.apply", "volume.register", "volume.key"]),
    ):
        own = read_own_log(bench.client(key), namespace, service=bench.pinned)
        entries = [LogEntry.from_bytes(receipt.entry) for receipt, _ in own]
        assert [entry.operation for entry in entries] == operations
        assert {e.subject for e in entries[1:]} == {f"{DATA_ID.hex()}@{namespace}"}


@pytest.mark.spec("KR-73", "KR-86")
def test_what_a_charter_below_took_along_is_not_overwritten(bench: ServiceBench) -> None:
    """Whoever governed when it was registered cannot register it again over it."""
    bench.owner().propose_charter(bench.charter("big", (ANN,)))
    assert register(bench, bench.client(ANN), "big/deep") == ""
    assert register(bench, bench.owner(), "free/deep") == ""
    for parent, key in (("big", ANN), ("free", bench.owner_key)):
        canonical = bench.charter(f"{parent}/deep", (EVE,))
        bench.client(key).propose_charter(canonical)
    before = bench.store.volumes()
    for client, namespace in ((bench.client(ANN), "big"), (bench.owner(), "/")):
        assert register(bench, client, namespace) == "config.exists"
    assert bench.store.volumes() == before


@pytest.mark.spec("KR-86")
def test_a_state_from_before_keeps_its_volumes(bench: ServiceBench) -> None:
    """A tenant's row under the bare identity is the tenant's, and nobody else's."""
    record = VolumeRecord(
        DATA_ID, b"O" * 32, "data", 0, bytes(32), 0, 0, None, "other", EVE.public.raw
    )
    with bench.store.transaction():
        bench.store.tables.put("volumes", DATA_ID, rows.volume_to_row(record))
    bench.restart()
    assert bench.client(EVE).volume_key(DATA_ID).keys.newest == b"O" * 32
    assert register(bench, bench.client(ANN), "lab") == ""
    assert bench.client(ANN).volume_key(DATA_ID).keys.newest == KEYS["lab"]
    assert bench.client(EVE).take_lease(DATA_ID).keys.newest == b"O" * 32
    bench.restart()
    assert {v.label for v in bench.store.volumes()} == {DATA_ID.hex(), f"{DATA_ID.hex()}@lab"}
