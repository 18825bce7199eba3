"""COSE_Sign1: one form, and a header that chooses nothing."""

import pytest

from cloister.crypto.vendor_keys import EcdsaKey
from cloister.errors import EvidenceError, MalformedError
from cloister.tee.cose import ES256, ES384, CoseSign1
from cloister.testing.manufacturers.device_pki import device_key, raw_signature, spki
from cloister.wire.foreign_cbor import ForeignValue, Tagged, write_foreign

P384 = device_key("cose")
P256 = device_key("cose", "P-256")
KEYS = {
    ES256: EcdsaKey.from_spki(spki(P256), "P-256"),
    ES384: EcdsaKey.from_spki(spki(P384), "P-384"),
}
HEADER = write_foreign({1: ES384})


def signed(algorithm: int = ES384, payload: bytes = b"payload") -> CoseSign1:
    """A message with a good signature."""
    unsigned = CoseSign1(algorithm, payload, b"")
    key = P384 if algorithm == ES384 else P256
    return CoseSign1(algorithm, payload, raw_signature(key, unsigned.signed))


@pytest.mark.spec("NIT-2", "CCA-3")
@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("algorithm", [ES256, ES384])
def test_round_trip(algorithm: int, *, tagged: bool) -> None:
    """What was written is read and verified."""
    message = signed(algorithm)
    found = CoseSign1.from_bytes(message.to_bytes(tagged=tagged), tagged=tagged, max_bytes=999)
    assert found == message
    found.require_signed(KEYS[algorithm])
    assert found.curve == KEYS[algorithm].curve


@pytest.mark.spec("NIT-13", "CCA-12", "CCA-14")
def test_the_key_decides_the_algorithm() -> None:
    """A header of the other curve's algorithm, another key, another payload are refused."""
    message = signed()
    other = EcdsaKey.from_spki(spki(device_key("other")), "P-384")
    cases = [
        (message, KEYS[ES256]),
        (message, other),
        (CoseSign1(ES256, message.payload, message.signature), KEYS[ES384]),
        (CoseSign1(ES384, b"other", message.signature), KEYS[ES384]),
        (CoseSign1(ES384, message.payload, message.signature[:-1]), KEYS[ES384]),
        (CoseSign1(ES384, message.payload, bytes(96)), KEYS[ES384]),
    ]
    for case, key in cases:
        with pytest.raises(EvidenceError) as caught:
            case.require_signed(key)
        assert caught.value.code == "evidence.signature"


@pytest.mark.spec("NIT-2", "NIT-4", "CCA-3")
@pytest.mark.parametrize(
    "value",
    [
        Tagged(18, [HEADER, {}, b"p", b"s"]),
        Tagged(17, [HEADER, {}, b"p", b"s"]),
        [HEADER, {}, b"p"],
        [HEADER, {}, b"p", b"s", b"t"],
        {1: 2},
        [HEADER, {4: b"kid"}, b"p", b"s"],
        [HEADER, None, b"p", b"s"],
        [HEADER, {}, None, b"s"],
        [HEADER, {}, b"p", "s"],
        [{1: ES384}, {}, b"p", b"s"],
        [b"", {}, b"p", b"s"],
        [write_foreign({1: -36}), {}, b"p", b"s"],
        [write_foreign({1: 5}), {}, b"p", b"s"],
        [write_foreign({1: "ES384"}), {}, b"p", b"s"],
        [write_foreign({1: ES384, 3: 0}), {}, b"p", b"s"],
        [write_foreign({2: [1], 1: ES384}), {}, b"p", b"s"],
        [write_foreign([1]), {}, b"p", b"s"],
    ],
)
def test_other_forms_are_malformed(value: ForeignValue) -> None:
    """No tag where there is none, no unsigned header, no other algorithm."""
    with pytest.raises(MalformedError) as caught:
        CoseSign1.from_bytes(write_foreign(value), tagged=False, max_bytes=999)
    assert caught.value.code == "evidence.malformed"


@pytest.mark.spec("CCA-3")
def test_a_tag_that_is_due_is_asked_for() -> None:
    """Untagged where the tag belongs is another form."""
    for value in ([HEADER, {}, b"p", b"s"], Tagged(17, [HEADER, {}, b"p", b"s"])):
        with pytest.raises(MalformedError):
            CoseSign1.from_bytes(write_foreign(value), tagged=True, max_bytes=999)
    with pytest.raises(MalformedError):
        CoseSign1.from_bytes(signed().to_bytes(tagged=True), tagged=True, max_bytes=99)
