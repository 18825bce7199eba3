"""The bytes of TDs' reports, and of quotes that travel with a log."""

from __future__ import annotations

import pytest

from cloister.errors import EvidenceError, MalformedError
from cloister.tee.tdx.layout import LoggedQuote, TdAttributes, TdReport, read_quote
from cloister.testing.manufacturers.intel import IntelCase, Kind, SimulatedIntel
from cloister.wire import encode

INTEL = SimulatedIntel(b"tdx", at=1767225600)
SIZES: dict[Kind, int] = {"tdx4": 584, "tdx5": 584, "tdx15": 648, "tdx15ex": 885}


@pytest.mark.parametrize(("kind", "size"), SIZES.items())
@pytest.mark.spec("INTEL-7")
def test_reports_round_trip(kind: Kind, size: int) -> None:
    """All three forms, to the byte."""
    quote, report = read_quote(INTEL.mint(IntelCase(kind, mr_service_td=b"s" * 48)).quote)
    assert len(quote.body) == size
    assert report.to_bytes() == quote.body
    assert (report.service is not None) == (size > 584)
    assert (report.extended is not None) == (size > 648)
    if report.service is not None:
        assert report.service.mr_service_td == b"s" * 48


@pytest.mark.parametrize("size", [0, 583, 585, 647, 649, 884, 886])
@pytest.mark.spec("INTEL-3", "INTEL-7")
def test_other_sizes_are_malformed(size: int) -> None:
    """Three sizes and no others."""
    with pytest.raises(MalformedError) as e:
        TdReport.from_bytes(bytes(size))
    assert e.value.code == "evidence.malformed"


@pytest.mark.parametrize(
    ("bit", "name"),
    [
        (0, "debug"),
        (7, "debug"),
        (28, "sept_ve_disable"),
        (29, "migratable"),
        (30, "pks"),
        (31, "key_locker"),
        (63, "perfmon"),
        (27, "lass"),
        (8, "reserved"),
        (26, "reserved"),
        (62, "reserved"),
    ],
)
@pytest.mark.spec("INTEL-51")
def test_attributes_are_named(bit: int, name: str) -> None:
    """Each bit has one name, and sets nothing else."""
    found = TdAttributes.of((1 << bit).to_bytes(8, "little"))
    assert [each for each in found.__slots__ if getattr(found, each)] == [name]


@pytest.mark.spec("INTEL-1")
def test_an_enclaves_quote_is_another_kind() -> None:
    """Its body has no registers."""
    with pytest.raises(EvidenceError) as e:
        read_quote(INTEL.mint(IntelCase("sgx3")).quote)
    assert e.value.code == "evidence.kind"


@pytest.mark.spec("INTEL-8")
def test_a_logged_quote_round_trips() -> None:
    """And nothing but its four members is read."""
    logged = LoggedQuote(b"quote", "ccel", b"log")
    assert LoggedQuote.from_bytes(logged.to_bytes()) == logged
    good = {"version": 1, "quote": b"q", "log_format": "ccel", "log": b"l"}
    bad = [
        good | {"version": 2},
        good | {"more": 1},
        good | {"quote": "q"},
        good | {"log_format": "text"},
        good | {"log_format": ""},
        {"version": 1, "quote": b"q"},
    ]
    for each in bad:
        with pytest.raises(MalformedError):
            LoggedQuote.from_bytes(encode(each))
