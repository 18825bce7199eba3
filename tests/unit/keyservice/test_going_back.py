"""What a state that is gone back to has lost, and what it has raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.crypto.signature import SigningKey
from cloister.keyservice.budget_records import BudgetStatus
from cloister.keyservice.budgets import Budgets
from cloister.keyservice.going_back import go_back
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.policy import canonical_bytes, parse_policy, policy_hash
from cloister.keyservice.records import Holder, PolicyRecord, VolumeRecord
from cloister.keyservice.reset import Reset
from cloister.keyservice.state import member_rows
from cloister.keyservice.state.record import Head
from cloister.keyservice.state.view_rows import GRANTS_TABLE, ViewGrant, grant_to_row
from cloister.keyservice.statetime import time_to_row
from cloister.keyservice.store import Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.policies import sample_text
from cloister.testing.state import MemoryFreshness, founded

KEY = SigningKey(b"k" * 32).public
STATEMENT = Reset(KEY, KEY, 12, Head(10, b"h" * 32), 1_800_000_000)
VOLUME = VolumeRecord(
    b"v" * 16, b"k" * 32, "data", 3, b"r" * 32, 2, 5, Holder(b"d" * 32, b"s" * 32)
)


@pytest.mark.spec("BR-18", "BR-19")
def test_grants_end_and_numbers_rise(tmp_path: Path) -> None:
    """And the anchored state of a volume stays what it was; again gives the same."""
    platform = SimPlatform.create(tmp_path / "platform", svn=1, debug=False)
    backend = founded(platform)
    results = []
    for _ in range(2):
        store = Store.load(backend.copy(), platform, MemoryFreshness())
        store.put_volume(VOLUME)
        store.tables.put("renewals", VOLUME.id, time_to_row(7))
        store.tables.put("spent", b"n" * 32, time_to_row(7))
        job = {"namespace": "lab", "name": "digits", "policy": b"p" * 32, "epoch": 4,
               "live": {"train": 1}, "soonest": 9}  # fmt: skip
        key = member_rows.job_key("lab", "digits")
        from_row = member_rows.job_from_row
        store.tables.put("jobs", key, member_rows.encode(job))
        store.tables.put(member_rows.members_table("lab", "digits"), b"m", b"row")
        store.tables.put("expelled", b"e" * 64, b"row")
        grant = ViewGrant(b"t" * 16, KEY.raw, "lab", "view", 1_900_000_000, 7)
        store.tables.put(GRANTS_TABLE, grant.id, grant_to_row(grant))
        head = go_back(store, STATEMENT)
        assert head == STATEMENT.next_head
        volume = store.volume(VOLUME.id)
        assert volume is not None
        assert (volume.epoch, volume.holder) == (5 + 3072, None)
        assert (volume.version, volume.root, volume.state_epoch) == (3, b"r" * 32, 2)
        assert [list(store.tables.rows(name)) for name in ("renewals", "spent", GRANTS_TABLE)] == [
            [],
            [],
            [],
        ]
        row = store.tables.get("jobs", key)
        assert row is not None
        left = from_row(row)
        assert (left.epoch, left.live, left.soonest) == (4 + 3072, {}, None)
        assert list(store.tables.rows(member_rows.members_table("lab", "digits"))) == []
        assert store.tables.get("expelled", b"e" * 64) == b"row"
        assert store.tables.get("challenges", b"generation") == STATEMENT.subject.hash
        results.append(store._entries[-1])
    assert results[0] == results[1]


@pytest.mark.spec("BR-19", "MEM-80")
def test_budgets_are_spent(tmp_path: Path) -> None:
    """Up to the limit that the state has for them."""
    platform = SimPlatform.create(tmp_path / "platform", svn=1, debug=False)
    store = Store.load(founded(platform), platform, MemoryFreshness())
    rule = "{limit: 7, principals: any, roles: [serve]}"
    text = f"{sample_text()}\nbudgets:\n  queries: {rule}\n"
    policy = parse_policy(text.encode(), source="p.yaml")
    record = PolicyRecord(
        policy_hash(policy), canonical_bytes(policy), "clinic", "digits", current=True, at=0
    )
    with store.transaction():
        store.put_policy(record)
    go_back(store, STATEMENT)
    (status,) = Budgets(store, Jobs(store)).status(record, of="queries")
    assert status == BudgetStatus("queries", 7, 7, 0, 0, ())
    store.close()
