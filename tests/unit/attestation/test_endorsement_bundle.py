"""Bundles of endorsements: what was put in comes out, for whoever names the collector."""

from __future__ import annotations

import pytest

from cloister.attestation.endorsement_bundle import Collected, EndorsementBundle
from cloister.attestation.evidence import Endorsement
from cloister.crypto.signature import SigningKey
from cloister.errors import CloisterError, EndorsementError, MalformedError

KEY, OTHER = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)


def collected(kind: str, body: bytes, at: int = 5) -> Collected:
    """One endorsement."""
    return Collected(Endorsement(kind, body), "https://example.test", at)


@pytest.mark.spec("EB-5")
def test_what_was_collected_comes_out_once() -> None:
    """In one order, whatever the order in; the newest of the same stays."""
    items = [
        collected("b", b"1"),
        collected("a", b"2", 9),
        collected("a", b"2", 3),
        collected("a", b"3"),
    ]
    bundle, data = EndorsementBundle.make(items, KEY)
    again = EndorsementBundle.open(data, collectors=[OTHER.public, KEY.public])
    assert again == bundle
    assert {(each.media_type, each.body) for each in again.endorsements} == {
        ("b", b"1"),
        ("a", b"2"),
        ("a", b"3"),
    }
    assert next(item.at for item in again.items if item.endorsement.body == b"2") == 9
    assert EndorsementBundle.make(items[::-1], KEY)[1] == data


@pytest.mark.spec("EB-12")
def test_bodies_are_exactly_what_was_given() -> None:
    """Signatures of endorsers are over those bytes."""
    body = bytes(range(256)) * 64
    bundle, _ = EndorsementBundle.make([collected("a", body)], KEY)
    assert bundle.endorsements == (Endorsement("a", body),)


def test_nothing_is_no_bundle() -> None:
    """It would look like a collection that found nothing to refuse."""
    with pytest.raises(MalformedError):
        EndorsementBundle.make([], KEY)


@pytest.mark.spec("EB-11")
def test_only_named_collectors_count() -> None:
    """Nobody named means no bundle."""
    data = EndorsementBundle.make([collected("a", b"x")], KEY)[1]
    for collectors in ([], [OTHER.public]):
        with pytest.raises(EndorsementError) as e:
            EndorsementBundle.open(data, collectors=collectors)
        assert e.value.code == "endorsement.signature"


@pytest.mark.spec("EB-4")
def test_a_bundle_has_a_size() -> None:
    """Longer bytes are not looked at."""
    with pytest.raises(MalformedError) as e:
        EndorsementBundle.open(bytes((32 << 20) + 1), collectors=[KEY.public])
    assert e.value.code == "wire.too-large"


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    """With our errors only."""
    data = EndorsementBundle.make([collected("a", b"x"), collected("b", b"y")], KEY)[1]
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        for bad in (bytes(changed), data[:position]):
            with pytest.raises(CloisterError):
                EndorsementBundle.open(bad, collectors=[KEY.public])


def test_a_bundle_says_who_is_said_to_have_signed() -> None:
    """Which nobody has checked: it is for telling whose bundle was not taken."""
    data = EndorsementBundle.make([collected("a", b"x")], KEY)[1]
    assert EndorsementBundle.claimed_collector(data) == KEY.public
    forged = data.replace(KEY.public.raw, OTHER.public.raw)
    assert EndorsementBundle.claimed_collector(forged) == OTHER.public
    with pytest.raises(EndorsementError):
        EndorsementBundle.open(forged, collectors=[OTHER.public])
    with pytest.raises(MalformedError):
        EndorsementBundle.claimed_collector(data[:-1])
