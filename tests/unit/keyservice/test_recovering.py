"""A service comes back on a new platform: with its identity, by enough holders and approvers."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloister.crypto.hpke import HPKEPrivateKey
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, ConfigError
from cloister.keyservice.approvals import Approval, Subject
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.log import LogEntry, read_leaf
from cloister.keyservice.recovering import make_shares, prepare_platform, recover
from cloister.keyservice.recovery_plan import RecoveryPlan
from cloister.keyservice.recovery_request import RecoveryRequest, require_recovering
from cloister.keyservice.recovery_shares import SealedShare, give
from cloister.keyservice.rekey import Rekey
from cloister.keyservice.rekeying import change_state_key
from cloister.keyservice.reset import Reset
from cloister.keyservice.restoring import Place, back_up, propose_reset
from cloister.keyservice.service import KeyService
from cloister.keyservice.state.backup import Backup, write_backup
from cloister.keyservice.store import Store
from cloister.tee.sim.attester import SimAttester
from cloister.testing.keyservice import CODE_ID, DATA_ID, DATA_KEY, ServiceBench, policy_text
from cloister.testing.postgres import PostgresServer

GIVEN_UP = 1000


@dataclass
class Disaster:
    """A service with shares and a backup, whose platform and disk burn; and a new machine."""

    bench: ServiceBench
    holders: list[HPKEPrivateKey]
    shares: list[SealedShare] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where everything is."""
        return self.bench.domain.directory.parent

    @property
    def backup(self) -> Path:
        """The backup."""
        return self.folder / "backup"

    def plan(self) -> RecoveryPlan:
        """Two of three."""
        digests = tuple(key.public.identity for key in self.holders)
        return RecoveryPlan(self.bench.domain.identity, 2, digests, self.bench.clock.at)

    def place(self) -> Place:
        """Where the old state is."""
        return Place(self.bench.domain.keyservice_directory, "", self.bench.platform)

    def split(self, *keys: SigningKey, plan: RecoveryPlan | None = None) -> None:
        """Split the state key with approvals of these keys, the owner's where none is named."""
        asked = plan or self.plan()
        paths = make_shares(
            self.place(),
            asked,
            [self.yes(asked.subject, key) for key in keys or (self.bench.owner_key,)],
            [key.public for key in self.holders],
            into=self.folder / "shares",
            at=self.bench.clock.at,
        )
        self.shares = [SealedShare.from_bytes(path.read_bytes()) for path in paths]

    def yes(self, subject: Subject, key: SigningKey) -> Approval:
        """An approval."""
        return Approval.make(subject, key=key, expires_at=self.bench.clock.at + 60)

    def burn(self) -> TrustDomain:
        """Lose platform and state; the owner prepares and pins a new platform."""
        shutil.rmtree(self.bench.domain.keyservice_directory)
        shutil.rmtree(self.bench.domain.directory / "platform")
        new = self.folder / "new"
        anchor = prepare_platform(self.bench.domain, new)
        self.bench.domain = self.bench.domain.pin_platforms([anchor])
        shutil.copy(self.bench.domain.directory / "domain.json", new)
        return TrustDomain.load(new)

    def give(self, request: RecoveryRequest, *places: int) -> list[SealedShare]:
        """What holders give, after they checked."""
        domain, at = self.bench.domain, self.bench.clock.at
        platform = require_recovering(request, domain.service, service=domain.identity, at=at)
        return [give(self.shares[n], self.holders[n], platform) for n in places]


