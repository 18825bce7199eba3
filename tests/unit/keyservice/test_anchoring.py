"""Anchor operations through the whole service."""

import dataclasses

import pytest

from cloister.errors import CloisterError, MalformedError, ReleaseDeniedError, UnavailableError
from cloister.keyservice.anchoring import AnchorReply, AnchorRequest, SealedAnchorRequest
from cloister.keyservice.anchors import KeyServiceAnchor
from cloister.keyservice.bundle import Lease
from cloister.keyservice.leases import AnchorMove
from cloister.testing.keyservice import CODE_ID, CODE_ROOT, DATA_ID, MEASUREMENT, ServiceBench
from cloister.wire import decode, encode

REQUEST = AnchorRequest(
    service=b"s" * 32,
    nonce=b"n" * 32,
    volume=b"v" * 16,
    epoch=3,
    operation="advance",
    move=AnchorMove(1, b"1" * 32, 2, b"2" * 32),
)


@pytest.fixture
def writer(bench: ServiceBench) -> KeyServiceAnchor:
    """The owner's own lease on the data volume."""
    lease = bench.owner().take_lease(DATA_ID).lease
    assert lease is not None
    return bench.anchor(DATA_ID, lease)


def step(anchor: KeyServiceAnchor, version: int) -> None:
    """Advance by one version; roots are made from versions."""
    old = bytes(32) if version == 0 else version.to_bytes(32, "big")
    anchor.advance(
        version=version,
        root=old,
        new_version=version + 1,
        new_root=(version + 1).to_bytes(32, "big"),
    )


@pytest.mark.spec("KR-50")
def test_messages_round_trip() -> None:
    """What was written is read."""
    assert AnchorRequest.from_bytes(REQUEST.to_bytes()) == REQUEST
    renewal = dataclasses.replace(REQUEST, operation="renew", move=None)
    assert AnchorRequest.from_bytes(renewal.to_bytes()) == renewal
    sealed = REQUEST.sealed(b"x" * 32)
    assert SealedAnchorRequest.from_bytes(sealed.to_bytes()) == sealed
    reply = AnchorReply(3, 2, b"r" * 32, 1)
    assert AnchorReply.from_bytes(reply.to_bytes()) == reply


@pytest.mark.parametrize(
    "change",
    [
        {"service": b""},
        {"nonce": b"n" * 31},
        {"volume": b"v"},
        {"operation": "steal"},
        {"operation": "renew"},
        {"move": None},
        {"epoch": 0},
        {"move": AnchorMove(2, b"1" * 32, 2, b"2" * 32)},
        {"move": AnchorMove(1, b"1", 2, b"2" * 32)},
    ],
)
def test_invalid_requests_cannot_be_built(change: dict[str, object]) -> None:
    """A message with a wrong part does not exist."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(REQUEST, **change)
    assert e.value.code == "message.malformed"


@pytest.mark.spec("KR-53")
def test_a_writer_moves_the_anchor(bench: ServiceBench, writer: KeyServiceAnchor) -> None:
    """The new state is there for everybody, also after a restart."""
    step(writer, 0)
    step(writer, 1)
    bench.restart()
    state = writer.state()
    assert (state.version, state.root, state.epoch) == (2, (2).to_bytes(32, "big"), 1)


@pytest.mark.spec("KR-54")
def test_asking_again_succeeds(writer: KeyServiceAnchor) -> None:
    """A lost reply costs nothing."""
    step(writer, 0)
    step(writer, 0)
    assert writer.state().version == 1


@pytest.mark.spec("KR-53")
def test_a_wrong_predecessor_is_fenced(writer: KeyServiceAnchor) -> None:
    """Compare before swap."""
    step(writer, 0)
    with pytest.raises(ReleaseDeniedError) as e:
        writer.advance(version=0, root=bytes(32), new_version=1, new_root=b"other" + bytes(27))
    assert e.value.code == "release.fenced"


@pytest.mark.spec("KR-50")
@pytest.mark.parametrize("operation", ["state", "advance", "renew", "release", "take_over"])
def test_without_the_secret_nothing_happens(
    bench: ServiceBench, writer: KeyServiceAnchor, operation: str
) -> None:
    """The lease's secret proves the lease."""
    thief = bench.anchor(DATA_ID, Lease(writer.epoch, b"?" * 32, 15))
    attempts = {
        "state": thief.state,
        "advance": lambda: step(thief, 0),
        "renew": thief.renew,
        "release": lambda: thief._ask("release", move=None),
        "take_over": thief.take_over,
    }
    with pytest.raises(ReleaseDeniedError) as e:
        attempts[operation]()
    assert e.value.code == "release.fenced"
    assert writer.state().version == 0


@pytest.mark.spec("KR-51")
def test_a_reader_sees_the_state_and_cannot_move_it(bench: ServiceBench, policy: bytes) -> None:
    """Epoch 0 reads."""
    bundle = (
        bench.release_client()
        .release(
            policy=policy,
            workload="serve",
            instance="i",
            measurement=MEASUREMENT,
            attester=bench.attester(),
        )
        .bundle
    )
    reader = bench.anchor(CODE_ID, bundle.volumes["/code"].lease)
    assert (reader.epoch, reader.state().version, reader.state().root) == (0, 3, CODE_ROOT)
    with pytest.raises(MalformedError):
        reader.advance(version=3, root=CODE_ROOT, new_version=4, new_root=b"x" * 32)
    stranger = bench.anchor(DATA_ID, bundle.volumes["/code"].lease)
    with pytest.raises(ReleaseDeniedError) as e:
        stranger.state()
    assert e.value.code == "release.fenced"


