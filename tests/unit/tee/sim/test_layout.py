"""The bytes of simulated evidence."""

import dataclasses

import pytest

from cloister.errors import MalformedError
from cloister.tee.sim.layout import SignedReport, SimReport

REPORT = SimReport(
    anchor=b"a" * 32, measurement=b"m" * 32, report_data=b"d" * 64, debug=False, svn=7
)


@pytest.mark.spec("SIM-2")
def test_bytes_round_trip() -> None:
    """What was written is read."""
    assert SimReport.from_bytes(REPORT.to_bytes()) == REPORT
    signed = SignedReport(REPORT.to_bytes(), b"s" * 64)
    assert SignedReport.from_bytes(signed.to_bytes()) == signed


@pytest.mark.spec("SIM-3")
@pytest.mark.parametrize(
    "change",
    [
        {"anchor": b"a"},
        {"measurement": b""},
        {"report_data": b"d" * 63},
        {"svn": -1},
        {"svn": 65536},
    ],
)
def test_wrong_lengths_and_ranges_cannot_be_built(change: dict[str, object]) -> None:
    """A report with a wrong field does not exist."""
    with pytest.raises(MalformedError) as e:
        dataclasses.replace(REPORT, **change)
    assert e.value.code == "evidence.malformed"


@pytest.mark.spec("SIM-4")
@pytest.mark.parametrize("data", [b"", b"\xa0", REPORT.to_bytes() + b"\x00", b"\xff" * 2000])
def test_other_bytes_are_malformed(data: bytes) -> None:
    """Truncated, trailing and oversized bytes are refused."""
    with pytest.raises(MalformedError):
        SimReport.from_bytes(data)
    with pytest.raises(MalformedError):
        SignedReport.from_bytes(data)
