"""Challenges are good once, for a while, on every replica, and bounded."""

import hashlib
import hmac
from pathlib import Path

import pytest

from cloister.errors import EvidenceError, UnavailableError
from cloister.keyservice.challenges import CHALLENGE_LABEL, RENEWAL_CHALLENGE_LABEL, Challenges
from cloister.keyservice.clock import Moment
from cloister.keyservice.statetime import StateTime
from cloister.keyservice.store import Store
from cloister.tee.sim.platform import SimPlatform
from cloister.testing.state import MemoryBackend, MemoryFreshness, founded

NOW = 1_800_000_000
SECRET = b"r" * 32


class Bench:
    """One state, and as many replicas of it as a test wants."""

    def __init__(self, platform: SimPlatform) -> None:
        """A founded state that is shared."""
        self.platform = platform
        self.backend: MemoryBackend = founded(platform, shared=True)

    def replica(
        self, *, lifetime_s: int = 60, capacity: int = 65536, label: bytes = CHALLENGE_LABEL
    ) -> Challenges:
        """One more replica, or the same after a restart."""
        store = Store.load(self.backend, self.platform, MemoryFreshness())
        time = StateTime(store)
        return Challenges(
            store, SECRET, time, label=label, lifetime_s=lifetime_s, capacity=capacity
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A state of its own."""
    return Bench(SimPlatform.create(tmp_path / "platform", svn=1, debug=False))


def moment(seconds: float, *, uptime: float | None = None) -> Moment:
    """So many seconds after the start, by both clocks unless told."""
    return Moment(NOW + int(seconds), 1000.0 + (seconds if uptime is None else uptime))


def spend(challenges: Challenges, nonce: bytes, when: Moment) -> str:
    """Spend a nonce in a group of its own; returns the code of a refusal, or nothing."""
    try:
        with challenges._store.group():
            challenges.spend(nonce, when)
    except (EvidenceError, UnavailableError) as e:
        return e.code
    return ""


@pytest.mark.spec("KR-10", "KR-15")
def test_a_nonce_is_what_the_page_says(bench: Bench) -> None:
    """Computed here from the page alone."""
    nonce = bench.replica().issue(moment(0))
    label = b"cloister/key-release/v1/challenge"
    extracted = hmac.digest(bytes(32), SECRET, "sha256")
    key = hmac.digest(extracted, label + b"\x01", "sha256")
    framed = b"".join(len(p).to_bytes(8, "big") + p for p in (label, nonce[:16]))
    assert len(nonce) == 32
    assert int.from_bytes(nonce[:6], "big") == NOW + 60
    assert nonce[16:] == hmac.digest(key, framed, hashlib.sha256)[:16]


@pytest.mark.spec("KR-11")
def test_a_nonce_is_spent_once(bench: Bench) -> None:
    """The second use is a replay: at the same replica, at another, and after a restart."""
    first, second = bench.replica(), bench.replica()
    nonce = first.issue(moment(0))
    assert spend(second, nonce, moment(1)) == ""
    for again in (first, second, bench.replica()):
        assert spend(again, nonce, moment(2)) == "evidence.replayed"


@pytest.mark.spec("KR-11")
def test_of_two_replicas_at_once_one_spends(bench: Bench) -> None:
    """Both decide; whoever commits second decides again, on what the first one wrote."""
    first, second = bench.replica(), bench.replica()
    nonce = first.issue(moment(0))
    other = ""

    def overtake() -> None:
        nonlocal other
        bench.backend.before_append = None
        other = spend(second, nonce, moment(1))

    bench.backend.before_append = overtake
    assert spend(first, nonce, moment(1)) == "keyservice.moved"
    assert other == ""
    assert spend(first, nonce, moment(1)) == "evidence.replayed"


@pytest.mark.spec("KR-11")
def test_a_decision_that_is_not_committed_spends_nothing(bench: Bench) -> None:
    """Nothing was given for it either."""
    challenges = bench.replica()
    nonce = challenges.issue(moment(0))

    def lose() -> None:
        raise UnavailableError("lost", code="keyservice.database")

    bench.backend.before_append = lose
    assert spend(challenges, nonce, moment(1)) == "keyservice.database"
    bench.backend.before_append = None
    assert spend(challenges, nonce, moment(1)) == ""


@pytest.mark.spec("KR-12")
def test_a_nonce_expires(bench: Bench) -> None:
    """At every replica, and it goes on living through a restart until then."""
    first = bench.replica()
    nonces = [first.issue(moment(0)) for _ in range(3)]
    assert spend(bench.replica(), nonces[0], moment(60)) == ""
    assert spend(bench.replica(), nonces[1], moment(61)) == "evidence.expired"
    assert spend(first, nonces[2], moment(61)) == "evidence.expired"


@pytest.mark.spec("KR-12", "KR-15")
@pytest.mark.parametrize("byte", [0, 5, 6, 15, 16, 31])
def test_an_invented_nonce_is_not_open(bench: Bench, byte: int) -> None:
    """One changed bit anywhere, and another state's."""
    challenges = bench.replica()
    nonce = bytearray(challenges.issue(moment(0)))
    nonce[byte] ^= 1
    assert spend(challenges, bytes(nonce), moment(1)) == "evidence.expired"


@pytest.mark.spec("KR-15")
def test_a_nonce_of_another_service_is_not_open(bench: Bench, tmp_path: Path) -> None:
    """Its key is another."""
    platform = SimPlatform.create(tmp_path / "other", svn=1, debug=False)
    foreign = Challenges(
        Store.load(founded(platform), platform, MemoryFreshness()),
        b"o" * 32,
        StateTime(bench.replica()._store),
        label=CHALLENGE_LABEL,
        lifetime_s=60,
    )
    assert spend(bench.replica(), foreign.issue(moment(0)), moment(1)) == "evidence.expired"


@pytest.mark.spec("KR-12")
def test_a_clock_that_is_set_back_makes_no_nonce_good_again(bench: Bench) -> None:
    """Not in this process, not after a restart; not after going forward and back either."""
    challenges = bench.replica()
    spent, open_ = challenges.issue(moment(0)), challenges.issue(moment(0))
    assert spend(challenges, spent, moment(1)) == ""
    later = challenges.issue(moment(1000))
    assert spend(challenges, later, moment(1000)) == ""  # forgets the first, remembers the time
    assert challenges._store.tables.count("spent") == 1
    for again in (challenges, bench.replica()):
        assert spend(again, spent, moment(0, uptime=1001)) == "evidence.expired"
        assert spend(again, open_, moment(0, uptime=1001)) == "evidence.expired"


@pytest.mark.spec("KR-12")
def test_a_clock_that_stands_still_stops_no_lifetime(bench: Bench) -> None:
    """Set back again and again, while the uptime goes on."""
    challenges = bench.replica()
    nonce = challenges.issue(moment(0))
    for second in range(60):
        challenges._time.read(moment(-second, uptime=second))
    assert spend(challenges, nonce, moment(-60, uptime=61)) == "evidence.expired"


@pytest.mark.spec("KR-12")
def test_another_lifetime_after_a_restart_revives_nothing(bench: Bench) -> None:
    """A nonce carries its own end."""
    short = bench.replica(lifetime_s=10)
    nonce, open_ = short.issue(moment(0)), short.issue(moment(0))
    assert spend(short, nonce, moment(1)) == ""
    assert spend(short, short.issue(moment(20)), moment(20)) == ""
    long = bench.replica(lifetime_s=3600)
    assert spend(long, nonce, moment(21)) == "evidence.expired"
    assert spend(long, open_, moment(21)) == "evidence.expired"


@pytest.mark.spec("KR-13")
def test_the_table_is_bounded_and_frees_itself(bench: Bench) -> None:
    """A full table refuses, keeps what was spent, and empties with time."""
    challenges = bench.replica(capacity=3)
    nonces = [challenges.issue(moment(0)) for _ in range(4)]
    for nonce in nonces[:3]:
        assert spend(challenges, nonce, moment(1)) == ""
    assert spend(challenges, nonces[3], moment(60)) == "keyservice.busy"
    with pytest.raises(UnavailableError) as e:
        challenges.issue(moment(60))
    assert e.value.code == "keyservice.busy"
    for nonce in nonces[:3]:
        assert spend(challenges, nonce, moment(60)) == "evidence.replayed"
    fresh = challenges.issue(moment(61))
    assert spend(challenges, fresh, moment(61)) == ""
    assert challenges._store.tables.count("spent") == 1
    assert spend(challenges, nonces[0], moment(61)) == "evidence.expired"


@pytest.mark.spec("KR-13")
def test_the_table_of_a_busy_service_stays_small(bench: Bench) -> None:
    """What is over goes, a few at a time, oldest first."""
    challenges = bench.replica(lifetime_s=5)
    for second in range(200):
        assert spend(challenges, challenges.issue(moment(second)), moment(second)) == ""
    assert challenges._store.tables.count("spent") <= 7


def test_nonces_of_one_purpose_are_good_for_no_other(bench: Bench) -> None:
    """What was given for renewing releases nothing, and the other way round."""
    release = bench.replica()
    renewal = bench.replica(label=RENEWAL_CHALLENGE_LABEL)
    for giver, taker in ((renewal, release), (release, renewal)):
        nonce = giver.issue(moment(0))
        assert spend(taker, nonce, moment(0)) == "evidence.expired"
        assert spend(giver, nonce, moment(0)) == ""
