"""Members join, renew, leave, lapse, are expelled and give up their places.

The store shows what a simple model says, while the owner replaces the policy, the clock moves, and
the service starts again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloister.errors import ReleaseDeniedError
from cloister.keyservice.jobs import Jobs
from cloister.keyservice.member_records import Member
from cloister.keyservice.records import PolicyRecord
from cloister.keyservice.roster import make_roster
from cloister.keyservice.store import ServiceSecrets, Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.state import MemoryBackend, MemoryFreshness

LIFETIME: Final = 30
MAXIMUM: Final = 2
# Instances of `worker` are numbered.
ALL_ROLES: Final = ("serve", "train", "worker")
ROLES: Final = st.sampled_from(ALL_ROLES)
INSTANCES: Final = st.sampled_from([f"{index}.{end * 16}" for index in "01" for end in "ab"])
KEYS: Final = st.integers(0, 3)
PAUSES: Final = st.integers(0, 20)
SECRETS: Final = ServiceSecrets(b"s", b"h", b"k", b"c", b"r", b"o", "example.test")

# (role, instance) to (key, since, expires)
_Live = dict[tuple[str, str], tuple[int, int, int]]


class MembershipMachine(RuleBasedStateMachine):
    """One job over one store that is opened again now and then."""

    def __init__(self) -> None:
        """Nobody has joined; the first version of the policy is in force."""
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.platform = SimPlatform.create(Path(self.folder.name) / "p", svn=1, debug=False)
        self.backend = MemoryBackend()
        self.store = Store.found(self.backend, self.platform, MemoryFreshness(), SECRETS)
        self.at = 1000
        self.version = 0
        self.live: _Live = {}
        self.expelled: set[tuple[int, int]] = set()
        self.epoch = 0
        self.shown = (0, frozenset[tuple[str, str, int]]())

    def teardown(self) -> None:
        """Close everything."""
        self.store.close()
        self.folder.cleanup()

    @property
    def policy(self) -> PolicyRecord:
        """The version that is in force."""
        return PolicyRecord(bytes([self.version]) * 32, b"", "lab", "digits", current=True, at=0)

    def pass_time(self, seconds: int) -> None:
        """Move the clock; in the model, who lapses goes in one step."""
        self.at += seconds
        staying = {name: facts for name, facts in self.live.items() if self.at < facts[2]}
        self.epoch += len(staying) < len(self.live)
        self.live = staying

    @rule(role=ROLES, instance=INSTANCES, key=KEYS, pause=PAUSES)
    def release(self, role: str, instance: str, key: int, pause: int) -> None:
        """Somebody is granted a release, perhaps in another's place, or refused as a member."""
        before = (self.epoch, dict(self.live))
        self.pass_time(pause)
        present = self.live.get((role, instance))
        index = int(instance[0]) if role == "worker" else None
        places = [
            name
            for name in self.live
            if index is not None
            and name != (role, instance)
            and (name[0], name[1][0]) == (role, instance[0])
        ]
        others = sum(name[0] == role for name in self.live) - len(places)
        if (self.version, key) in self.expelled:
            expected = "release.expelled"
        elif present is not None and present[0] != key:
            expected = "release.instance-taken"
        elif present is None and others >= MAXIMUM:
            expected = "release.too-many"
        else:
            expected = ""
        expires = self.at + LIFETIME
        uri = f"spiffe://example.test/lab/digits/{role}/{instance}"
        evidence = self.at.to_bytes(32, "big")
        candidate = Member(
            role,
            instance,
            uri,
            self.policy.hash,
            evidence,
            evidence,
            bytes([key]) * 32,
            self.at,
            self.at,
            expires,
        )
        found = ""
        try:
            with self.store.transaction():
                Jobs(self.store).admit(
                    self.policy, candidate, index=index, maximum=MAXIMUM, at=self.at
                )
        except ReleaseDeniedError as e:
            found = e.code
        assert found == expected, before
        if not found:
            since = self.at if present is None else present[1]
            self.epoch += (present is None) + len(places)
            for name in places:
                del self.live[name]
            self.live[role, instance] = (key, since, expires)

    @rule(role=ROLES, instance=INSTANCES)
    def leave(self, role: str, instance: str) -> None:
        """A member leaves."""
        jobs = Jobs(self.store)
        job = jobs.settled(self.policy, at=self.at)
        member = jobs.member(job, role, instance)
        assert (member is not None) == ((role, instance) in self.live)
        if member is not None:
            with self.store.transaction():
                jobs.leave(job, member, at=self.at)
            del self.live[role, instance]
            self.epoch += 1

    @rule(role=ROLES, instance=INSTANCES)
    def expel(self, role: str, instance: str) -> None:
        """The owner expels a member, and with it its key under every name."""
        jobs = Jobs(self.store)
        job = jobs.settled(self.policy, at=self.at)
        member = jobs.member(job, role, instance)
        if member is None:
            return
        with self.store.transaction():
            jobs.expel(job, member, at=self.at)
        key = self.live[role, instance][0]
        self.expelled.add((self.version, key))
        self.live = {name: facts for name, facts in self.live.items() if facts[0] != key}
        self.epoch += 1

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.pass_time(seconds)

    @rule()
    def replace_policy(self) -> None:
        """The owner applies the next version."""
        self.version += 1
        self.epoch += bool(self.live)
        self.live = {}

    @rule()
    def restart(self) -> None:
        """The service starts again from what is durable."""
        self.store = Store.load(self.backend, self.platform, MemoryFreshness())

    @invariant()
    def the_roster_is_the_model(self) -> None:
        """Exactly the live members, none lapsed or expelled, at most so many of a role."""
        jobs = Jobs(self.store)
        job = jobs.settled(self.policy, at=self.at)
        members = jobs.members(job)
        roster = make_roster(job, members, domain="example.test", of="", epoch_at=self.at)
        found = {
            (each.role, each.instance): (each.key_digest[0], each.since, each.expires)
            for each in roster.members
        }
        assert found == self.live
        assert roster.epoch == self.epoch
        numbered = [name[1][0] for name in found if name[0] == "worker"]
        assert len(numbered) == len(set(numbered))
        for role in ALL_ROLES:
            count = sum(each.role == role for each in roster.members)
            assert count == job.live.get(role, 0) <= MAXIMUM
        for each in roster.members:
            assert self.at < each.expires
            assert (self.version, each.key_digest[0]) not in self.expelled

    @invariant()
    def the_epoch_tells_sets_apart(self) -> None:
        """It never goes back, and two different sets never have one epoch."""
        present = frozenset((*name, facts[0]) for name, facts in self.live.items())
        epoch, before = self.shown
        assert self.epoch >= epoch
        assert present == before or self.epoch > epoch
        self.shown = (self.epoch, present)


TestMembership = MembershipMachine.TestCase
TestMembership.settings = settings(max_examples=60, stateful_step_count=40)