@pytest.fixture
def disaster(tmp_path: Path) -> Disaster:
    """Before it happens: stopped, so that the key can be split."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    bench.apply(policy_text(bench))
    bench.close()
    return Disaster(bench, [HPKEPrivateKey.generate() for _ in range(3)])


class NewMachine:
    """The machine that recovers."""

    def __init__(self, disaster: Disaster, database: str = "") -> None:
        """Everything burnt."""
        self.disaster, self.bench = disaster, disaster.bench
        self.domain = disaster.burn()
        self.platform = self.domain.platform()
        self.place = Place(self.domain.keyservice_directory, database, self.platform)
        attester = SimAttester(self.platform, image=self.image())
        self.request = RecoveryRequest.make(self.domain.identity, self.platform, attester)

    def image(self) -> bytes:
        """What is installed here."""
        [image] = self.domain.service.measurements
        return image

    def statement(self) -> Reset:
        """The reset for this platform."""
        return propose_reset(
            self.disaster.backup,
            service=self.domain.identity,
            platform=self.platform.anchor,
            given_up=GIVEN_UP,
            at=self.bench.clock.at,
        )

    def recover(
        self, shares: list[SealedShare], *keys: SigningKey, path: Path | None = None
    ) -> None:
        """Try it with approvals of these keys."""
        statement = self.statement()
        head = recover(
            path or self.disaster.backup,
            self.place,
            self.request,
            shares=shares,
            statement=statement,
            approvals=[self.disaster.yes(statement.subject, key) for key in keys],
            at=self.bench.clock.at,
        )
        assert head == statement.next_head

    def refused(
        self, shares: list[SealedShare], *keys: SigningKey, path: Path | None = None
    ) -> str:
        """The code of an attempt that fails, and leaves nothing."""
        with pytest.raises(CloisterError) as e:
            self.recover(shares, *keys, path=path)
        assert list(self.place.directory.glob("state*")) == []
        return e.value.code


def backed_up(disaster: Disaster) -> None:
    """Make the backup."""
    back_up(disaster.place(), disaster.backup, progress=lambda _done, _total: None)


@pytest.mark.spec("BR-21", "BR-30", "BR-31")
def test_a_service_comes_back_on_a_new_platform(disaster: Disaster) -> None:
    """Clients that pinned it go on, with the keys that they had; shares and backup in any order."""
    backed_up(disaster)
    disaster.split()
    new = NewMachine(disaster)
    new.recover(disaster.give(new.request, 2, 0), new.bench.owner_key)
    bench = disaster.bench
    bench.platform = new.platform
    bench.store = Store.open(new.domain.keyservice_directory, new.platform)
    bench.service = KeyService(
        bench.store, moment=bench.clock(), attester=bench.attester(), witnesses=None
    )
    assert bench.service.identity == bench.domain.identity
    assert bench.owner().volume_key(DATA_ID).keys.newest == DATA_KEY
    bench.owner().call.require_genuine(bench.domain.hpke)
    assert bench.store.sequence > GIVEN_UP
    slots = [name for name, _ in bench.store._backend.slots() if name.startswith("state-key/")]
    assert slots == [f"state-key/{new.platform.anchor.text}"]
    assert bench.store.volume(CODE_ID) is not None
    bench.close()


@pytest.mark.spec("BR-31")
def test_it_comes_back_into_a_database_too(disaster: Disaster, postgres: PostgresServer) -> None:
    """Which several replicas then use."""
    backed_up(disaster)
    disaster.split()
    new = NewMachine(disaster, postgres.address(postgres.database()))
    new.recover(disaster.give(new.request, 0, 1), new.bench.owner_key)
    store = Store.open_shared(new.place.database, new.platform)
    assert SigningKey(store.secrets().signing_seed).public == new.domain.identity
    store.close()


@pytest.mark.spec("BR-21")
def test_the_log_says_that_the_key_was_split(disaster: Disaster) -> None:
    """By which plan; the files are for their holders alone."""
    disaster.split()
    store = Store.open(disaster.bench.domain.keyservice_directory, disaster.bench.platform)
    entries = [read_leaf(leaf) for leaf in store.entries(0, 100)]
    [entry] = [
        each for each in entries if isinstance(each, LogEntry) and each.operation == "state.split"
    ]
    assert (entry.subject, entry.evidence) == ("2 of 3", disaster.plan().subject.hash)
    key = store.key.to_secret()
    store.close()
    folder = disaster.folder / "shares"
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert key not in path.read_bytes()


@pytest.mark.spec("BR-21")
def test_an_operator_does_not_split_the_key(disaster: Disaster) -> None:
    """To keys of his own, with approvals of his own, or by another service's plan."""
    bench = disaster.bench
    operator = SigningKey.generate()
    plan = disaster.plan()
    reset_ = Approval.make(
        Subject(plan.service.raw, "reset", "/", plan.subject.hash, plan.subject.predecessor),
        key=bench.owner_key,
        expires_at=bench.clock.at + 60,
    )
    foreign = RecoveryPlan(operator.public, 2, plan.holders, plan.at)
    attempts: list[tuple[RecoveryPlan, list[Approval], str]] = [
        (plan, [], "approval.pending"),
        (plan, [disaster.yes(plan.subject, operator)], "approval.not-approver"),
        (plan, [reset_], "approval.invalid"),
        (foreign, [disaster.yes(foreign.subject, bench.owner_key)], "approval.invalid"),
    ]
    keys = [key.public for key in disaster.holders]
    for asked, approvals, code in attempts:
        with pytest.raises(CloisterError) as e:
            make_shares(
                disaster.place(), asked, approvals, keys,
                into=disaster.folder / "shares", at=bench.clock.at,
            )  # fmt: skip
        assert e.value.code == code
    mine = [HPKEPrivateKey.generate().public for _ in range(3)]
    approvals = [disaster.yes(plan.subject, bench.owner_key)]
    with pytest.raises(ConfigError):
        make_shares(
            disaster.place(), plan, approvals, mine,
            into=disaster.folder / "shares", at=bench.clock.at,
        )  # fmt: skip
    assert not (disaster.folder / "shares").exists()


