"""The bytes of Nitro documents."""

import pytest

from cloister.errors import MalformedError
from cloister.tee.nitro.layout import AttestationDocument
from cloister.testing.manufacturers.nitro import SimulatedNitro
from cloister.wire.foreign_cbor import ForeignValue, read_foreign, write_foreign

MAKER = SimulatedNitro("layout", at=1_800_000_000)
DOCUMENT = MAKER.document(nonce=b"", public_key=b"key")
DATA = DOCUMENT.to_bytes()
FIELDS = read_foreign(DATA, what="x", max_bytes=9999, code="evidence.malformed")
assert isinstance(FIELDS, dict)


@pytest.mark.spec("NIT-3")
def test_payloads_round_trip() -> None:
    """What was written is read; the outermost map may have an indefinite length."""
    assert AttestationDocument.from_bytes(DATA) == DOCUMENT
    assert AttestationDocument.from_bytes(b"\xbf" + DATA[1:] + b"\xff") == DOCUMENT


@pytest.mark.spec("NIT-3", "NIT-4")
@pytest.mark.parametrize(
    "change",
    [
        {"module_id": ""},
        {"module_id": "x" * 129},
        {"module_id": "a\nb"},
        {"module_id": b"x"},
        {"digest": "SHA256"},
        {"timestamp": -1},
        {"timestamp": True},
        {"timestamp": "1"},
        {"pcrs": {}},
        {"pcrs": []},
        {"pcrs": {n: bytes(48) for n in range(33)}},
        {"pcrs": {32: bytes(48)}},
        {"pcrs": {-1: bytes(48)}},
        {"pcrs": {"0": bytes(48)}},
        {"pcrs": {0: bytes(32)}},
        {"pcrs": {0: None}},
        {"certificate": b""},
        {"certificate": bytes(1025)},
        {"certificate": None},
        {"cabundle": []},
        {"cabundle": [b"c"] * 8},
        {"cabundle": [b""]},
        {"cabundle": b"c"},
        {"public_key": b""},
        {"public_key": bytes(1025)},
        {"user_data": bytes(513)},
        {"user_data": "text"},
        {"nonce": bytes(513)},
        {"nonce": False},
        {"more": 1},
    ],
)
def test_other_payloads_are_malformed(change: dict[int | str, ForeignValue]) -> None:
    """Types, lengths and names are exact."""
    with pytest.raises(MalformedError) as caught:
        AttestationDocument.from_bytes(write_foreign({**FIELDS, **change}))
    assert caught.value.code == "evidence.malformed"


@pytest.mark.spec("NIT-3", "NIT-4")
@pytest.mark.parametrize("name", sorted(str(name) for name in FIELDS))
def test_no_key_may_be_missing(name: str) -> None:
    """A document has nine keys."""
    rest = {key: value for key, value in FIELDS.items() if key != name}
    with pytest.raises(MalformedError):
        AttestationDocument.from_bytes(write_foreign(rest))


@pytest.mark.spec("NIT-3")
def test_indefinite_lengths_have_one_place() -> None:
    """The outermost map, closed at the end, of nine entries; nothing in it."""
    short = write_foreign({"digest": "SHA384"})
    for data in (
        b"\xbf" + DATA[1:],
        DATA + b"\xff",
        b"\xbf" + DATA[1:] + b"\xff\xff",
        b"\xbf" + short[1:] + b"\xff",
        b"\xbf\xff",
        b"[]",
        DATA.replace(b"\x65nonce\x40", b"\x65nonce\x5f\xff"),
    ):
        with pytest.raises(MalformedError):
            AttestationDocument.from_bytes(data)
