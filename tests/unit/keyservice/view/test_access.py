"""Who is let in by which token, and what he sees, at the moment that he asks."""

from __future__ import annotations

import pytest

from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey
from cloister.keyservice.view.access import offline_id
from cloister.testing.keyservice import ServiceBench
from unit.keyservice.view.conftest import Viewer

ANN, REX, EVE = (SigningKey(bytes([number]) * 32) for number in range(1, 4))
ENTRIES = "/v1/log/entries?first=0&count=100"


@pytest.fixture
def charter(bench: ServiceBench) -> str:
    """`lab`, which has a policy, is Ann's, with Rex as reader; `other` is Eve's. Its hash."""
    digest = bench.owner().propose_charter(bench.charter("lab", (ANN,), readers=[REX])).hash
    bench.owner().propose_charter(bench.charter("other", (EVE,)))
    bench.register_volumes(bench.client(ANN), namespace="lab", first=b"L")
    bench.register_volumes(bench.client(EVE), namespace="other", first=b"O")
    return digest_to_text(digest)


def issue(bench: ServiceBench, key: SigningKey, namespace: str, scope: str = "view") -> str:
    """Issue a token."""
    return bench.client(key).views.issue(namespace, scope=scope, hours=1)


def code_of(viewer: Viewer, token: str, target: str = "/v1/policies") -> str:
    """The code with which a request is refused, or nothing."""
    found = viewer.get(target, token=token)
    return "" if found.status == 200 else str(found.record["code"])


@pytest.mark.spec("KH-11", "KH-45")
@pytest.mark.parametrize("key", [ANN, REX])
def test_a_namespaces_token_shows_what_lies_there(
    viewer: Viewer, bench: ServiceBench, charter: str, key: SigningKey
) -> None:
    """Policies, volumes, and the log's entries that concern it; nothing of others."""
    token = issue(bench, key, "lab")
    (policy,) = viewer.get("/v1/policies", token=token).record["policies"]
    assert policy["namespace"] == "lab"
    assert viewer.get(f"/v1/policies/{policy['hash']}", token=token).status == 200
    volumes = viewer.get("/v1/volumes", token=token).record["volumes"]
    assert {each["id"][:2] for each in volumes} == {"4c"}
    found = viewer.get(ENTRIES, token=token).record["entries"]
    assert [each["entry"]["operation"] for each in found] == [
        "policy.apply", "namespace.apply", "volume.register", "volume.register", "view.issue",
    ]  # fmt: skip
    assert not any("other" in str(each) for each in found)
    for each in found:
        proof = f"/v1/log/proof/inclusion?index={each['index']}&size={bench.store.log_size}"
        assert viewer.get(proof, token="").status == 200


@pytest.mark.spec("KH-45")
def test_a_token_shows_no_more_than_its_namespace(viewer: Viewer, bench: ServiceBench) -> None:
    """Although its issuer may read all: the founder, of a domain without charters."""
    lab, all_of_it = (issue(bench, bench.owner_key, name) for name in ("lab", "/"))
    assert viewer.get("/v1/volumes", token=lab).record["total"] == 0
    assert viewer.get("/v1/volumes", token=all_of_it).record["total"] == 2
    whole = viewer.get(ENTRIES, token=all_of_it).record["entries"]
    part = viewer.get(ENTRIES, token=lab).record["entries"]
    assert len(whole) == bench.store.log_size > len(part) == 2


@pytest.mark.spec("KH-44")
def test_who_lost_the_right_sees_nothing_at_once(
    viewer: Viewer, bench: ServiceBench, charter: str
) -> None:
    """A reader whom the charter drops, with a token that is neither over nor revoked."""
    token = issue(bench, REX, "lab")
    assert code_of(viewer, token) == ""
    bench.client(ANN).propose_charter(bench.charter("lab", (ANN,), predecessor=charter))
    assert code_of(viewer, token) == "identity.viewer"
    assert code_of(viewer, issue(bench, ANN, "lab")) == ""


@pytest.mark.spec("KH-44", "KH-45")
def test_a_charter_below_takes_what_lies_there_out_of_sight(
    viewer: Viewer, bench: ServiceBench
) -> None:
    """At once, of whoever issued the token above it."""
    token = issue(bench, bench.owner_key, "/")
    assert viewer.get("/v1/policies", token=token).record["total"] == 1
    inside = issue(bench, bench.owner_key, "lab")
    bench.owner().propose_charter(bench.charter("lab", (ANN,)))
    assert viewer.get("/v1/policies", token=token).record["total"] == 0
    assert code_of(viewer, inside) == "identity.viewer"


@pytest.mark.spec("KH-46")
def test_a_revoked_token_is_refused_at_once(viewer: Viewer, bench: ServiceBench) -> None:
    """In the words in which every other one is, across a restart."""
    token = issue(bench, bench.owner_key, "/")
    (record,) = bench.owner().views.list("/")
    bench.owner().views.revoke("/", bytes(record["id"]))
    revoked = viewer.get("/v1/policies", token=token)
    assert revoked.status == 401
    assert revoked.record == viewer.get("/v1/policies", token="nonsense").record


@pytest.mark.spec("KH-46")
def test_a_revoked_token_that_was_made_offline_is_refused(
    viewer: Viewer, bench: ServiceBench
) -> None:
    """By its identity; another one stays good."""
    first, second = viewer.token(), viewer.token(hours=2)
    bench.owner().views.revoke("/", offline_id(first))
    assert code_of(viewer, first) == "identity.viewer"
    assert code_of(viewer, second) == ""


@pytest.mark.spec("KH-43")
def test_an_issued_token_ends(viewer: Viewer, bench: ServiceBench) -> None:
    """In its last second it is good, and then it is over."""
    token = issue(bench, bench.owner_key, "/")
    bench.clock.move(3599)
    assert code_of(viewer, token) == ""
    bench.clock.move(1)
    assert code_of(viewer, token) == "identity.viewer"


@pytest.mark.spec("KH-11", "KH-44")
def test_metrics_are_for_those_of_the_root(
    viewer: Viewer, bench: ServiceBench, charter: str
) -> None:
    """A token for them shows nothing else, and one for a namespace shows no service's metrics."""
    metrics = issue(bench, bench.owner_key, "/", "metrics")
    assert code_of(viewer, metrics, "/metrics") == ""
    assert code_of(viewer, metrics) == "identity.scope"
    bench.owner().propose_charter(bench.charter("/", (EVE,)))
    assert code_of(viewer, metrics, "/metrics") == "identity.viewer"


@pytest.mark.spec("KH-42", "KH-43")
def test_a_token_of_another_service_is_refused(
    viewer: Viewer, bench: ServiceBench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By the same key, which both services know."""
    other = ServiceBench.create(tmp_path_factory.mktemp("second"))
    other.owner().propose_charter(other.charter("/", (bench.owner_key,)))
    token = other.client(bench.owner_key).views.issue("/", scope="view", hours=1)
    assert code_of(viewer, token) == "identity.viewer"
    other.close()
