"""A TPM's structures, byte for byte."""

import dataclasses
from typing import Any

import cbor2
import pytest

from cloister.errors import MalformedError
from cloister.tee.tpm.layout import Quote, Selection, Signature, TpmEvidence
from cloister.testing.manufacturers.tpm import SimulatedTpm

TPM = SimulatedTpm(b"layout")
PARTS = TPM.quote(b"nonce")
GOOD = PARTS.message
QUOTE = Quote.from_bytes(GOOD)


def malformed(read: Any, data: bytes, code: str = "evidence.malformed") -> None:
    with pytest.raises(MalformedError) as e:
        read(data)
    assert e.value.code == code


@pytest.mark.spec("TPM-3")
def test_a_quote_written_by_hand() -> None:
    """Each part at its place."""
    data = bytes.fromhex(
        "ff544347 8018 0004 000b0102 0003 616263 0000000000000001 00000002 00000003 01"
        "0000000000000004 00000001 000b 03 800041 0002 beef"
    )
    assert Quote.from_bytes(data) == Quote(
        qualified_signer=bytes.fromhex("000b0102"),
        extra_data=b"abc",
        clock=1,
        reset_count=2,
        restart_count=3,
        safe=True,
        firmware_version=4,
        selections=(Selection("sha256", (7, 16, 22), 3),),
        pcr_digest=b"\xbe\xef",
    )
    assert Quote.from_bytes(data).to_bytes() == data


@pytest.mark.spec("TPM-3")
def test_every_cut_is_malformed() -> None:
    """And one byte more."""
    for wrong in (*(GOOD[:end] for end in range(len(GOOD))), GOOD + b"\0", GOOD + bytes(1024)):
        malformed(Quote.from_bytes, wrong)


@pytest.mark.spec("TPM-3")
@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"\xff\x54\x43\x48"),
        (4, b"\x80\x17"),
        (4, b"\x80\x14"),
    ],
)
def test_other_attestations_are_no_quotes(place: int, value: bytes) -> None:
    """Bytes that a TPM did not make, and its other statements (a key's, an audit's)."""
    malformed(Quote.from_bytes, GOOD[:place] + value + GOOD[place + len(value) :])


def test_values_that_cannot_be() -> None:
    """Neither true nor false, unknown and repeated banks, PCRs beyond 23, parts too long."""
    head = dataclasses.replace(QUOTE, selections=()).to_bytes()
    info = len(QUOTE.info_bytes())
    start = GOOD[: len(GOOD) - info]
    assert head.startswith(start[:40])
    safe = len(start) - 9
    malformed(Quote.from_bytes, GOOD[:safe] + b"\x02" + GOOD[safe + 1 :])
    digest = b"\0\x01d"
    for selections in (
        "00000001 0012 03 010000",
        "00000002 000b 03 010000 000b 03 020000",
        "00000001 000b 04 00000001",
        "00000001 000b 05 0100000000",
        "00000005" + "000b 03 010000" * 5,
        "ffffffff",
    ):
        malformed(Quote.from_bytes, start + bytes.fromhex(selections) + digest)
    for changes in (
        {"extra_data": bytes(65)},
        {"qualified_signer": bytes(67)},
        {"pcr_digest": bytes(65)},
    ):
        malformed(Quote.from_bytes, dataclasses.replace(QUOTE, **changes).to_bytes())


def test_an_empty_selection_quotes_nothing() -> None:
    """Some software asks for all banks and PCRs of one."""
    quote = dataclasses.replace(
        QUOTE, selections=(Selection("sha1", ()), Selection("sha256", (1,), 4))
    )
    read = Quote.from_bytes(quote.to_bytes())
    assert read == quote
    assert read.places() == [("sha256", 1)]


@pytest.mark.spec("TPM-4")
@pytest.mark.parametrize("scheme", ["RSASSA", "RSAPSS", "ECDSA"])
def test_signatures(scheme: Any) -> None:
    """Of the three schemes; every cut of them is malformed."""
    data = SimulatedTpm(b"layout", scheme=scheme).sign(b"message")
    assert Signature.from_bytes(data).to_bytes() == data
    assert Signature.from_bytes(data).scheme == scheme
    for wrong in (*(data[:end] for end in range(len(data))), data + b"\0", data + bytes(600)):
        malformed(Signature.from_bytes, wrong)


@pytest.mark.spec("TPM-4")
@pytest.mark.parametrize("head", ["0014 0004", "0018 0004", "0005 000b", "0010 000b", "0014 0012"])
def test_other_signatures_are_not_accepted(head: str) -> None:
    """SHA-1, symmetric ones, none, and hashes that are not SHA-2."""
    malformed(Signature.from_bytes, bytes.fromhex(head) + b"\0\x02ab")


@pytest.mark.spec("TPM-2")
def test_the_body() -> None:
    """Read as it was written; other fields, versions and types are malformed."""
    evidence = TpmEvidence(TPM.ak, PARTS)
    data = evidence.to_bytes()
    assert TpmEvidence.from_bytes(data) == evidence
    fields = cbor2.loads(data)
    for change in (
        {"version": 2},
        {"more": 1},
        {"ak": "text"},
        {"ak": bytes(1025)},
        {"pcrs": [1]},
        {"pcrs": [b""] * 97},
        {"message": bytes(1025)},
        {"signature": bytes(601)},
        {"event_log": None},
    ):
        with pytest.raises(MalformedError) as e:
            TpmEvidence.from_bytes(cbor2.dumps(fields | change, canonical=True))
        assert e.value.code in ("message.malformed", "evidence.malformed")
    for name in fields:
        left = {key: value for key, value in fields.items() if key != name}
        malformed(TpmEvidence.from_bytes, cbor2.dumps(left, canonical=True), "message.malformed")
