"""A second platform opens a shared state: once it proved itself, and was approved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, MalformedError
from cloister.keyservice.admitting import StateKeyGrant, admit, join
from cloister.keyservice.approvals import Approval
from cloister.keyservice.clock import read_clock
from cloister.keyservice.cosigning import Quorum, WitnessKey
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.log import LogEntry, read_leaf
from cloister.keyservice.platforms import Admission
from cloister.keyservice.recovering import prepare_platform
from cloister.keyservice.recovery_request import RecoveryRequest
from cloister.keyservice.rekey import Rekey
from cloister.keyservice.rekeying import change_state_key
from cloister.keyservice.restoring import Place
from cloister.keyservice.service import KeyService
from cloister.keyservice.state.platform_rows import admitted
from cloister.keyservice.store import Store
from cloister.tee.sim.attester import SimAttester
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.postgres import PostgresServer

WITNESSES = tuple(
    WitnessKey(f"w.example/{n}", SigningKey(bytes([n]) * 32).public) for n in range(1, 4)
)
IMAGE = b"i" * 32


class Pair:
    """A service's platform, and another that would join it."""

    def __init__(self, folder: Path, address: str) -> None:
        """Make both; the second has asked."""
        self.domain = TrustDomain.create(
            folder / "domain", "example.test", moment=read_clock(), image=IMAGE,
            url="http://127.0.0.1:1", database=address,
        )  # fmt: skip
        prepare_platform(self.domain, folder / "second")
        self.second = TrustDomain.load(folder / "second")
        self.at = read_clock().at
        self.place = Place(self.domain.keyservice_directory, address, self.domain.platform())
        self.there = Place(self.second.keyservice_directory, address, self.second.platform())
        self.request = self.ask(self.there.platform, IMAGE)

    def ask(self, platform: SimPlatform, image: bytes) -> RecoveryRequest:
        """What a platform asks that runs an image."""
        attester = SimAttester(platform, image=image)
        return RecoveryRequest.make(self.domain.identity, platform, attester)

    def admission(self) -> Admission:
        """What approvers sign."""
        return Admission(
            service=self.domain.identity,
            platform=self.request.platform,
            root_of_trust="sim",
            measurements=(IMAGE,),
            minimum_svn=1,
            quorum=Quorum(WITNESSES, 2),
            at=self.at,
        )

    def admit(
        self,
        *keys: SigningKey,
        request: RecoveryRequest | None = None,
        admission: Admission | None = None,
    ) -> StateKeyGrant:
        """Admit with approvals of these keys."""
        asked = admission or self.admission()
        until = self.at + 60
        approvals = [Approval.make(asked.subject, key=key, expires_at=until) for key in keys]
        return admit(self.place, request or self.request, asked, approvals, at=self.at)

    def refused(self, *keys: SigningKey, **changes: object) -> str:
        """The code of an attempt that changes nothing."""
        with pytest.raises(CloisterError) as e:
            self.admit(*keys, **changes)
        store = Store.open_shared(self.place.database, self.place.platform)
        assert admitted(store.tables) is None
        assert store.log_size == 0
        store.close()
        return e.value.code


@pytest.fixture
def pair(tmp_path: Path, postgres: PostgresServer) -> Pair:
    """Two platforms."""
    return Pair(tmp_path, postgres.address(postgres.database()))


def opens(place: Place) -> Store:
    """The state, as a platform opens it."""
    return Store.open_shared(place.database, place.platform)


@pytest.mark.spec("BR-53", "BR-57", "BR-58")
def test_a_change_of_the_key_leaves_other_platforms_out(pair: Pair) -> None:
    """They are told so, older grants and admissions do not help, and a newer one does."""
    owner = pair.domain.owner_key()
    grant = pair.admit(owner)
    join(pair.there, pair.request, grant)
    running = opens(pair.there)
    later = pair.at + 1
    statement = Rekey(pair.domain.identity, pair.place.platform.anchor, later)
    yes = Approval.make(statement.subject, key=owner, expires_at=later + 60)
    done = change_state_key(pair.place, statement, [yes], at=later)
    assert done.left_out == (pair.there.platform.anchor.raw,)
    store = opens(pair.place)
    known = admitted(store.tables)
    assert known is not None
    assert known.platforms == (pair.place.platform.anchor.raw,)
    assert known.quorum == 2
    store.close()
    attempts: list[tuple[Callable[[], object], str]] = [
        (running.refresh, "state.key-changed"),
        (lambda: opens(pair.there), "state.key-changed"),
        (lambda: join(pair.there, pair.request, grant), "recovery.superseded"),
        (lambda: pair.admit(owner), "approval.invalid"),
    ]
    for attempt, code in attempts:
        with pytest.raises(CloisterError) as e:
            attempt()
        assert e.value.code == code
    running.close()
    join(pair.there, pair.request, pair.admit(owner, admission=replace(pair.admission(), at=later)))
    store = opens(pair.there)
    assert store.key.name == done.name
    store.close()


