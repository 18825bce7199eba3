"""Signatures inside the envelope."""

import dataclasses
from typing import Any

import pytest

from cloister.crypto.signature import SigningKey
from cloister.errors import ConfigError, IdentityError, MalformedError
from cloister.inference.private.request_auth import (
    Askers,
    Binding,
    Member,
    Principal,
    SignedRequest,
)
from cloister.testing.certificates import FakeDomain

NOW = 1_800_000_000
DOMAIN = FakeDomain("clinic.example", at=NOW)
KEY = SigningKey(bytes(range(32)))
HERE = Binding(b"\1" * 32, 7, b"\2" * 1120)
ASKERS = Askers(
    keys={"alice": KEY.public}, clients=[DOMAIN.identity("client")], ca_pem=DOMAIN.ca_pem
)
EACH = [Principal("alice", KEY), Member(DOMAIN.credential("client"))]


def signed(asker: Any = EACH[0]) -> SignedRequest:
    found: SignedRequest = asker.sign(b"inner", HERE, time=NOW, nonce=bytes(16))
    return found


@pytest.mark.parametrize("asker", EACH)
@pytest.mark.spec("PQ-20", "PQ-22")
def test_who_signed_is_known(asker: Any) -> None:
    """By name, or by the SPIFFE ID of a certificate."""
    request = SignedRequest.from_bytes(signed(asker).to_bytes())
    assert request == signed(asker) or isinstance(asker, Member)
    name = ASKERS.require(request, HERE, at=NOW)
    assert name in {"alice", DOMAIN.identity("client", instance="i-1").uri}


@pytest.mark.parametrize("asker", EACH)
@pytest.mark.parametrize(
    "changes",
    [
        {"time": NOW + 1},
        {"nonce": b"\1" * 16},
        {"inner": b"inner\0"},
        {"signature": b""},
        {"signature": bytes(64)},
        {"asker": b"mallory"},
    ],
)
@pytest.mark.spec("PQ-21", "PQ-23")
def test_everything_is_signed(asker: Any, changes: dict[str, Any]) -> None:
    """Any part that is another's, or later, has no signature."""
    with pytest.raises(IdentityError) as found:
        ASKERS.require(dataclasses.replace(signed(asker), **changes), HERE, at=NOW)
    assert found.value.code == "private.asker"


@pytest.mark.parametrize("asker", EACH)
@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(HERE, keys=b"\3" * 32),
        dataclasses.replace(HERE, key_id=8),
        dataclasses.replace(HERE, enc=b"\3" * 1120),
    ],
)
@pytest.mark.spec("PQ-21")
def test_a_signature_is_for_one_key_and_envelope(asker: Any, other: Binding) -> None:
    """Another configuration, number or encapsulated key, and nobody signed."""
    with pytest.raises(IdentityError):
        ASKERS.require(signed(asker), other, at=NOW)


@pytest.mark.spec("PQ-20")
@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda data: data[:35],
        lambda data: b"CPQ2" + data[4:],
        lambda data: data[:4] + b"\3" + data[5:],
        lambda data: data[:5] + b"\1" + data[6:],
        lambda data: data[:32] + b"\0\0" + data[34:],
        lambda data: data[:32] + b"\xff\xff" + data[34:],
        lambda data: data[:34] + b"\xff\xff" + data[36:],
        lambda data: data[:40],
    ],
)
def test_another_form_is_malformed(change: Any) -> None:
    """Short, of another version, kind or zeros, with lengths that do not fit."""
    with pytest.raises(MalformedError) as found:
        SignedRequest.from_bytes(change(signed().to_bytes()))
    assert found.value.code == "message.malformed"


@pytest.mark.spec("PQ-24")
def test_somebody_has_to_be_named() -> None:
    """And by a name that cannot be taken for a SPIFFE ID."""
    with pytest.raises(ConfigError) as found:
        Askers(keys={}, clients=[], ca_pem=DOMAIN.ca_pem)
    assert found.value.code == "config.missing"
    for name in ("", "spiffe://a/b", "a b", "é", "x" * 129):
        with pytest.raises(ConfigError) as found:
            Askers(keys={name: KEY.public}, clients=[], ca_pem=DOMAIN.ca_pem)
        assert found.value.code == "config.value"
        with pytest.raises(ConfigError):
            Principal(name, KEY)
