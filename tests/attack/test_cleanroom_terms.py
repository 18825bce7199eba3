"""Two owners against each other, and the operator against both, over one room's terms.

The room is what both signed, or nothing: no owner reads the other's volumes or changes what was
agreed on, roles get what the terms give them, and an end that was approved beforehand only ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloister.attestation.measurement import LaunchMeasurement
from cloister.cleanroom.agreement import SignedTerms, sign_terms
from cloister.cleanroom.governing import (
    approve_closing,
    closing_approvals,
    closing_bytes,
    require_charter,
    require_own_volumes,
)
from cloister.cleanroom.room_policy import code_digest, policy_of
from cloister.cleanroom.standing import standing_of
from cloister.cleanroom.terms_text import parse_terms
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError
from cloister.keyservice.bundle import Bundle
from cloister.keyservice.owner import OwnerClient
from cloister.keyservice.policy import canonical_bytes, parse_policy
from cloister.testing.cleanroom import DATA_OWNER, MODEL_OWNER, sample_agreement, sample_text
from cloister.testing.keyservice import MEASUREMENT, ServiceBench

EVE = SigningKey(b"\x66" * 32)
SPACE = "rooms/digits"
OF_MODEL_OWNER = {"recipe": b"\xc0" * 16, "model": b"\xe0" * 16, "report": b"\xf0" * 16}
OF_DATA_OWNER = {"shard-0": b"\xd0" * 16, "shard-1": b"\xd1" * 16, "report": b"\xf1" * 16}
ROOT = b"\xe5" * 32
KEY_FILE = "/run/secrets/room.key"


@dataclass
class Scene:
    """A service with the room's namespace, volumes and policy."""

    bench: ServiceBench
    agreement: SignedTerms
    facts: Mapping[str, str]

    @property
    def model_owner(self) -> OwnerClient:
        """The model owner's client."""
        return self.bench.client(MODEL_OWNER)

    @property
    def data_owner(self) -> OwnerClient:
        """The data owner's client."""
        return self.bench.client(DATA_OWNER)

    @property
    def policy(self) -> bytes:
        """The canonical bytes of the room's policy."""
        return canonical_bytes(parse_policy(policy_of(self.agreement).encode(), source="room"))

    def apply(self) -> bytes:
        """Bring the policy into force as both owners do; returns its hash."""
        assert not self.data_owner.propose_policy(self.policy).in_force
        done = self.model_owner.propose_policy(self.policy)
        assert done.in_force
        return done.hash

    def ask(
        self, policy: bytes, workload: str, instance: str, *, code: bytes | None = None
    ) -> Bundle:
        """Attest as one of the room's programs."""
        measured = code_digest(self.agreement) if code is None else code
        measurement = LaunchMeasurement(code=measured, runtime=MEASUREMENT.runtime)
        return (
            self.bench.release_client()
            .release(
                policy=policy,
                workload=workload,
                instance=instance,
                measurement=measurement,
                attester=self.bench.attester(),
            )
            .bundle
        )


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Both owners have registered their volumes; the policy is not applied yet."""
    bench = ServiceBench.create(tmp_path)
    bench.owner().propose_charter(bench.charter(SPACE, (MODEL_OWNER, DATA_OWNER)))
    for signer, volumes in ((MODEL_OWNER, OF_MODEL_OWNER), (DATA_OWNER, OF_DATA_OWNER)):
        for name, volume in volumes.items():
            bench.client(signer).register_volume(
                volume,
                key=volume * 2,
                version=1,
                root=ROOT,
                kind=name.partition("-")[0],
                service_hpke=bench.domain.hpke,
                namespace=SPACE,
            )
    facts = {
        "service": bench.domain.identity.raw.hex(),
        "anchor": bench.platform.anchor.text.removeprefix("ed25519:"),
        "measurement": bench.attester().measurement.hex(),
        "runtime": MEASUREMENT.runtime.hex(),
    }
    yield Scene(bench, sample_agreement(**facts), facts)
    bench.close()


def code_of(act: Callable[[], object]) -> str:
    """The code of the refusal; there has to be one."""
    with pytest.raises(CloisterError) as caught:
        act()
    return caught.value.code


@pytest.mark.spec("CT-42", "CT-43")
def test_roles_get_what_the_terms_give_them(scene: Scene) -> None:
    """Each volume with its key, by role and by number; the room's key for two of them only."""
    policy = scene.apply()
    granted = {
        "server": scene.ask(policy, "server", f"0.{'a' * 16}"),
        "trainer-0": scene.ask(policy, "trainer", f"0.{'b' * 16}"),
        "trainer-1": scene.ask(policy, "trainer", f"1.{'c' * 16}"),
        "query": scene.ask(policy, "query", "d" * 16),
    }
    assert {
        name: {path: (grant.name, grant.access) for path, grant in bundle.volumes.items()}
        for name, bundle in granted.items()
    } == {
        "server": {
            "/model": ("model", "write"),
            "/reports/model-owner": ("report-model-owner", "write"),
            "/reports/data-owner": ("report-data-owner", "write"),
        },
        "trainer-0": {"/data": ("shard-0", "read"), "/recipe": ("recipe", "read")},
        "trainer-1": {"/data": ("shard-1", "read"), "/recipe": ("recipe", "read")},
        "query": {"/model": ("model", "read"), "/recipe": ("recipe", "read")},
    }
    assert {name: tuple(bundle.files) for name, bundle in granted.items()} == {
        "server": (KEY_FILE,),
        "query": (KEY_FILE,),
        "trainer-0": (),
        "trainer-1": (),
    }
    key = granted["server"].files[KEY_FILE].content
    assert granted["query"].files[KEY_FILE].content == key
    assert len(bytes.fromhex(key.decode())) == 32


