"""Owner requests as messages."""

import dataclasses

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import MalformedError, ReleaseDeniedError
from cloister.keyservice.ownership import OwnerRequest, SignedOwnerRequest
from cloister.wire import encode

OWNER = SigningKey(b"o" * 32)
REQUEST = OwnerRequest(
    service=b"s" * 32,
    nonce=b"n" * 32,
    owner=OWNER.public.raw,
    operation="volume.key",
    arguments={"id": b"v" * 16},
    reply_key=b"h" * 1216,
)


@pytest.mark.spec("KR-70")
def test_bytes_round_trip() -> None:
    """What was signed is read."""
    signed = SignedOwnerRequest.from_bytes(REQUEST.signed(OWNER).to_bytes())
    assert signed.require(OWNER.public) == REQUEST


@pytest.mark.spec("KR-70")
def test_another_signer_is_refused() -> None:
    """Whether he says who he is or pretends to be the owner."""
    thief = SigningKey(b"t" * 32)
    honest = dataclasses.replace(REQUEST, owner=thief.public.raw).signed(thief)
    for signed in (REQUEST.signed(thief), honest):
        with pytest.raises(ReleaseDeniedError) as e:
            signed.require(OWNER.public)
        assert e.value.code == "release.not-owner"


@pytest.mark.spec("KR-70")
def test_every_flipped_bit_is_refused() -> None:
    """One bit anywhere."""
    small = REQUEST.signed(OWNER).to_bytes()
    for position in [*range(300), *range(len(small) - 150, len(small))]:
        changed = bytearray(small)
        changed[position] ^= 1 << (position % 8)
        with pytest.raises((MalformedError, ReleaseDeniedError)):
            SignedOwnerRequest.from_bytes(bytes(changed)).require(OWNER.public)


@pytest.mark.parametrize(
    "change",
    [{"service": b""}, {"nonce": b""}, {"owner": b""}, {"operation": "x"}, {"reply_key": b""}],
)
def test_invalid_requests_cannot_be_built(change: dict[str, object]) -> None:
    """Exact lengths and known operations."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(REQUEST, **change)
    assert e.value.code == "message.malformed"


def test_arguments_that_are_no_map_are_refused() -> None:
    """Each operation reads a map."""
    value = {
        "version": 1,
        "service": b"s" * 32,
        "nonce": b"n" * 32,
        "owner": b"o" * 32,
        "operation": "status",
        "arguments": encode([1]),
        "reply_key": b"h" * 1216,
    }
    with pytest.raises(MalformedError):
        OwnerRequest.from_bytes(encode(value))
