"""The bytes of CCA tokens."""

from dataclasses import replace

import pytest

from cloister.errors import MalformedError
from cloister.tee.cca.layout import CcaToken, PlatformToken, RealmToken
from cloister.tee.cca.verifier import CcaVerifier
from cloister.testing.manufacturers.cca import SimulatedCca
from cloister.wire.foreign_cbor import ForeignValue, Tagged, read_foreign, write_foreign

MAKER = SimulatedCca("layout")
REALM = MAKER.realm()
PLATFORM = MAKER.platform(REALM, verification_service="https://example.test/")
Claims = dict[int | str, ForeignValue]


def claims_of(data: bytes) -> Claims:
    """Return a payload's map."""
    found = read_foreign(data, what="x", max_bytes=9999, code="evidence.malformed")
    assert isinstance(found, dict)
    return found


COMPONENT: Claims = {1: "BL", 2: bytes(32), 4: "1", 5: bytes(32)}


@pytest.mark.spec("CCA-2", "CCA-4", "CCA-5")
def test_tokens_round_trip() -> None:
    """What was written is read."""
    assert PlatformToken.from_bytes(PLATFORM.to_bytes()) == PLATFORM
    assert RealmToken.from_bytes(REALM.to_bytes()) == REALM
    plain = replace(PLATFORM, verification_service="")
    assert PlatformToken.from_bytes(plain.to_bytes()) == plain
    body = MAKER.evidence().body
    assert CcaToken.from_bytes(body).to_bytes() == body


@pytest.mark.spec("CCA-4", "CCA-6")
@pytest.mark.parametrize(
    "change",
    [
        {265: "tag:arm.com,2023:realm#1.0.0"},
        {265: b"x"},
        {10: bytes(31)},
        {2396: bytes(31)},
        {256: b"\x02" + bytes(32)},
        {256: bytes(32)},
        {2401: b""},
        {2401: bytes(513)},
        {2395: -1},
        {2395: 0x10000},
        {2395: True},
        {2395: "secured"},
        {2399: []},
        {2399: [COMPONENT] * 33},
        {2399: COMPONENT},
        {2399: [1]},
        {2399: [{**COMPONENT, 2: bytes(20)}]},
        {2399: [{**COMPONENT, 5: None}]},
        {2399: [{**COMPONENT, 1: ""}]},
        {2399: [{**COMPONENT, 7: 1}]},
        {2402: ""},
        {2402: "x" * 129},
        {2402: "sha\n256"},
        {2402: "shä-256"},
        {2400: 1},
        {1: 1},
        {"more": 1},
    ],
)
def test_other_platform_tokens_are_malformed(change: Claims) -> None:
    """Types, lengths and names are exact."""
    with pytest.raises(MalformedError) as caught:
        PlatformToken.from_bytes(write_foreign({**claims_of(PLATFORM.to_bytes()), **change}))
    assert caught.value.code == "evidence.malformed"


@pytest.mark.spec("CCA-5", "CCA-6")
@pytest.mark.parametrize(
    "change",
    [
        {265: "tag:arm.com,2023:cca_platform#1.0.0"},
        {10: bytes(32)},
        {44235: bytes(63)},
        {44238: bytes(20)},
        {44239: [bytes(32)] * 3},
        {44239: [bytes(32)] * 5},
        {44239: [bytes(32)] * 3 + [b""]},
        {44236: b"sha-256"},
        {44237: b""},
        {44237: bytes(257)},
        {44240: "md5"},
        {44240: "SHA-256"},
        {2395: 1},
    ],
)
def test_other_realm_tokens_are_malformed(change: Claims) -> None:
    """Types, lengths and names are exact."""
    with pytest.raises(MalformedError) as caught:
        RealmToken.from_bytes(write_foreign({**claims_of(REALM.to_bytes()), **change}))
    assert caught.value.code == "evidence.malformed"


@pytest.mark.spec("CCA-4", "CCA-5")
def test_no_claim_may_be_missing() -> None:
    """But the verification service, which may."""
    platform, realm = claims_of(PLATFORM.to_bytes()), claims_of(REALM.to_bytes())
    for key in platform.keys() - {2400}:
        with pytest.raises(MalformedError):
            PlatformToken.from_bytes(write_foreign({k: v for k, v in platform.items() if k != key}))
    for key in realm:
        with pytest.raises(MalformedError):
            RealmToken.from_bytes(write_foreign({k: v for k, v in realm.items() if k != key}))
    for data in (b"\x80", b"\xa0", b"\x01", b""):
        with pytest.raises(MalformedError):
            PlatformToken.from_bytes(data)


@pytest.mark.spec("CCA-5")
@pytest.mark.parametrize(
    "change",
    [{1: 1}, {-1: 1}, {-2: bytes(47)}, {-3: b""}, {-2: bytes(48)}, {3: -35}, {-4: b"private"}],
)
def test_the_realms_key_is_a_key_on_its_curve(change: Claims) -> None:
    """Another kind, another curve, no point, a private key."""
    key = {**claims_of(REALM.public_key), **change}
    with pytest.raises(MalformedError):
        _ = replace(REALM, public_key=write_foreign(key)).key


@pytest.mark.spec("CCA-2")
@pytest.mark.parametrize(
    "value",
    [
        {44234: b"", 44241: b""},
        Tagged(398, {44234: b"", 44241: b""}),
        Tagged(399, [b"", b""]),
        Tagged(399, {44234: b""}),
        Tagged(399, {44234: b"", 44241: b"", 1: b""}),
        Tagged(399, {44234: b"", 44241: {}}),
        Tagged(399, {44234: b"", 44241: b""}),
        Tagged(399, Tagged(18, [])),
    ],
)
def test_other_collections_are_malformed(value: ForeignValue) -> None:
    """Tag, both tokens, nothing else."""
    with pytest.raises(MalformedError) as caught:
        CcaToken.from_bytes(write_foreign(value))
    assert caught.value.code == "evidence.malformed"


@pytest.mark.spec("CCA-5", "CCA-13")
def test_a_token_from_before_there_were_profiles() -> None:
    """No profile, and a point in the place of the COSE_Key; each with the other is malformed."""
    point = b"\x04" + REALM.key.point
    old = replace(REALM, profile="", public_key=point)
    claims = claims_of(old.to_bytes())
    assert 265 not in claims
    assert RealmToken.from_bytes(old.to_bytes()) == old
    assert old.key.spki == REALM.key.spki
    evidence = MAKER.evidence(realm=old)
    found = CcaVerifier([MAKER.anchor]).verify(evidence, [MAKER.key], at=0)
    assert found.report_data == REALM.challenge
    for change in (
        {44237: point[1:]}, {44237: b"\x02" + point[1:]}, {44237: point + b"\0"}, {265: ""},
        {44237: REALM.public_key},
    ):  # fmt: skip
        with pytest.raises(MalformedError):
            RealmToken.from_bytes(write_foreign({**claims, **change}))
    with pytest.raises(MalformedError):
        _ = replace(REALM, public_key=point).key
    with pytest.raises(MalformedError):
        _ = replace(old, public_key=b"\x04" + bytes(96)).key
