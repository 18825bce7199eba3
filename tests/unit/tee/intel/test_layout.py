"""The bytes of quotes, versions 3, 4 and 5."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloister.errors import MalformedError
from cloister.tee.intel.layout import BODY_BYTES, MAX_QUOTE_BYTES, EnclaveReport, Quote
from cloister.testing.manufacturers.intel import IntelCase, Kind, SimulatedIntel

INTEL = SimulatedIntel(b"layout", at=1767225600)
QUOTES = {
    kind: INTEL.mint(IntelCase(kind)).quote
    for kind in ("sgx3", "sgx4", "sgx5", "tdx4", "tdx5", "tdx15", "tdx15ex")
}


def _refused(data: bytes) -> None:
    with pytest.raises(MalformedError) as e:
        Quote.from_bytes(data)
    assert e.value.code == "evidence.malformed"


@pytest.mark.parametrize("kind", QUOTES)
@pytest.mark.spec("INTEL-2", "INTEL-3", "INTEL-4", "INTEL-5")
def test_bytes_round_trip(kind: Kind) -> None:
    """What is read is written again, and what is signed begins the quote."""
    quote = Quote.from_bytes(QUOTES[kind])
    assert quote.to_bytes() == QUOTES[kind]
    assert QUOTES[kind].startswith(quote.signed)
    assert len(quote.body) == BODY_BYTES[quote.body_type]
    report = EnclaveReport.from_bytes(quote.signature.qe_report)
    assert report.to_bytes() == quote.signature.qe_report


@pytest.mark.parametrize("kind", QUOTES)
@pytest.mark.spec("INTEL-5")
def test_every_truncation_is_malformed(kind: Kind) -> None:
    """No prefix of a quote is one."""
    for size in range(len(QUOTES[kind])):
        _refused(QUOTES[kind][:size])


@pytest.mark.parametrize("kind", QUOTES)
@pytest.mark.spec("INTEL-6")
def test_padding_is_zero(kind: Kind) -> None:
    """Zero bytes may follow, up to the limit; other bytes may not."""
    data = QUOTES[kind]
    padded = data + bytes(MAX_QUOTE_BYTES - len(data))
    assert Quote.from_bytes(padded) == Quote.from_bytes(data)
    _refused(padded + b"\0")
    _refused(data + bytes(7) + b"\x80")


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 2), (0, 6), (4, 1), (4, 0x80)],
    ids=["version 2", "version 6", "TEE 1", "TEE 0x80"],
)
@pytest.mark.spec("INTEL-2", "INTEL-3")
def test_unknown_headers_are_malformed(at: int, value: int) -> None:
    """Versions and TEEs that are not known have no body."""
    data = bytearray(QUOTES["sgx3"])
    data[at] = value
    _refused(bytes(data))


@pytest.mark.spec("INTEL-3")
def test_version_3_is_of_enclaves() -> None:
    """A TD's body in an old quote."""
    quote = Quote.from_bytes(QUOTES["tdx4"])
    _refused(replace(quote, header=replace(quote.header, version=3)).to_bytes())


@pytest.mark.parametrize(
    ("kind", "body_type", "size"),
    [
        ("tdx5", 1, 584),
        ("tdx5", 1, 384),
        ("tdx5", 3, 584),
        ("tdx15", 2, 648),
        ("tdx15", 5, 648),
        ("tdx15ex", 4, 884),
        ("sgx5", 2, 384),
        ("sgx5", 0, 384),
    ],
)
@pytest.mark.spec("INTEL-3")
def test_descriptors_agree_with_size_and_tee(kind: Kind, body_type: int, size: int) -> None:
    """Type, size and TEE are of one row."""
    data = bytearray(QUOTES[kind])
    data[48:50] = body_type.to_bytes(2, "little")
    data[50:54] = size.to_bytes(4, "little")
    _refused(bytes(data))


@pytest.mark.parametrize("change", [-1, 1, 2**31])
@pytest.mark.parametrize("kind", ["sgx3", "tdx4"])
@pytest.mark.spec("INTEL-5")
def test_lengths_are_exact(kind: Kind, change: int) -> None:
    """Of signature, wrapper, authentication data and certification data."""
    quote = Quote.from_bytes(QUOTES[kind])
    start = len(quote.signed)
    block = start + 4 + 128 + (6 if kind == "tdx4" else 0)
    places = {start: 4, block + 448: 2, block + 450 + 32 + 2: 4}
    if kind == "tdx4":
        places[start + 4 + 128 + 2] = 4
    for at, width in places.items():
        data = bytearray(QUOTES[kind]) + bytes(8)
        value = int.from_bytes(data[at : at + width], "little") + change
        data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
        if bytes(data[:-8]) != QUOTES[kind]:
            _refused(bytes(data))


@pytest.mark.spec("INTEL-5")
def test_newer_quotes_wrap_the_quoting_enclaves_report() -> None:
    """Another type of wrapper has no report that could be judged."""
    quote = Quote.from_bytes(QUOTES["tdx4"])
    data = bytearray(QUOTES["tdx4"])
    data[len(quote.signed) + 4 + 128] = 5
    _refused(bytes(data))


def test_reports_have_their_size() -> None:
    """384 bytes and no others."""
    with pytest.raises(MalformedError):
        EnclaveReport.from_bytes(bytes(383))
