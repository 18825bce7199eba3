"""Messages round-trip, the log proves itself, and anchors behave like one register."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloister.attestation.evidence import Evidence
from cloister.attestation.measurement import LaunchMeasurement
from cloister.crypto.keyring import KeyRing
from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.keyservice import merkle
from cloister.keyservice.anchoring import AnchorReply, AnchorRequest
from cloister.keyservice.bundle import Bundle, Lease, ListenerGrant, VolumeGrant
from cloister.keyservice.leases import AnchorMove, LeaseTable, advance, require_epoch, take
from cloister.keyservice.log import LogEntry, Receipt, StateCommitment, read_leaf
from cloister.keyservice.messages import Challenge, ReleaseRequest
from cloister.keyservice.records import Holder, VolumeRecord
from cloister.tee.sim.layout import SimReport

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
NAME = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
WHOLE = st.integers(0, 2**62)
EPOCH = st.integers(1, 2**40)


def octets(count: int) -> st.SearchStrategy[bytes]:
    """Exactly so many bytes."""
    return st.binary(min_size=count, max_size=count)


MEASUREMENTS = st.builds(LaunchMeasurement, octets(32), octets(32))
REQUESTS = st.builds(
    ReleaseRequest,
    service=octets(32),
    nonce=octets(32),
    policy=octets(32),
    workload=NAME,
    instance=NAME,
    hpke_key=octets(1216),
    certificate_request=st.binary(min_size=1, max_size=100),
    measurement=MEASUREMENTS,
    evidence=st.builds(Evidence, TEXT, st.binary(max_size=200)),
)
RINGS = st.builds(
    lambda keys, gone: KeyRing(len(keys) + gone, tuple(keys)),
    st.lists(octets(32), min_size=1, max_size=4),
    st.integers(0, 3),
)
GRANTS = st.builds(
    VolumeGrant,
    name=NAME,
    id=octets(16),
    keys=RINGS,
    access=st.just("write"),
    version=WHOLE,
    root=octets(32),
    epoch=WHOLE,
    lease=st.builds(Lease, EPOCH, octets(32), st.integers(1, 3600)),
)
RECEIPTS = st.builds(
    Receipt,
    st.binary(max_size=100),
    WHOLE,
    st.lists(octets(32), max_size=8).map(tuple),
    TEXT,
)
BUNDLES = st.builds(
    Bundle,
    policy=octets(32),
    workload=NAME,
    instance=NAME,
    identity=TEXT,
    command=st.lists(TEXT, min_size=1, max_size=4).map(tuple),
    environment=st.dictionaries(TEXT, TEXT, max_size=4),
    volumes=st.dictionaries(TEXT, GRANTS, max_size=3),
    listen=st.dictionaries(
        TEXT,
        st.builds(ListenerGrant, st.integers(0, 65535), st.just(("a",)), st.just("")),
        max_size=2,
    ),
    logs=st.sampled_from(["pass", "drop"]),
    certificate=st.binary(max_size=50),
    ca=st.binary(max_size=50),
    result=st.binary(max_size=50),
    receipt=RECEIPTS,
)
MOVES = st.builds(
    lambda version, root, step, new, key: AnchorMove(version, root, version + step, new, key),
    WHOLE,
    octets(32),
    st.integers(1, 100),
    octets(32),
    st.integers(1, 2**24),
)
ANCHORS = st.builds(
    AnchorRequest,
    service=octets(32),
    nonce=octets(32),
    volume=octets(16),
    epoch=EPOCH,
    operation=st.just("advance"),
    move=MOVES,
)


@given(REQUESTS)
def test_release_requests_round_trip(request: ReleaseRequest) -> None:
    """What is written is read, and binds the same."""
    again = ReleaseRequest.from_bytes(request.to_bytes())
    assert again == request
    assert again.report_data() == request.report_data()


@given(REQUESTS, REQUESTS)
def test_different_requests_bind_differently(one: ReleaseRequest, other: ReleaseRequest) -> None:
    """Evidence is outside of its own binding, all else is inside."""
    blank = Evidence("", b"")
    same = dataclasses.replace(one, evidence=blank) == dataclasses.replace(other, evidence=blank)
    assert (one.report_data() == other.report_data()) == same


@given(BUNDLES)
def test_bundles_round_trip(bundle: Bundle) -> None:
    """What is written is read."""
    assert Bundle.from_bytes(bundle.to_bytes()) == bundle


@given(ANCHORS)
def test_anchor_requests_round_trip(request: AnchorRequest) -> None:
    """What is written is read."""
    assert AnchorRequest.from_bytes(request.to_bytes()) == request


@given(st.builds(AnchorReply, WHOLE, WHOLE, octets(32), WHOLE))
def test_anchor_replies_round_trip(reply: AnchorReply) -> None:
    """What is written is read."""
    assert AnchorReply.from_bytes(reply.to_bytes()) == reply


@given(st.builds(Challenge, octets(32), octets(32), st.integers(1, 86400)))
def test_challenges_round_trip(challenge: Challenge) -> None:
    """What is written is read."""
    assert Challenge.from_bytes(challenge.to_bytes()) == challenge


OPERATION = TEXT.filter(lambda text: text != "state")


@given(st.builds(LogEntry, WHOLE, OPERATION, TEXT, octets(32), TEXT, TEXT, octets(32), octets(32)))
def test_log_entries_round_trip(entry: LogEntry) -> None:
    """What is written is read, also where the kind of leaf is not known before."""
    assert LogEntry.from_bytes(entry.to_bytes()) == read_leaf(entry.to_bytes()) == entry


@given(st.builds(StateCommitment, WHOLE, octets(32)))
def test_state_commitments_round_trip(commitment: StateCommitment) -> None:
    """What is written is read."""
    assert read_leaf(commitment.to_bytes()) == commitment


@given(
    st.builds(SimReport, octets(32), octets(32), octets(64), st.booleans(), st.integers(0, 65535))
)
def test_simulated_reports_round_trip(report: SimReport) -> None:
    """What is written is read."""
    assert SimReport.from_bytes(report.to_bytes()) == report


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=70), st.data())
def test_logs_prove_inclusion_and_consistency(entries: list[bytes], data: st.DataObject) -> None:
    """For any log, any entry and any earlier size."""
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    root = merkle.root_of_leaves(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = merkle.inclusion_proof(leaves, index)
    merkle.verify_inclusion(
        leaf=leaves[index], index=index, size=len(leaves), proof=proof, root=root
    )
    old = data.draw(st.integers(1, len(leaves)))
    merkle.verify_consistency(
        old_size=old,
        old_root=merkle.root_of_leaves(leaves[:old]),
        size=len(leaves),
        root=root,
        proof=merkle.consistency_proof(leaves, old),
    )


class AnchorMachine(RuleBasedStateMachine):
    """Writers come, write, sleep and go; the anchored versions form one line.

    The model: whoever took the lease last is the only one whose moves succeed.
    """

    def __init__(self) -> None:
        """A new volume."""
        super().__init__()
        self.record = VolumeRecord(b"v" * 16, b"k" * 32, "data", 0, bytes(32), 0, 0, None)
        self.uptime = 0.0
        self.table = LeaseTable(ttl_s=15, uptime=0)
        self.epochs: dict[int, int] = {}
        self.versions = [0]

    @rule(who=st.integers(0, 3))
    def take(self, who: int) -> None:
        """Somebody wants to write."""
        holder = Holder(bytes([who]) * 32, b"s" * 32)
        present = self.record.holder
        running = self.table.remaining(self.record.id, uptime=self.uptime) > 0
        allowed = present is None or present.key_digest == holder.key_digest or not running
        try:
            self.record = take(self.record, holder, self.table, uptime=self.uptime)
        except UnavailableError:
            assert not allowed
            return
        assert allowed
        self.table.extend(self.record.id, uptime=self.uptime)
        self.epochs[who] = self.record.epoch

    @rule(who=st.integers(0, 3), tag=st.integers(0, 255))
    def write(self, who: int, tag: int) -> None:
        """Somebody commits with the epoch that he believes he has."""
        epoch = self.epochs.get(who, 0)
        newest = self.record.holder is not None and epoch == self.record.epoch
        move = AnchorMove(
            self.record.version, self.record.root, self.record.version + 1, bytes([tag]) * 32
        )
        try:
            require_epoch(self.record, epoch)
            changed = advance(self.record, move)
        except ReleaseDeniedError:
            assert not newest
            return
        assert newest
        assert changed is not None
        self.record = changed
        self.table.extend(self.record.id, uptime=self.uptime)
        self.versions.append(changed.version)

    @rule()
    def give_back(self) -> None:
        """The holder leaves."""
        self.record = dataclasses.replace(self.record, holder=None)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.uptime += seconds

    @rule()
    def restart(self) -> None:
        """The service forgets how long leases have run."""
        self.table = LeaseTable(ttl_s=15, uptime=self.uptime)

    @invariant()
    def versions_form_one_line(self) -> None:
        """No version twice, none left out."""
        assert self.versions == list(range(len(self.versions)))


TestAnchorMachine = AnchorMachine.TestCase