@pytest.mark.spec("BR-21")
def test_an_embedded_state_in_use_is_not_split(disaster: Disaster) -> None:
    """The entry belongs into the log, which the service is writing."""
    bench = disaster.bench
    bench.store = Store.open(bench.domain.keyservice_directory, bench.platform)
    with pytest.raises(CloisterError) as e:
        disaster.split()
    assert e.value.code == "keyservice.busy"
    assert not (disaster.folder / "shares").exists()
    bench.close()


@pytest.mark.spec("BR-28", "BR-30")
def test_what_is_not_enough_brings_nothing_back(disaster: Disaster) -> None:
    """Too few shares, of two sets, of a holder twice; shares without approval; approval alone."""
    backed_up(disaster)
    disaster.split()
    first = disaster.shares
    shutil.rmtree(disaster.folder / "shares")
    disaster.split()
    second = disaster.shares
    new = NewMachine(disaster)
    owner = new.bench.owner_key
    disaster.shares = first
    given = disaster.give(new.request, 0, 1)
    disaster.shares = second
    other = disaster.give(new.request, 1)
    assert new.refused([], owner) == "recovery.too-few"
    assert new.refused(given[:1], owner) == "recovery.too-few"
    assert new.refused([given[0], *other], owner) == "recovery.share"
    assert new.refused([given[0], given[0]], owner) == "recovery.share"
    assert new.refused(first[:2], owner) == "recovery.share"
    assert new.refused(given) == "approval.pending"
    assert new.refused(given, SigningKey.generate()) == "approval.not-approver"
    new.recover(given, owner)


@pytest.mark.spec("BR-26", "BR-28", "BR-30")
def test_no_operator_gets_a_share(disaster: Disaster) -> None:
    """A platform that nobody pinned gets none, and what another one got is of no use to him."""
    backed_up(disaster)
    disaster.split()
    new = NewMachine(disaster)
    given = disaster.give(new.request, 0, 1)
    operator = disaster.folder / "operator"
    anchor = prepare_platform(disaster.bench.domain, operator)
    his = TrustDomain.load(operator)
    attester = SimAttester(his.platform(), image=new.image())
    request = RecoveryRequest.make(his.identity, his.platform(), attester)
    with pytest.raises(CloisterError) as e:
        disaster.give(request, 0)
    assert e.value.code == "endorsement.anchor"
    assert anchor != new.platform.anchor
    new.place = Place(his.keyservice_directory, "", his.platform())
    assert new.refused(given, new.bench.owner_key) == "recovery.share"


@pytest.mark.spec("BR-30")
def test_another_services_backup_does_not_open(disaster: Disaster, tmp_path: Path) -> None:
    """The key is of one state."""
    backed_up(disaster)
    disaster.split()
    other = ServiceBench.create(tmp_path, "other.test")
    path = tmp_path / "foreign"
    place = Place(other.domain.keyservice_directory, "", other.platform)
    back_up(place, path, progress=lambda _done, _total: None)
    other.close()
    new = NewMachine(disaster)
    given = disaster.give(new.request, 0, 1)
    assert new.refused(given, new.bench.owner_key, path=path) == "state.tampered"


