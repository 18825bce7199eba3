"""What the interface shows, and that it proves itself."""

from __future__ import annotations

from functools import partial

import pytest

from cloister.crypto.digest import digest_to_text
from cloister.crypto.signature import SigningKey
from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.keyservice.log import Checkpoint, LogEntry
from cloister.keyservice.merkle import leaf_hash, verify_consistency, verify_inclusion
from cloister.keyservice.policy.canonical import policy_from_canonical, policy_hash
from cloister.keyservice.view import facts as module
from cloister.testing.keyservice import CODE_KEY, DATA_KEY, ServiceBench
from unit.keyservice.view.conftest import Viewer


def test_the_service_says_what_is_pinned_and_that_it_is_simulated(viewer: Viewer) -> None:
    """The same facts as in domain.json."""
    domain = viewer.bench.domain
    found = viewer.get("/v1/service", token="").record
    assert found["identity"] == domain.identity.text
    assert found["ca"].encode() == domain.ca
    assert found["hardware_rooted"] is False
    assert found["roots_of_trust"]["sim"]["anchors"] == [domain.anchors["sim"][0].text]


@pytest.mark.spec("KH-12", "KH-13")
def test_entries_and_proofs_hold_for_the_signed_checkpoint(viewer: Viewer) -> None:
    """From the checkpoint's signature down to each entry, and from each older size up."""
    domain = viewer.bench.domain
    note = viewer.get("/v1/log/checkpoint", token="").body.decode()
    checkpoint = Checkpoint.from_note(note, service=domain.identity, origin=domain.origin)
    found = viewer.get("/v1/log/entries?first=0&count=100").record
    assert found["size"] == checkpoint.size == len(found["entries"]) == 3
    for shown in found["entries"]:
        leaf = bytes.fromhex(shown["leaf"])
        assert LogEntry.from_bytes(leaf).operation == shown["entry"]["operation"]
        query = f"index={shown['index']}&size={checkpoint.size}"
        proof = viewer.get(f"/v1/log/proof/inclusion?{query}", token="").record
        verify_inclusion(
            leaf=leaf_hash(leaf),
            index=shown["index"],
            size=checkpoint.size,
            proof=[bytes.fromhex(node) for node in proof["proof"]],
            root=checkpoint.root,
        )
    for old in range(1, checkpoint.size + 1):
        proof = viewer.get(f"/v1/log/proof/consistency?old={old}&new={checkpoint.size}").record
        verify_consistency(
            old_size=old,
            old_root=bytes.fromhex(proof["old_root"]),
            size=checkpoint.size,
            root=checkpoint.root,
            proof=[bytes.fromhex(node) for node in proof["proof"]],
        )


@pytest.mark.spec("KH-13")
@pytest.mark.parametrize(
    "target",
    [
        "inclusion?index=3&size=3",
        "inclusion?index=0&size=4",
        "consistency?old=3&new=2",
        "consistency?old=1&new=9007199254740991",
    ],
)
def test_sizes_that_the_log_never_had_are_unknown(viewer: Viewer, target: str) -> None:
    """Whatever the number."""
    found = viewer.get(f"/v1/log/proof/{target}")
    assert (found.status, found.record["code"]) == (404, "log.unknown")


@pytest.mark.spec("KH-12")
def test_entries_stop_at_a_size(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long ones come fewer at a time, and never none."""
    monkeypatch.setattr(module, "_MAX_ENTRIES_BYTES", 1)
    assert len(viewer.get("/v1/log/entries?first=0&count=100").record["entries"]) == 1
    assert viewer.get("/v1/log/entries?first=3&count=100").record["entries"] == []


@pytest.mark.spec("KH-14")
def test_a_policys_bytes_have_its_hash(viewer: Viewer) -> None:
    """And its words are the ones of `cloister policy show`."""
    [listed] = viewer.get("/v1/policies").record["policies"]
    found = viewer.get(f"/v1/policies/{listed['hash']}").record
    policy = policy_from_canonical(bytes.fromhex(found["canonical"]))
    assert digest_to_text(policy_hash(policy)) == listed["hash"]
    assert found["description"][0]["title"] == "Policy lab/digits"
    unknown = viewer.get(f"/v1/policies/{digest_to_text(bytes(32))}")
    assert (unknown.status, unknown.record["code"]) == (404, "release.policy-unknown")
    wrong = viewer.get("/v1/policies/sha256:00")
    assert (wrong.status, wrong.record["code"]) == (400, "request.malformed")


@pytest.mark.spec("KH-15")
def test_volumes_show_no_key(viewer: Viewer) -> None:
    """Whether leased or not; a slice is a slice."""
    lease = viewer.bench.owner().take_lease(b"d" * 16).lease
    assert lease is not None
    found = viewer.get("/v1/volumes")
    assert [each["leased"] for each in found.record["volumes"]] == [False, True]
    for secret in (CODE_KEY, DATA_KEY, lease.secret):
        assert secret.hex().encode() not in found.body
    assert len(viewer.get("/v1/volumes?first=1&count=1").record["volumes"]) == 1


@pytest.mark.spec("KH-16")
def test_readiness_asks_state_and_witness(
    bench: ServiceBench, viewer: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A witness that cannot be asked, or that knows a newer state, is told."""
    assert viewer.get("/readyz", token="").record == {"ready": True, "code": ""}
    assert viewer.get("/healthz", token="").record == {"alive": True}

    def gone(head: object) -> None:
        raise UnavailableError("no witness", code="keyservice.state")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store._freshness, "committing", gone)
        found = viewer.get("/readyz", token="")
        assert (found.status, found.record["code"]) == (503, "keyservice.state")
    counter = bench.platform.counter("keyservice")
    counter.raise_to(bench.store.sequence + 1)
    counter.close()
    assert viewer.get("/readyz", token="").record == {"ready": False, "code": "state.forked"}


def test_an_unknown_policy_is_refused(bench: ServiceBench) -> None:
    """By the facts themselves."""
    facts = module.Facts(
        bench.domain,
        bench.store,
        bench.service.checkpoint,
        sees=partial(bench.service.sees, bench.owner_key.public.raw),
    )
    with pytest.raises(ReleaseDeniedError) as e:
        facts.policy(bytes(32))
    assert e.value.code == "release.policy-unknown"


def test_a_tenant_of_its_own_is_not_shown(viewer: Viewer, bench: ServiceBench) -> None:
    """A namespace with a charter governs itself: who made the token reads nothing there."""
    before = viewer.get("/v1/policies").record["total"]
    assert before == 1
    tenant = SigningKey.generate()
    bench.owner().propose_charter(bench.charter("lab", (tenant,)))
    assert viewer.get("/v1/policies").record == {"total": 0, "policies": []}
    record = bench.store.policies()[0]
    assert viewer.get(f"/v1/policies/sha256:{record.hash.hex()}").status == 404


def test_the_whole_log_is_for_those_of_the_root(viewer: Viewer, bench: ServiceBench) -> None:
    """A founder whom the root's charter does not name any more makes tokens for nothing of it."""
    assert len(viewer.get("/v1/log/entries?first=0&count=5").record["entries"]) == 3
    other = SigningKey.generate()
    bench.owner().propose_charter(bench.charter("/", (other,)))
    assert viewer.get("/v1/log/entries?first=0&count=5").record["entries"] == []
    assert viewer.get("/v1/volumes").record["total"] == 0
