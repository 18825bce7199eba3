"""Spending through the whole service: counters that neither runs, restarts nor versions reset."""

from __future__ import annotations

import pytest

from cloister.crypto.digest import digest_to_text
from cloister.errors import CloisterError, MalformedError, ReleaseDeniedError, UnavailableError
from cloister.keyservice.budget_records import BudgetStatus, Spent
from cloister.keyservice.budgets import exhaust_budgets
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.log import LogEntry, read_leaf
from cloister.keyservice.member_client import MemberClient
from cloister.keyservice.member_messages import MEMBER_PATH, MemberRequest, SealedMemberRequest
from cloister.keyservice.spending import MAX_PRINCIPALS
from cloister.keyservice.state import budget_rows
from cloister.testing.keyservice import MEASUREMENT, ServiceBench, policy_text

QUERIES = "queries: {limit: 5, principals: [alice, bob], roles: [serve]}"
OPEN = "open: {limit: 3, principals: any, roles: [serve, train]}"


def apply(bench: ServiceBench, *budgets: str, predecessor: str = "none", **changes: str) -> bytes:
    """Put a policy with budgets in force."""
    more = "".join(f"  {budget}\n" for budget in budgets)
    text = policy_text(
        bench, predecessor=predecessor, more=f"budgets:\n{more}" if more else "", **changes
    )
    return bench.apply(text)


def join(
    bench: ServiceBench, policy: bytes, instance: str = "run-1", *, role: str = "serve"
) -> Bundle:
    """Join with a key of its own."""
    release = bench.release_client().release(
        policy=policy,
        workload=role,
        instance=instance,
        measurement=MEASUREMENT,
        attester=bench.attester(),
    )
    return release.bundle


def member(
    bench: ServiceBench, policy: bytes, instance: str = "run-1", *, role: str = "serve"
) -> MemberClient:
    """A member that may ask."""
    return bench.member(join(bench, policy, instance, role=role))


def refused(client: MemberClient, budget: str, principal: str, amount: int = 1) -> str:
    """Spend, expecting a refusal."""
    with pytest.raises(CloisterError) as e:
        client.spend(budget, principal, amount)
    return e.value.code


def entries(bench: ServiceBench) -> list[LogEntry]:
    """What the log says of spending."""
    leaves = [read_leaf(leaf) for leaf in bench.store.entries(0, 1000)]
    found = [leaf for leaf in leaves if isinstance(leaf, LogEntry)]
    return [entry for entry in found if entry.operation == "budget.spend"]


def recorded(bench: ServiceBench) -> bytes:
    """The newest member request that passed."""
    return next(body for path, body in reversed(bench.requests) if path == MEMBER_PATH)


@pytest.mark.spec("MEM-74", "MEM-76", "MEM-77")
def test_each_principal_has_the_limit_to_itself(bench: ServiceBench) -> None:
    """And what is asked beyond it is refused, whole."""
    client = member(bench, apply(bench, QUERIES))
    assert client.spend("queries", "alice", 3) == 2
    assert refused(client, "queries", "alice", 3) == "budget.spent"
    assert client.spend("queries", "alice", 2) == 0
    assert refused(client, "queries", "alice") == "budget.spent"
    assert client.spend("queries", "alice", 0) == 0
    assert client.spend("queries", "bob", 1) == 4


@pytest.mark.spec("MEM-77")
def test_another_role_budget_or_name_is_refused(bench: ServiceBench) -> None:
    """Each by its code, and nothing is counted."""
    policy = apply(bench, QUERIES, OPEN)
    client = member(bench, policy)
    assert refused(client, "other", "alice") == "budget.unknown"
    assert refused(client, "queries", "eve") == "budget.principal"
    other = member(bench, policy, role="train")
    assert refused(other, "queries", "alice") == "budget.unknown"
    assert other.spend("open", "eve", 1) == 2
    assert {found.name: found.total for found in bench.owner().budgets("lab", "digits")} == {
        "queries": 0,
        "open": 1,
    }
    assert [entry.code for entry in entries(bench)] == [
        "budget.unknown", "budget.principal", "budget.unknown", "",
    ]  # fmt: skip