def test_an_owner_asks_for_the_others_volumes(scene: Scene) -> None:
    """Their keys in plain, leases, rotation: before the policy is in force and after it."""
    for _ in range(2):
        for client, own, others in (
            (scene.model_owner, OF_MODEL_OWNER, OF_DATA_OWNER),
            (scene.data_owner, OF_DATA_OWNER, OF_MODEL_OWNER),
        ):
            for volume in own.values():
                assert client.volume_key(volume).keys
            for volume in others.values():
                assert code_of(lambda c=client, v=volume: c.volume_key(v)) == (
                    "release.volume-unknown"
                )
                assert code_of(lambda c=client, v=volume: c.take_lease(v)) == (
                    "release.volume-unknown"
                )
                assert code_of(lambda c=client, v=volume: c.rotate_volume(v, epoch=2)) == (
                    "release.volume-unknown"
                )
        if scene.data_owner.status().policies == ():
            scene.apply()


def test_the_operator_asks_for_volumes_and_policies(scene: Scene) -> None:
    """Who founded the domain and runs its machines has no say below the room's charter."""
    policy = scene.apply()
    for signer in (scene.bench.owner_key, EVE):
        client = scene.bench.client(signer)
        for volume in (*OF_MODEL_OWNER.values(), *OF_DATA_OWNER.values()):
            refusal = code_of(lambda c=client, v=volume: c.volume_key(v))
            assert refusal in {"release.volume-unknown", "release.not-owner"}
        assert code_of(lambda c=client: c.read_policy(policy)) in {
            "release.policy-unknown",
            "release.not-owner",
        }
        assert code_of(lambda c=client: c.propose_policy(closing_bytes(scene.agreement))) == (
            "release.not-owner"
        )


def test_programs_that_are_not_the_rooms(scene: Scene) -> None:
    """Other terms, or a folder with more than the terms, are other code; so nothing is released."""
    policy = scene.apply()
    other = sample_agreement(**scene.facts, limit="1000000")
    for code in (code_digest(other), b"\0" * 32):
        for role, instance in (("server", f"0.{'a' * 16}"), ("query", "b" * 16)):
            assert code_of(lambda r=role, i=instance, c=code: scene.ask(policy, r, i, code=c)) == (
                "appraisal.code"
            )


@pytest.mark.spec("CT-59")
def test_nothing_is_released_before_both_have_approved(scene: Scene) -> None:
    """One owner's approval is a proposal: by the hash that both know, nobody gets anything."""
    assert standing_of(scene.agreement, scene.model_owner).state == "not proposed"
    waiting = scene.data_owner.propose_policy(scene.policy)
    assert (waiting.in_force, waiting.lacking) == (False, 1)
    assert code_of(lambda: scene.ask(waiting.hash, "query", "a" * 16)) == "release.policy-unknown"
    assert standing_of(scene.agreement, scene.model_owner).state == "waiting"


def test_an_owner_changes_the_policy_alone(scene: Scene) -> None:
    """More queries, by terms that one owner signed twice, or that both signed and one approves."""
    room = scene.apply()
    text = sample_text(**scene.facts, limit="1000000")
    text = text.replace("predecessor: none", f'predecessor: "sha256:{room.hex()}"')
    terms = parse_terms(text.encode(), source="more")
    offer = sign_terms(terms, MODEL_OWNER)
    assert code_of(offer.agreed) == "terms.signature"
    forged = SignedTerms(terms, {**offer.signatures, "data_owner": offer.signatures["model_owner"]})
    assert code_of(lambda: policy_of(forged)) == "terms.signature"
    both = sign_terms(terms, DATA_OWNER, before=offer).agreed()
    successor = canonical_bytes(parse_policy(policy_of(both).encode(), source="more"))
    for _ in range(2):
        assert not scene.model_owner.propose_policy(successor).in_force
    assert standing_of(scene.agreement, scene.data_owner).state == "in force"
    assert standing_of(both, scene.data_owner).state == "waiting"
    assert scene.data_owner.propose_policy(successor).in_force
    assert standing_of(scene.agreement, scene.data_owner).state == "replaced"
    assert standing_of(both, scene.data_owner).state == "in force"