@pytest.mark.spec("BR-41", "BR-42", "BR-43", "BR-44")
def test_an_admitted_platform_opens_the_state(pair: Pair) -> None:
    """It could not before; the log says who was admitted."""
    with pytest.raises(CloisterError) as e:
        opens(pair.there)
    assert e.value.code == "state.tampered"
    grant = pair.admit(pair.domain.owner_key())
    join(pair.there, pair.request, StateKeyGrant.from_bytes(grant.to_bytes()))
    store = opens(pair.there)
    assert SigningKey(store.secrets().signing_seed).public == pair.domain.identity
    found = admitted(store.tables)
    assert found is not None
    assert found.platforms == (pair.place.platform.anchor.raw, pair.there.platform.anchor.raw)
    leaves = [read_leaf(leaf) for leaf in store.entries(0, 9)]
    entry = next(leaf for leaf in leaves if isinstance(leaf, LogEntry))
    assert (entry.operation, entry.subject) == (
        "state.platform",
        pair.there.platform.anchor.text,
    )
    assert entry.evidence == pair.admission().subject.hash
    assert store.key.to_secret() not in grant.to_bytes()
    store.close()
    opens(pair.place).close()


@pytest.mark.spec("BR-41")
def test_nobody_is_admitted_who_was_not_approved(pair: Pair) -> None:
    """No approval, an operator's, or one for another service."""
    owner, operator = pair.domain.owner_key(), SigningKey.generate()
    foreign = replace(pair.admission(), service=operator.public)
    assert pair.refused() == "approval.pending"
    assert pair.refused(operator) == "approval.not-approver"
    assert pair.refused(owner, admission=foreign) == "approval.invalid"


@pytest.mark.spec("BR-41")
def test_a_platform_that_proves_something_else_is_refused(pair: Pair, tmp_path: Path) -> None:
    """Another platform, another image, another key than the attested one."""
    owner = pair.domain.owner_key()
    other = SimPlatform.create(tmp_path / "other", svn=1, debug=False)
    changed = replace(pair.request, hpke=HPKEPrivateKey.generate().public)
    old = replace(pair.admission(), minimum_svn=9)
    assert pair.refused(owner, request=pair.ask(other, IMAGE)) == "endorsement.anchor"
    image = pair.ask(pair.there.platform, b"j" * 32)
    assert pair.refused(owner, request=image) == "appraisal.measurement"
    assert pair.refused(owner, request=changed) == "evidence.binding"
    assert pair.refused(owner, admission=old) == "appraisal.svn"


@pytest.mark.spec("BR-43")
def test_a_grant_is_for_one_request(pair: Pair) -> None:
    """Another platform's, another request's and a changed one give nothing."""
    grant = pair.admit(pair.domain.owner_key())
    again = pair.ask(pair.there.platform, IMAGE)
    for request, given, place in (
        (again, grant, pair.there),
        (pair.request, grant, pair.place),
        (pair.request, replace(grant, sealed=grant.sealed[:-1] + b"\x00\x00"), pair.there),
        (again, replace(grant, request=again.digest), pair.there),
    ):
        with pytest.raises(CloisterError) as e:
            join(place, request, given)
        assert e.value.code == "recovery.share"
    with pytest.raises(CloisterError):
        opens(pair.there)


@pytest.mark.spec("BR-43")
def test_a_key_of_another_state_is_not_kept(pair: Pair, postgres: PostgresServer) -> None:
    """Who is led to another database writes nothing there."""
    grant = pair.admit(pair.domain.owner_key())
    empty = postgres.address(postgres.database())
    with pytest.raises(CloisterError) as e:
        join(replace(pair.there, database=empty), pair.request, grant)
    assert e.value.code == "state.tampered"


@pytest.mark.spec("BR-41")
def test_an_embedded_state_has_one_platform(pair: Pair) -> None:
    """Neither admits nor joins."""
    grant = pair.admit(pair.domain.owner_key())
    pair.place, pair.there = (replace(each, database="") for each in (pair.place, pair.there))
    with pytest.raises(CloisterError) as e:
        pair.admit(pair.domain.owner_key())
    assert e.value.code == "config.value"
    with pytest.raises(CloisterError) as e:
        join(pair.there, pair.request, grant)
    assert e.value.code == "config.value"


@pytest.mark.spec("BR-45")
def test_a_service_on_two_platforms_needs_its_witnesses(pair: Pair) -> None:
    """One that has none does not start, and one that runs stops deciding."""
    store = opens(pair.place)
    moment = read_clock()
    service = KeyService(
        store,
        moment=moment,
        attester=SimAttester(pair.place.platform, image=IMAGE),
        witnesses=None,
    )
    pair.admit(pair.domain.owner_key())
    answer = service.handle("/v1/owner", b"anything", moment)
    assert answer.code == "keyservice.witnesses"
    with pytest.raises(CloisterError) as e:
        KeyService(
            store,
            moment=moment,
            attester=SimAttester(pair.place.platform, image=IMAGE),
            witnesses=None,
        )
    assert e.value.code == "keyservice.witnesses"
    store.close()


@pytest.mark.spec("BR-42")
def test_other_bytes_are_no_grant(pair: Pair) -> None:
    """Cut or longer."""
    data = pair.admit(pair.domain.owner_key()).to_bytes()
    for wrong in (b"", data[:-1], data + b"\x00"):
        with pytest.raises(MalformedError):
            StateKeyGrant.from_bytes(wrong)