@pytest.mark.spec("KR-55")
def test_a_restarted_writer_takes_over_at_once(
    bench: ServiceBench, writer: KeyServiceAnchor
) -> None:
    """The same secret gets a new epoch, and the old server is fenced."""
    step(writer, 0)
    lease = Lease(writer.epoch, writer._secret, 15)
    again, third = bench.anchor(DATA_ID, lease), bench.anchor(DATA_ID, lease)
    assert again.take_over().version == 1
    assert again.epoch == 2
    step(again, 1)
    with pytest.raises(ReleaseDeniedError) as e:
        step(writer, 2)
    assert e.value.code == "release.fenced"
    assert third.take_over().version == 2
    assert third.epoch == 3


@pytest.mark.spec("KR-55")
def test_a_recorded_takeover_cannot_be_repeated(
    bench: ServiceBench, writer: KeyServiceAnchor
) -> None:
    """It carries a challenge, so nobody can fence a writer with old bytes."""
    writer.take_over()
    path, body = bench.requests[-1]
    answer = bench.service.handle(path, body, bench.clock())
    assert answer.status == 403
    step(writer, 0)


@pytest.mark.spec("KR-56")
def test_a_released_lease_lets_the_next_writer_in(
    bench: ServiceBench, writer: KeyServiceAnchor
) -> None:
    """At once, and releasing twice is once."""
    writer.release()
    writer.release()
    lease = bench.owner().take_lease(DATA_ID).lease
    assert lease is not None
    assert lease.epoch == 2
    with pytest.raises(ReleaseDeniedError):
        step(writer, 0)


@pytest.mark.spec("KR-41", "KR-45")
def test_renewing_keeps_others_out(bench: ServiceBench, writer: KeyServiceAnchor) -> None:
    """A lease that is renewed does not lapse; one that is not does."""
    for _ in range(5):
        bench.clock.move(10)
        writer.renew()
    with pytest.raises(UnavailableError) as e:
        bench.owner().take_lease(DATA_ID)
    assert e.value.code == "volume.leased"
    bench.clock.move(15)
    bench.owner().take_lease(DATA_ID)
    with pytest.raises(ReleaseDeniedError) as fenced:
        writer.renew()
    assert fenced.value.code == "release.fenced"


@pytest.mark.spec("KR-43")
def test_a_sleeping_writer_goes_on_if_nobody_took_over(
    bench: ServiceBench, writer: KeyServiceAnchor
) -> None:
    """A laptop that slept for an hour has lost nothing."""
    bench.clock.move(3600)
    step(writer, 0)
    with pytest.raises(UnavailableError):
        bench.owner().take_lease(DATA_ID)


@pytest.mark.spec("KR-50", "KR-87")
@pytest.mark.parametrize("epoch", [0, 1])
def test_an_unregistered_volume_is_refused_like_one_that_is_not_ours(
    bench: ServiceBench, epoch: int
) -> None:
    """Whoever knows no secret is not told which volumes there are."""
    bench.owner().take_lease(DATA_ID)
    found = []
    for volume in (b"?" * 16, DATA_ID, CODE_ID):
        with pytest.raises(ReleaseDeniedError) as e:
            bench.anchor(volume, Lease(epoch, b"s" * 32, 15)).state()
        found.append((e.value.code, e.value.public.replace(volume.hex(), "ID")))
    assert {code for code, _ in found} == {"release.fenced"}
    assert len(set(found)) == 1


def test_a_service_that_is_down_is_unavailable(
    bench: ServiceBench, writer: KeyServiceAnchor
) -> None:
    """The writer does not know whether it happened, and may ask again."""
    bench.down = True
    with pytest.raises(CloisterError) as e:
        step(writer, 0)
    assert e.value.code == "keyservice.unreachable"
    assert e.value.retryable
    bench.down = False
    step(writer, 0)


@pytest.mark.spec("KR-143")
def test_the_oldest_key_is_told_with_a_move() -> None:
    """It survives its message, and the first key is spelled by leaving it out."""
    rotated = dataclasses.replace(REQUEST, move=AnchorMove(1, b"1" * 32, 2, b"2" * 32, 3))
    assert AnchorRequest.from_bytes(rotated.to_bytes()) == rotated
    assert b"oldest_key" not in REQUEST.to_bytes()


@pytest.mark.spec("KR-143")
@pytest.mark.parametrize("oldest_key", [0, 1, 2**24 + 1])
def test_an_oldest_key_that_cannot_be_is_malformed(oldest_key: int) -> None:
    """Nothing, the first key said aloud, and one beyond the last."""
    value = decode(REQUEST.to_bytes(), max_bytes=1024)
    assert isinstance(value, dict)
    value["to"] = {"version": 2, "root": b"2" * 32, "oldest_key": oldest_key}
    with pytest.raises(MalformedError) as e:
        AnchorRequest.from_bytes(encode(value))
    assert e.value.code == "message.malformed"
