"""Challenges are good once, for a while, and bounded."""

import pytest

from cloister.errors import EvidenceError, UnavailableError
from cloister.keyservice.session import ChallengeTable, require_service


@pytest.mark.spec("KR-11")
def test_a_nonce_is_spent_once() -> None:
    """The second use is a replay."""
    table = ChallengeTable(lifetime_s=60)
    table.add(b"n", uptime=0)
    table.spend(b"n", uptime=1)
    with pytest.raises(EvidenceError) as e:
        table.spend(b"n", uptime=2)
    assert e.value.code == "evidence.replayed"


@pytest.mark.spec("KR-12")
def test_a_nonce_expires() -> None:
    """After its lifetime it is as if it had never been."""
    table = ChallengeTable(lifetime_s=60)
    table.add(b"n", uptime=0)
    with pytest.raises(EvidenceError) as e:
        table.spend(b"n", uptime=60.1)
    assert e.value.code == "evidence.expired"


@pytest.mark.spec("KR-12")
def test_an_invented_nonce_is_not_open() -> None:
    """Only what the service gave out counts."""
    with pytest.raises(EvidenceError) as e:
        ChallengeTable(lifetime_s=60).spend(b"n", uptime=0)
    assert e.value.code == "evidence.expired"


@pytest.mark.spec("KR-13")
def test_the_table_is_bounded_and_frees_itself() -> None:
    """A full table refuses new challenges, keeps the open ones, and empties with time."""
    table = ChallengeTable(lifetime_s=60, capacity=3)
    for nonce in (b"1", b"2", b"3"):
        table.add(nonce, uptime=0)
    with pytest.raises(UnavailableError) as e:
        table.add(b"4", uptime=59)
    assert e.value.code == "keyservice.busy"
    table.spend(b"1", uptime=59)
    table.add(b"4", uptime=61)
    table.spend(b"4", uptime=62)


@pytest.mark.spec("KR-13")
def test_a_spent_nonce_stays_known_for_its_lifetime() -> None:
    """Making room never turns a replay into something new."""
    table = ChallengeTable(lifetime_s=60, capacity=2)
    table.add(b"1", uptime=0)
    table.spend(b"1", uptime=59)
    table.add(b"2", uptime=59)
    with pytest.raises(UnavailableError):
        table.add(b"3", uptime=61)
    with pytest.raises(EvidenceError) as e:
        table.spend(b"1", uptime=61)
    assert e.value.code == "evidence.replayed"


@pytest.mark.spec("KR-19")
def test_another_service_is_refused() -> None:
    """A message names the service that it is for."""
    require_service(b"s" * 32, b"s" * 32)
    with pytest.raises(EvidenceError) as e:
        require_service(b"s" * 32, b"t" * 32)
    assert e.value.code == "evidence.binding"
