"""Issuing, listing and revoking view tokens, each refusal by its code."""

from __future__ import annotations

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.log import LogEntry
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.view_grants import MAX_GRANTS, MAX_HOURS, ViewGrants
from cloister.testing.keyservice import ServiceBench

ANN, REX, RIA, EVE = (SigningKey(bytes([number]) * 32) for number in range(1, 5))


@pytest.fixture
def lab(bench: ServiceBench) -> ServiceBench:
    """`lab` is Ann's, with Rex and Ria as readers; `other` is Eve's."""
    bench.owner().propose_charter(bench.charter("lab", (ANN,), readers=[REX, RIA]))
    bench.owner().propose_charter(bench.charter("other", (EVE,)))
    return bench


def identities(client: OwnerClient, namespace: str = "lab") -> list[bytes]:
    """Those of a namespace's good tokens."""
    return [bytes(record["id"]) for record in client.views.list(namespace)]


def code_of(client: OwnerClient, operation: str, **arguments: object) -> str:
    """The code with which an operation is refused, or nothing."""
    try:
        client.call.do(operation, arguments)
    except CloisterError as e:
        return e.code
    return ""


@pytest.mark.spec("KH-40", "RL-60")
def test_a_token_is_known_listed_and_logged(lab: ServiceBench) -> None:
    """Across a restart, until it is over; neither list, log nor state has the token itself."""
    text = lab.client(REX).views.issue("lab", scope="view", hours=2)
    lab.restart()
    (record,) = lab.client(ANN).views.list("lab")
    assert record["issuer"] == REX.public.raw
    assert record["expires"] == lab.clock.at + 7200
    assert lab.client(ANN).views.list("lab/deep") == ()
    (data,) = lab.store.entries(lab.store.log_size - 1, 1)
    entry = LogEntry.from_bytes(data)
    assert (entry.operation, entry.subject) == (
        "view.issue", f"{bytes(record['id']).hex()}@lab",
    )  # fmt: skip
    assert text.encode() not in b"".join(
        v for t in lab.store.tables.all().values() for v in t.values()
    )
    lab.clock.move(7200)
    assert lab.client(ANN).views.list("lab") == ()


@pytest.mark.spec("KH-40")
@pytest.mark.parametrize(
    "changes",
    [
        {"scope": "owner"},
        {"scope": "metrics"},
        {"expires": 0},
        {"expires": 1},
        {"id": b"short"},
        {"namespace": ".."},
    ],
)
def test_what_is_no_token_is_refused(lab: ServiceBench, changes: dict[str, object]) -> None:
    """`message.malformed`, or for a namespace that is none of ours what that is refused with."""
    facts = {"namespace": "lab", "id": b"i" * 16, "scope": "view", "expires": lab.clock.at + 60}
    if changes.get("expires") == 1:
        changes = {"expires": lab.clock.at + (MAX_HOURS + 1) * 3600 + 1}
    assert code_of(lab.client(ANN), "view.issue", **facts | changes) == "message.malformed"
    assert list(ViewGrants(lab.store).all()) == []
    assert code_of(lab.client(ANN), "view.issue", **facts) == ""
    assert code_of(lab.client(REX), "view.issue", **facts) == "config.exists"


@pytest.mark.spec("KH-40")
def test_a_key_has_so_many_good_tokens_and_no_more(lab: ServiceBench) -> None:
    """Others have theirs; what is over is forgotten when the next one is issued."""
    for _ in range(MAX_GRANTS):
        lab.client(REX).views.issue("lab", scope="view", hours=1)
    with pytest.raises(CloisterError) as e:
        lab.client(REX).views.issue("lab", scope="view", hours=1)
    assert e.value.code == "quota.exceeded"
    lab.client(RIA).views.issue("lab", scope="view", hours=9)
    lab.clock.move(3600)
    lab.client(REX).views.issue("lab", scope="view", hours=1)
    assert len(list(ViewGrants(lab.store).all())) == 2


@pytest.mark.spec("KH-46")
@pytest.mark.parametrize("key", [REX, ANN])
def test_its_issuer_and_an_approver_revoke_a_token(lab: ServiceBench, key: SigningKey) -> None:
    """At once, and logged; once is enough."""
    lab.client(REX).views.issue("lab", scope="view", hours=1)
    (token,) = identities(lab.client(ANN))
    lab.client(key).views.revoke("lab", token)
    assert identities(lab.client(ANN)) == []
    (data,) = lab.store.entries(lab.store.log_size - 1, 1)
    assert LogEntry.from_bytes(data).operation == "view.revoke"
    assert code_of(lab.client(key), "view.revoke", namespace="lab", id=token) == "config.missing"


@pytest.mark.spec("KH-46")
def test_nobody_else_revokes_it_and_is_not_told_that_it_is_there(lab: ServiceBench) -> None:
    """A fellow reader, another tenant in a namespace of her own, whoever governs above."""
    lab.client(REX).views.issue("lab", scope="view", hours=1)
    (token,) = identities(lab.client(ANN))
    for client, namespace in (
        (lab.client(RIA), "lab"),
        (lab.client(EVE), "other"),
        (lab.owner(), "free"),
        (lab.owner(), "/"),
    ):
        said = []
        for identity in (token, b"?" * 16) if namespace != "/" else (token,):
            with pytest.raises(CloisterError) as e:
                client.views.revoke(namespace, identity)
            said.append((e.value.code, e.value.public))
        assert {code for code, _ in said} == {"config.missing"}
        assert len(set(said)) == 1
    assert code_of(lab.client(EVE), "view.revoke", namespace="lab", id=token) == "release.not-owner"
    assert identities(lab.client(ANN)) == [token]


@pytest.mark.spec("KH-46")
def test_a_token_made_offline_is_noted_until_it_cannot_be_good(lab: ServiceBench) -> None:
    """By approvers of the root; what is over is forgotten when the next one is noted."""
    grants = ViewGrants(lab.store)
    lab.owner().views.revoke("/", b"1" * 16)
    lab.restart()
    grants = ViewGrants(lab.store)
    assert grants.is_revoked(b"1" * 16)
    lab.clock.move((MAX_HOURS + 1) * 3600)
    lab.owner().views.revoke("/", b"2" * 16)
    assert not grants.is_revoked(b"1" * 16)
    assert grants.is_revoked(b"2" * 16)


@pytest.mark.spec("KH-46")
def test_so_many_are_noted_and_no_more(lab: ServiceBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """`quota.exceeded`."""
    monkeypatch.setattr("cloister.keyservice.view_grants._MAX_REVOKED", 1)
    lab.owner().views.revoke("/", b"1" * 16)
    assert code_of(lab.owner(), "view.revoke", namespace="/", id=b"2" * 16) == "quota.exceeded"