@pytest.mark.spec("MEM-76")
def test_runs_restarts_and_versions_go_on_where_it_was(bench: ServiceBench) -> None:
    """A counter is the job's; a budget that comes back has not been forgotten either."""
    first = apply(bench, QUERIES)
    assert member(bench, first).spend("queries", "alice", 2) == 3
    bench.restart()
    assert member(bench, first, "run-2").spend("queries", "alice", 1) == 2
    raised = QUERIES.replace("5", "7")
    second = apply(bench, raised, predecessor=digest_to_text(first))
    assert member(bench, second).spend("queries", "alice", 1) == 3
    third = apply(bench, OPEN, predecessor=digest_to_text(second))
    assert refused(member(bench, third), "queries", "alice") == "budget.unknown"
    fourth = apply(bench, QUERIES.replace("5", "4"), predecessor=digest_to_text(third))
    client = member(bench, fourth)
    assert refused(client, "queries", "alice") == "budget.spent"
    assert client.spend("queries", "bob", 4) == 0


@pytest.mark.spec("MEM-76")
def test_another_job_has_counters_of_its_own(bench: ServiceBench) -> None:
    """The same budget's name in another policy is another budget."""
    first, second = (apply(bench, QUERIES, name=name) for name in ("digits", "letters"))
    assert member(bench, first).spend("queries", "alice", 5) == 0
    assert member(bench, second, "run-2").spend("queries", "alice", 5) == 0


@pytest.mark.spec("MEM-74")
def test_the_same_request_again_spends_once(bench: ServiceBench) -> None:
    """Replayed by whoever recorded it, before and after a restart."""
    client = member(bench, apply(bench, QUERIES))
    assert client.spend("queries", "alice", 2) == 3
    replay = recorded(bench)
    count = len(entries(bench))
    for _ in range(2):
        assert bench.service.handle(MEMBER_PATH, replay, bench.clock()).status == 200
        bench.restart()
    assert len(entries(bench)) == count
    assert client.spend("queries", "alice", 1) == 2


@pytest.mark.spec("MEM-74")
def test_a_refusal_is_remembered_as_well(bench: ServiceBench) -> None:
    """Nobody fills the log with one request."""
    client = member(bench, apply(bench, QUERIES))
    assert refused(client, "queries", "alice", 6) == "budget.spent"
    replay = recorded(bench)
    assert bench.service.handle(MEMBER_PATH, replay, bench.clock()).status == 200
    assert [entry.code for entry in entries(bench)] == ["budget.spent"]


@pytest.mark.spec("MEM-75")
def test_an_older_request_is_not_decided_later(bench: ServiceBench) -> None:
    """Kept back on the way, or sent again: it spends nothing and is not logged."""
    bundle = join(bench, apply(bench, QUERIES))
    client = bench.member(bundle)
    client.spend("queries", "alice", 1)
    client.spend("queries", "alice", 1)
    assert refused(bench.member(bundle), "queries", "alice") == "budget.order"  # number 1 again
    late = bench.member(bundle)
    late._number = 1
    assert refused(late, "queries", "bob") == "budget.order"  # number 2, another request
    assert len(entries(bench)) == 2
    assert client.spend("queries", "alice", 1) == 2


@pytest.mark.spec("MEM-74", "MEM-93")
@pytest.mark.parametrize("after", [False, True])
def test_a_lost_answer_is_settled_by_asking_again(bench: ServiceBench, *, after: bool) -> None:
    """Whether the request or its answer was lost, the amount is spent once."""
    client = member(bench, apply(bench, QUERIES))

    def lose(path: str, body: bytes, answer: bytes) -> bytes:
        del path, body, answer
        raise UnavailableError("lost", code="keyservice.unreachable")

    before_post = bench.post
    if after:
        bench.tap = lose
    else:
        client._call.transport.post = _never  # type: ignore[method-assign]  # the wire is cut
    with pytest.raises(UnavailableError):
        client.spend("queries", "alice", 2)
    bench.tap = None
    client._call.transport.post = before_post  # type: ignore[method-assign]  # the wire is whole
    assert client.spend("queries", "alice", 2) == 3
    assert client.spend("queries", "alice", 2) == 1


