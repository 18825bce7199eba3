"""Secrets in the service's state: kept, found again, and erased."""

from __future__ import annotations

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.secret_records import EpochMark, SecretRecord
from cloister.keyservice.secret_store import SecretStore
from cloister.keyservice.state.secret_rows import (
    mark_from_row,
    mark_to_row,
    secret_from_row,
    secret_to_row,
)
from cloister.testing.keyservice import ServiceBench
from cloister.testing.secrets import EVERY_KIND, secret_policy


def test_rows_are_read_back() -> None:
    """Bytes and records stand for each other."""
    record = SecretRecord("lab", "p", "x", 3, "key_pair", {"private": b"a", "public": b"b"}, 7)
    assert secret_from_row(secret_to_row(record)) == record
    assert b"until" not in secret_to_row(record)
    lasting = SecretRecord("lab", "p", "x", 3, "remote", {"value": b"a"}, 7, until=9)
    assert secret_from_row(secret_to_row(lasting)) == lasting
    mark = EpochMark(3, b"f" * 32)
    assert mark_from_row(mark_to_row(mark)) == mark


def values(bench: ServiceBench) -> dict[tuple[str, int], SecretRecord]:
    """Every value of the policy."""
    store = SecretStore(bench.store)
    found = [
        store.secret("lab", "keeper", name, epoch)
        for name in ("seed", "db", "signing", "ca", "tls", "token")
        for epoch in (1, 2, 3)
    ]
    return {(record.name, record.epoch): record for record in found if record is not None}


@pytest.mark.spec("SEC-30", "SEC-31")
def test_values_are_made_when_the_policy_is_applied_and_survive(bench: ServiceBench) -> None:
    """Every kind but the opaque one; a restart finds the same ones."""
    bench.apply(secret_policy(bench, secrets=EVERY_KIND))
    made = values(bench)
    assert set(made) == {(name, 1) for name in ("seed", "db", "signing", "ca", "tls")}
    bench.restart()
    assert values(bench) == made


@pytest.mark.spec("SEC-32", "SEC-33")
def test_an_update_rotates_keeps_and_erases(bench: ServiceBench) -> None:
    """A raised epoch is new, a readable one stays, a dropped or removed one is gone."""
    first = bench.apply(secret_policy(bench, secrets=EVERY_KIND))
    made = values(bench)
    raised = EVERY_KIND.replace("{bytes: 32}}", "{bytes: 32}, epoch: 2, readable: [1]}")
    second = bench.apply(secret_policy(bench, secrets=raised, predecessor=first))
    assert values(bench)["seed", 1] == made["seed", 1]
    assert values(bench)["seed", 2].parts != made["seed", 1].parts
    assert values(bench)["db", 1] == made["db", 1]
    dropped = raised.replace(", readable: [1]", "").replace("  signing", "  fresh")
    third = bench.apply(secret_policy(bench, secrets=dropped, predecessor=second))
    assert ("seed", 1) not in values(bench)
    assert ("signing", 1) not in values(bench)
    with pytest.raises(CloisterError) as e:
        bench.apply(secret_policy(bench, secrets=EVERY_KIND, predecessor=third))
    assert e.value.code == "policy.epoch"
    assert ("seed", 2) in values(bench)


def test_another_policy_of_the_same_name_elsewhere_is_another(bench: ServiceBench) -> None:
    """Namespaces do not share secrets."""
    bench.apply(secret_policy(bench, secrets=EVERY_KIND))
    bench.apply(secret_policy(bench, secrets=EVERY_KIND, namespace="other"))
    store = SecretStore(bench.store)
    one, two = (store.secret(space, "keeper", "seed", 1) for space in ("lab", "other"))
    assert one is not None
    assert two is not None
    assert one.parts != two.parts


@pytest.mark.spec("SEC-6")
def test_an_authority_that_is_over_signs_nothing_at_an_update(bench: ServiceBench) -> None:
    """The update is refused, and changes nothing."""
    short = EVERY_KIND.replace("3650", "1")
    first = bench.apply(secret_policy(bench, secrets=short))
    bench.clock.move(2 * 86400)
    raised = short.replace("dns: [db.lab.example]}", "dns: [db.lab.example]}, epoch: 2")
    with pytest.raises(CloisterError) as e:
        bench.apply(secret_policy(bench, secrets=raised, predecessor=first))
    assert e.value.code == "release.secret-expired"
    assert ("tls", 2) not in values(bench)


@pytest.mark.spec("EXP-60")
def test_what_was_imported_lasts_and_everything_else_stays() -> None:
    """To its last second; a row without one is usable never."""
    lasting = SecretRecord("lab", "p", "x", 3, "remote", {"value": b"a"}, 7, until=9)
    assert [at for at in (8, 9, 10) if lasting.usable(at)] == [8, 9]
    assert not SecretRecord("lab", "p", "x", 3, "remote", {"value": b"a"}, 7).usable(7)
    assert SecretRecord("lab", "p", "x", 3, "external", {"value": b"a"}, 7).usable(10**12)
