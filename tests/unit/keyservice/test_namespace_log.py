"""The log for one namespace's readers: what they get, and what they notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.log import LogEntry
from cloister.keyservice.merkle import leaf_hash
from cloister.keyservice.namespace_log import MAX_WINDOW, OwnLogPage, read_own_log
from cloister.testing.keyservice import ServiceBench

ANN, REX, EVE = (SigningKey(bytes([number]) * 32) for number in range(1, 4))


@pytest.fixture
def tenants(bench: ServiceBench) -> ServiceBench:
    """`lab` is Ann's, with Rex as reader; `other` is Eve's; both have volumes, in turn."""
    bench.owner().propose_charter(bench.charter("lab", (ANN,), readers=[REX]))
    bench.owner().propose_charter(bench.charter("other", (EVE,)))
    for number in range(3):
        first = bytes([number])
        bench.register_volumes(bench.client(ANN), namespace="lab", first=b"L" + first)
        bench.register_volumes(bench.client(EVE), namespace="other", first=b"O" + first)
    return bench


def own(bench: ServiceBench, key: SigningKey, namespace: str = "lab") -> list[LogEntry]:
    """What a key reads of a namespace."""
    found = read_own_log(bench.client(key), namespace, service=bench.pinned)
    return [LogEntry.from_bytes(receipt.entry) for receipt, _ in found]


@pytest.mark.spec("KR-85", "RL-61")
@pytest.mark.parametrize("key", [ANN, REX])
def test_a_reader_gets_the_namespaces_entries_and_no_others(
    tenants: ServiceBench, key: SigningKey
) -> None:
    """Each with its proof; of others the proofs have hashes only."""
    subjects = [entry.subject for entry in own(tenants, key)]
    assert subjects[0] == "lab"
    assert len(subjects) == 7
    assert all(subject.startswith("4c") for subject in subjects[1:])
    page = tenants.client(key).read_own_log_page("lab", first=0, count=500, old_size=0)
    hidden = [leaf for leaf in tenants.store.entries(0, 100) if b"other" in leaf or b"4f0" in leaf]
    assert len(hidden) > 6
    for leaf in hidden:
        assert leaf not in repr(page).encode()
    assert any(leaf_hash(leaf) in receipt.proof for receipt in page.receipts for leaf in hidden)


@pytest.mark.spec("KR-85")
def test_who_governs_above_gets_nothing_of_a_charter_below(tenants: ServiceBench) -> None:
    """The founder reads the root's entries; what lies below goes by who governs it."""
    subjects = [entry.subject for entry in own(tenants, tenants.owner_key, "/")]
    assert subjects
    assert not any(subject in {"lab", "other"} for subject in subjects)
    assert not any(subject.startswith(("4c", "4f")) for subject in subjects)
    tenants.register_volumes(namespace="free", first=b"F")
    assert len(own(tenants, tenants.owner_key, "free")) == 2


@pytest.mark.spec("KR-83", "KR-85")
@pytest.mark.parametrize("namespace", ["lab", "lab/deep", "/", "nobodys"])
def test_a_foreign_tenant_gets_none(tenants: ServiceBench, namespace: str) -> None:
    """The same refusal for what there is and what there is not."""
    with pytest.raises(CloisterError) as e:
        own(tenants, EVE, namespace)
    assert e.value.code == "release.not-owner"


@pytest.mark.spec("KR-85")
@pytest.mark.parametrize(
    ("first", "count", "old_size", "code"),
    [
        (0, 0, 0, "message.malformed"),
        (0, MAX_WINDOW + 1, 0, "message.malformed"),
        (1000, 1, 0, "message.malformed"),
        (0, 1, 1000, "message.malformed"),
    ],
)
def test_numbers_outside_the_log_are_refused(
    tenants: ServiceBench, first: int, count: int, old_size: int, code: str
) -> None:
    """`message.malformed`."""
    with pytest.raises(CloisterError) as e:
        tenants.client(ANN).read_own_log_page("lab", first=first, count=count, old_size=old_size)
    assert e.value.code == code


class Windows:
    """A reader whose windows are small, and may be changed on the way."""

    def __init__(
        self, bench: ServiceBench, change: Callable[[OwnLogPage], OwnLogPage] = lambda page: page
    ) -> None:
        self._client = bench.client(ANN)
        self._change = change

    def read_own_log_page(
        self, namespace: str, *, first: int, count: int, old_size: int
    ) -> OwnLogPage:
        assert count == MAX_WINDOW
        page = self._client.read_own_log_page(namespace, first=first, count=5, old_size=old_size)
        return self._change(page)


@pytest.mark.spec("RL-62")
def test_windows_are_joined(tenants: ServiceBench) -> None:
    """Each proved to extend the one before."""
    found = list(read_own_log(Windows(tenants), "lab", service=tenants.pinned))
    whole = list(read_own_log(tenants.client(ANN), "lab", service=tenants.pinned))
    assert [receipt.index for receipt, _ in found] == [receipt.index for receipt, _ in whole]


def swapped(page: OwnLogPage) -> OwnLogPage:
    """The entries in another order."""
    return replace(page, receipts=page.receipts[::-1])


def changed(page: OwnLogPage) -> OwnLogPage:
    """An entry with one byte changed."""
    first = page.receipts[0]
    entry = first.entry.replace(b"volume.register", b"volume.Register")
    entry = entry.replace(b"namespace.apply", b"namespace.Apply")
    return replace(page, receipts=(replace(first, entry=entry), *page.receipts[1:]))


@pytest.mark.spec("RL-62")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (swapped, "protocol.remote"),
        (changed, "log.proof"),
        (lambda page: replace(page, following=0), "protocol.remote"),
        (lambda page: replace(page, receipts=page.receipts * 2), "protocol.remote"),
        (lambda page: replace(page, consistency=(b"?" * 32,)), "log.proof"),
    ],
)
def test_a_service_that_lies_is_noticed(
    tenants: ServiceBench, change: Callable[[OwnLogPage], OwnLogPage], code: str
) -> None:
    """Other bytes, an order or number of its own, another history."""
    with pytest.raises(CloisterError) as e:
        list(read_own_log(Windows(tenants, change), "lab", service=tenants.pinned))
    assert e.value.code == code
