"""Looking at how a key service is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloister.errors import CloisterError
from cloister.keyservice.domain import TrustDomain
from cloister.keyservice.examination import examine, peer_skew, state_code
from cloister.testing.keyservice import HandClock, ServiceBench


@pytest.fixture
def stopped(tmp_path: Path) -> TrustDomain:
    """A trust domain whose service does not run."""
    return TrustDomain.create(tmp_path / "stopped", "stopped.test", moment=HandClock()())


def files(domain: TrustDomain) -> dict[str, bytes]:
    """Everything in the trust domain."""
    found = (path for path in domain.directory.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in found}


def test_a_new_domain_is_fine_and_is_left_as_it_was(stopped: TrustDomain) -> None:
    """Looking changes no byte, and its files are this user's alone."""
    before = files(stopped)
    seen = examine(stopped, listen="", peer="", clock=HandClock(), core_limit=0)
    assert files(stopped) == before
    assert seen.state_code == ""
    assert seen.owner_key
    assert {"keyservice", "keyservice/state.db", "owner/owner.key"} <= {f.name for f in seen.files}
    assert all(file.ours and not file.mode & 0o077 for file in seen.files)
    assert seen.free_bytes > 0


def test_an_open_state_is_busy(bench: ServiceBench) -> None:
    """A running service is not disturbed."""
    assert state_code(bench.domain) == "keyservice.busy"


def test_an_old_copy_is_seen_and_not_blessed(stopped: TrustDomain) -> None:
    """The platform's counter stays where it was."""
    counter = stopped.platform().counter("keyservice")
    newest = counter.read()
    counter.raise_to(newest + 1)
    assert state_code(stopped) == "state.rolled-back"
    assert counter.read() == newest + 1
    counter.close()


def test_a_damaged_state_is_seen(stopped: TrustDomain) -> None:
    """By its code."""
    path = stopped.keyservice_directory / "state.db"
    path.write_bytes(path.read_bytes()[:-1])
    assert state_code(stopped) == "state.tampered"


@pytest.mark.parametrize("ahead", [-9, 0, 7])
def test_a_peers_clock_is_read_from_its_signed_answer(bench: ServiceBench, ahead: int) -> None:
    """Ahead, behind, or the same."""
    here = HandClock()
    here.at -= ahead
    assert peer_skew(bench.domain, bench, clock=here) == ahead


def test_another_service_is_no_peer(bench: ServiceBench, tmp_path: Path) -> None:
    """Whatever its clock says."""
    other = ServiceBench.create(tmp_path, "other.test")
    with pytest.raises(CloisterError) as e:
        peer_skew(bench.domain, other, clock=bench.clock)
    assert e.value.code == "identity.keyservice"
    other.close()


def test_a_peer_that_is_down_is_told_by_its_code(stopped: TrustDomain) -> None:
    """And everything else is still looked at."""
    seen = examine(
        stopped,
        listen="",
        peer="http://127.0.0.1:1",
        clock=HandClock(),
        core_limit=0,
    )
    assert (seen.skew_s, seen.peer_code) == (None, "keyservice.unreachable")
