"""The key service's anchor is an `Anchor` of the volume, though neither imports the other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloister.errors import ReleaseDeniedError, UnavailableError
from cloister.keyservice.bundle import Lease
from cloister.testing.keyservice import DATA_ID, ServiceBench
from cloister.volume.anchor import Anchor


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServiceBench]:
    """A domain with a volume that was never committed."""
    bench = ServiceBench.create(tmp_path)
    bench.register_volumes()
    yield bench
    bench.close()


@pytest.fixture
def lease(bench: ServiceBench) -> Lease:
    """A writer's lease."""
    lease = bench.owner().take_lease(DATA_ID).lease
    assert lease is not None
    return lease


@pytest.fixture
def anchor(bench: ServiceBench, lease: Lease) -> Anchor:
    """The anchor, as the volume sees it."""
    return bench.anchor(DATA_ID, lease)


def test_it_has_the_protocols_shape(anchor: Anchor) -> None:
    """Epoch and state, with version, root and epoch."""
    state = anchor.state()
    assert anchor.epoch == 1
    assert (state.version, state.root, state.epoch) == (0, bytes(32), 0)


def test_advance_replaces_and_is_idempotent(anchor: Anchor) -> None:
    """The state says which writer made it."""
    move = {"version": 0, "root": bytes(32), "new_version": 4, "new_root": b"4" * 32}
    anchor.advance(**move)
    anchor.advance(**move)
    state = anchor.state()
    assert (state.version, state.root, state.epoch) == (4, b"4" * 32, 1)


def test_a_lost_race_is_fenced(anchor: Anchor) -> None:
    """The state is another by now."""
    anchor.advance(version=0, root=bytes(32), new_version=1, new_root=b"1" * 32)
    with pytest.raises(ReleaseDeniedError) as e:
        anchor.advance(version=0, root=bytes(32), new_version=2, new_root=b"2" * 32)
    assert e.value.code == "release.fenced"


def test_an_older_writer_is_fenced(bench: ServiceBench, anchor: Anchor) -> None:
    """After somebody else has taken the lease."""
    bench.clock.move(16)
    bench.owner().take_lease(DATA_ID)
    with pytest.raises(ReleaseDeniedError) as e:
        anchor.advance(version=0, root=bytes(32), new_version=1, new_root=b"1" * 32)
    assert e.value.code == "release.fenced"


def test_not_knowing_is_unavailable(bench: ServiceBench, anchor: Anchor) -> None:
    """The reply is lost; asking again settles it."""

    def lose(path: str, request: bytes, answer: bytes) -> bytes:
        raise UnavailableError("lost", code="keyservice.slow")

    bench.tap = lose
    move = {"version": 0, "root": bytes(32), "new_version": 1, "new_root": b"1" * 32}
    with pytest.raises(UnavailableError):
        anchor.advance(**move)
    bench.tap = None
    anchor.advance(**move)
    assert anchor.state().version == 1