def _never(path: str, body: bytes, *, timeout_s: float) -> bytes:
    del path, body, timeout_s
    raise UnavailableError("cut", code="keyservice.unreachable")


@pytest.mark.spec("MEM-22", "MEM-76")
def test_who_is_no_member_spends_nothing(bench: ServiceBench) -> None:
    """Left, lapsed by a newer version, or expelled."""
    first = apply(bench, QUERIES)
    client = member(bench, first)
    client.leave()
    assert refused(client, "queries", "alice") == "release.not-member"
    stays = member(bench, first, "run-2")
    bench.owner().expel("lab", "digits", role="serve", instance="run-2")
    assert refused(stays, "queries", "alice") == "release.not-member"
    older = member(bench, first, "run-3")
    apply(bench, QUERIES.replace("5", "6"), predecessor=digest_to_text(first))
    assert refused(older, "queries", "alice") == "release.not-member"


@pytest.mark.spec("MEM-78")
def test_names_that_nobody_listed_are_bounded(bench: ServiceBench) -> None:
    """One name more than are counted is refused; the known ones go on."""
    client = member(bench, apply(bench, OPEN))
    client.spend("open", "first", 1)
    table = budget_rows.spent_table("lab", "digits")
    with bench.store.transaction():
        for index in range(MAX_PRINCIPALS - 1):
            row = budget_rows.spent_to_row(Spent("open", f"p{index}", 1, 0))
            bench.store.tables.put(table, budget_rows.spent_key("open", f"p{index}"), row)
    assert refused(client, "open", "eve") == "budget.principal"
    assert client.spend("open", "first", 1) == 1


@pytest.mark.spec("MEM-79")
def test_every_decision_is_in_the_log(bench: ServiceBench) -> None:
    """Who, what, how much, in whose name, and the answer."""
    policy = apply(bench, QUERIES)
    client = member(bench, policy)
    client.spend("queries", "alice", 2)
    refused(client, "queries", "alice", 4)
    found = entries(bench)
    assert [(entry.subject, entry.code) for entry in found] == [
        ("serve queries 2 alice", ""),
        ("serve queries 4 alice", "budget.spent"),
    ]
    (row,) = client.roster().members
    assert {(entry.policy, entry.instance) for entry in found} == {(policy, "run-1")}
    assert {(entry.evidence, entry.requester) for entry in found} == {
        (row.evidence, row.key_digest)
    }


@pytest.mark.spec("MEM-43")
def test_owners_see_what_was_spent(bench: ServiceBench) -> None:
    """All budgets in numbers, and one by its names; also of a budget that is gone."""
    first = apply(bench, QUERIES, OPEN)
    client = member(bench, first)
    client.spend("queries", "bob", 2)
    bench.clock.move(10)
    client.spend("queries", "alice", 1)
    client.spend("open", "eve", 3)
    owner = bench.owner()
    assert owner.budgets("lab", "digits") == (
        BudgetStatus("open", 3, 0, 1, 3, ()),
        BudgetStatus("queries", 5, 0, 2, 3, ()),
    )
    at = bench.clock.at
    assert owner.budgets("lab", "digits", of="queries")[1].spent == (
        Spent("queries", "alice", 1, at),
        Spent("queries", "bob", 2, at - 10),
    )
    apply(bench, OPEN, predecessor=digest_to_text(first))
    assert owner.budgets("lab", "digits")[1] == BudgetStatus("queries", None, 0, 2, 3, ())
    with pytest.raises(ReleaseDeniedError) as e:
        owner.budgets("lab", "other")
    assert e.value.code == "release.policy-unknown"
    with pytest.raises(MalformedError):
        owner.budgets("lab", "digits", of="a/b")