@pytest.mark.spec("BR-30")
def test_an_approval_for_the_old_platform_is_of_no_use(disaster: Disaster) -> None:
    """A reset names where it happens."""
    backed_up(disaster)
    disaster.split()
    anchor = disaster.bench.platform.anchor
    new = NewMachine(disaster)
    statement = propose_reset(
        disaster.backup,
        service=new.domain.identity,
        platform=anchor,
        given_up=GIVEN_UP,
        at=new.bench.clock.at,
    )
    with pytest.raises(CloisterError) as e:
        recover(
            disaster.backup,
            new.place,
            new.request,
            shares=disaster.give(new.request, 0, 1),
            statement=statement,
            approvals=[disaster.yes(statement.subject, new.bench.owner_key)],
            at=new.bench.clock.at,
        )
    assert e.value.code == "approval.invalid"


def rekeyed(disaster: Disaster) -> None:
    """The owner has the state key changed."""
    bench = disaster.bench
    statement = Rekey(bench.domain.identity, bench.platform.anchor, bench.clock.at)
    approvals = [disaster.yes(statement.subject, bench.owner_key)]
    change_state_key(disaster.place(), statement, approvals, at=bench.clock.at)


@pytest.mark.spec("BR-58", "KS-76")
def test_shares_of_an_older_key_bring_back_nothing_newer(disaster: Disaster) -> None:
    """They are refused by their own code; those of a plan that was made since bring it back."""
    disaster.split()
    old = disaster.shares
    rekeyed(disaster)
    shutil.rmtree(disaster.folder / "shares")
    disaster.split()
    newer = disaster.shares
    backed_up(disaster)
    new = NewMachine(disaster)
    owner = new.bench.owner_key
    disaster.shares = old
    given = disaster.give(new.request, 0, 1)
    assert new.refused(given, owner) == "recovery.superseded"
    assert new.refused([], owner) == "recovery.too-few"
    without = disaster.folder / "without"
    rewritten(disaster.backup, without)
    assert new.refused(given, owner, path=without) == "state.tampered"
    disaster.shares = newer
    new.recover(disaster.give(new.request, 1, 2), owner)
    store = new.place.open()
    assert store.volume(DATA_ID) is not None
    slots = [name.partition("/")[0] for name, _ in store._backend.slots()]
    assert sorted(slots) == ["format", "retired-key", "state-key"]
    store.close()


@pytest.mark.spec("BR-58")
def test_a_backup_of_before_opens_with_the_shares_of_before(disaster: Disaster) -> None:
    """It is what they were given out for; approvers decide whether anybody goes back to it."""
    backed_up(disaster)
    disaster.split()
    rekeyed(disaster)
    new = NewMachine(disaster)
    given = disaster.give(new.request, 0, 1)
    assert new.refused(given) == "approval.pending"
    new.recover(given, new.bench.owner_key)


def rewritten(backup: Path, path: Path) -> None:
    """The same backup, as an operator makes it who hides that a key was changed."""

    class Hiding(Backup):
        def slots(self) -> Iterator[tuple[str, bytes]]:
            return (slot for slot in super().slots() if not slot[0].startswith("retired-key/"))

    with contextlib.closing(Hiding(backup)) as found, path.open("wb") as file:
        write_backup(found, file, progress=lambda _done, _total: None)


def test_a_platform_is_made_in_a_new_folder(disaster: Disaster) -> None:
    """With the domain's public facts, and nothing of the old one's."""
    new = disaster.folder / "new"
    anchor = prepare_platform(disaster.bench.domain, new)
    assert TrustDomain.load(new).identity == disaster.bench.domain.identity
    assert TrustDomain.load(new).platform().anchor == anchor
    assert sorted(path.name for path in new.iterdir()) == ["domain.json", "keyservice", "platform"]
    assert new.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigError) as e:
        prepare_platform(disaster.bench.domain, new)
    assert e.value.code == "config.exists"
    with pytest.raises(ConfigError) as e:
        prepare_platform(disaster.bench.domain, disaster.folder / "no" / "new")
    assert e.value.code == "config.file"