@pytest.mark.spec("CT-34")
def test_a_namespace_that_others_govern_too(scene: Scene) -> None:
    """A third approver, one that suffices, or no charter at all: an owner refuses to approve."""
    bench, terms = scene.bench, scene.agreement.terms
    require_charter(scene.model_owner.read_namespace(SPACE), terms)
    for number, (owners, threshold) in enumerate(
        (((MODEL_OWNER, DATA_OWNER, EVE), 2), ((MODEL_OWNER, DATA_OWNER), 1), ((MODEL_OWNER,), 1))
    ):
        place = f"other-{number}"
        bench.owner().propose_charter(bench.charter(place, owners, threshold=threshold))
        facts = scene.model_owner.read_namespace(place)
        assert code_of(lambda f=facts: require_charter(f, terms)) == "config.value"
    facts = bench.owner().read_namespace("/")
    assert code_of(lambda: require_charter(facts, terms)) == "config.value"


@pytest.mark.spec("CT-35")
def test_terms_that_put_an_owners_volume_in_the_others_place(scene: Scene) -> None:
    """A report, a shard or the recipe that is not whose it is said to be, or in another state."""
    terms = scene.agreement.terms
    require_own_volumes(terms, "model_owner", scene.model_owner)
    require_own_volumes(terms, "data_owner", scene.data_owner)
    for party, client, facts in (
        ("data_owner", scene.data_owner, {"report_d": "f0" * 16, "report_m": "f1" * 16}),
        ("model_owner", scene.model_owner, {"report_d": "f0" * 16, "report_m": "f1" * 16}),
        ("data_owner", scene.data_owner, {"data_0": "c0" * 16, "recipe": "d0" * 16}),
        ("model_owner", scene.model_owner, {"data_0": "c0" * 16, "recipe": "d0" * 16}),
        ("data_owner", scene.data_owner, {"root": "e6" * 32}),
        ("model_owner", scene.model_owner, {"root": "e6" * 32}),
        ("data_owner", scene.data_owner, {"data_1": "99" * 16}),
    ):
        swapped = sample_agreement(**scene.facts, **facts).terms
        assert code_of(lambda t=swapped, p=party, c=client: require_own_volumes(t, p, c)) == (
            "config.value"
        )


@pytest.mark.spec("CT-55", "CT-56", "CT-57")
def test_the_data_owner_ends_the_room_alone(scene: Scene) -> None:
    """As the terms say: with the approval that the model owner gave beforehand. Nothing is left."""
    policy = scene.apply()
    scene.ask(policy, "query", "a" * 16)
    at = scene.bench.clock.at
    assert approve_closing(scene.agreement, DATA_OWNER, at=at) is None
    given = approve_closing(scene.agreement, MODEL_OWNER, at=at)
    assert given is not None
    scene.bench.clock.move(7 * 365 * 86400)
    at = scene.bench.clock.at
    approvals = closing_approvals(scene.agreement, DATA_OWNER, (given,), at=at)
    done = scene.data_owner.propose_policy(closing_bytes(scene.agreement), approvals)
    assert done.in_force
    assert standing_of(scene.agreement, scene.model_owner).state == "closed"
    for role, instance in (("server", f"0.{'b' * 16}"), ("query", "c" * 16)):
        for digest in (policy, done.hash):
            assert code_of(lambda d=digest, r=role, i=instance: scene.ask(d, r, i)) in {
                "release.policy-changed",
                "release.policy-unknown",
                "release.workload-unknown",
            }
    # Nobody opens it again alone, and not by the same terms.
    assert code_of(lambda: scene.model_owner.propose_policy(scene.policy)) == "release.predecessor"


@pytest.mark.spec("CT-58", "CT-59")
def test_an_end_is_approved_for_this_room_only(scene: Scene) -> None:
    """The model owner cannot end it alone; an approval of another room's end does not count."""
    scene.apply()
    at = scene.bench.clock.at
    other = sample_agreement(**scene.facts, limit="7")
    foreign = approve_closing(other, MODEL_OWNER, at=at)
    assert foreign is not None
    assert (
        code_of(lambda: closing_approvals(scene.agreement, DATA_OWNER, (foreign,), at=at))
        == "approval.invalid"
    )
    alone = closing_approvals(scene.agreement, MODEL_OWNER, (), at=at)
    assert not scene.model_owner.propose_policy(closing_bytes(scene.agreement), alone).in_force
    found = standing_of(scene.agreement, scene.data_owner)
    assert (found.state, found.closing) == ("in force", True)
    assert found.missing == (DATA_OWNER.public.text,)
    both = closing_approvals(scene.agreement, DATA_OWNER, (), at=at)
    assert scene.data_owner.propose_policy(closing_bytes(scene.agreement), both).in_force