@pytest.mark.spec("MEM-70", "MEM-73")
def test_the_wire_shows_neither_name_nor_answer(bench: ServiceBench) -> None:
    """Requests of one member have one size, and so have answers, yes or no."""
    wire: list[tuple[bytes, bytes]] = []

    def record(path: str, request: bytes, answer: bytes) -> bytes:
        if path == MEMBER_PATH:
            wire.append((request, answer))
        return answer

    client = member(bench, apply(bench, QUERIES))
    bench.tap = record
    client.spend("queries", "alice", 1)
    client.spend("queries", "bob", 5)
    refused(client, "queries", "bob", 1000)
    refused(client, "no-budget-of-that-name", "mallory@example.org", 7)
    assert len({len(request) for request, _ in wire}) == 1
    assert len({len(answer) for _, answer in wire}) == 1
    seen = b"".join(request + answer for request, answer in wire)
    for word in (b"queries", b"alice", b"bob", b"mallory", b"budget."):
        assert word not in seen


@pytest.mark.spec("MEM-70")
def test_a_demand_of_another_member_is_refused(bench: ServiceBench) -> None:
    """A member cannot pass on what another sealed."""
    policy = apply(bench, QUERIES)
    client = member(bench, policy)
    client.spend("queries", "alice", 1)
    request = MemberRequest.from_bytes(SealedMemberRequest.from_bytes(recorded(bench)).body)
    bundle = join(bench, policy, "run-2")
    assert bundle.member is not None
    fields = {name: getattr(request, name) for name in MemberRequest.__slots__}
    moved = MemberRequest(**fields | {"instance": "run-2"}).sealed(bundle.member.secret)
    answer = bench.service.handle(MEMBER_PATH, moved.to_bytes(), bench.clock())
    assert answer.code == "message.malformed"
    assert bench.owner().budgets("lab", "digits")[0].total == 1


@pytest.mark.spec("MEM-74")
def test_demands_of_older_versions_are_forgotten(bench: ServiceBench) -> None:
    """Their members' secrets are over, so nothing of them can be sent again."""
    first = apply(bench, QUERIES)
    for number in range(3):
        member(bench, first, f"run-{number}").spend("queries", "alice", 1)
    second = apply(bench, QUERIES.replace("5", "9"), predecessor=digest_to_text(first))
    member(bench, second).spend("queries", "alice", 1)
    rows = dict(bench.store.tables.rows(budget_rows.demands_table("lab", "digits")))
    assert [key[:32] for key in rows] == [second]


@pytest.mark.spec("MEM-80", "BR-19")
def test_after_a_reset_everything_counts_as_spent(bench: ServiceBench) -> None:
    """In every name, known or not, up to the highest limit that there was; a higher one goes on."""
    first = apply(bench, QUERIES, OPEN)
    member(bench, first).spend("queries", "alice", 1)
    lowered = QUERIES.replace("5", "2")
    second = apply(bench, lowered, predecessor=digest_to_text(first))
    with bench.store.transaction():
        exhaust_budgets(bench.store, at=9)
    bench.restart()
    client = member(bench, second)
    for name in ("alice", "bob"):
        assert refused(client, "queries", name) == "budget.spent"
    third = apply(bench, QUERIES, OPEN, predecessor=digest_to_text(second))
    again = member(bench, third)
    assert refused(again, "queries", "alice") == "budget.spent"
    assert refused(again, "open", "eve") == "budget.spent"
    higher = QUERIES.replace("5", "8")
    client = member(bench, apply(bench, higher, predecessor=digest_to_text(third)))
    assert client.spend("queries", "bob", 2) == 1
    assert client.spend("queries", "alice", 3) == 0
    (_, status) = bench.owner().budgets("lab", "digits", of="queries")
    assert (status.floor, status.names) == (5, 2)
    assert {found.principal: found.amount for found in status.spent} == {"alice": 8, "bob": 7}
