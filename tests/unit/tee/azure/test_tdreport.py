"""A TDREPORT goes with the quote that was made of it, and with no other."""

from __future__ import annotations

import pytest

from cloister.errors import EvidenceError, MalformedError
from cloister.tee.azure.tdreport import require_same_td
from cloister.tee.tdx.layout import read_quote
from cloister.testing.manufacturers.azure import td_report
from cloister.testing.manufacturers.intel import IntelCase, SimulatedIntel

INTEL = SimulatedIntel(b"td report", at=1_800_000_000)
QUOTE = INTEL.mint(IntelCase("tdx4", report_data=b"r" * 64)).quote
REPORT = td_report(read_quote(QUOTE)[1])
UNJUDGED = {2, *range(16, 32), *range(224, 256)}  # version 0 or 1, the processor's SVN, the MAC


@pytest.mark.spec("AZ-5")
def test_a_report_goes_with_its_quote() -> None:
    """Also with what fills its place up."""
    require_same_td(REPORT, QUOTE)
    require_same_td(REPORT + bytes(160), QUOTE)
    bound = REPORT[:2] + b"\1" + REPORT[3:]  # service TDs are
    require_same_td(bound, QUOTE)
    with pytest.raises(EvidenceError):
        require_same_td(REPORT[:2] + b"\2" + REPORT[3:], QUOTE)


@pytest.mark.spec("AZ-5")
def test_a_report_of_another_td_is_refused() -> None:
    """Genuine quotes, each of another TD or moment."""
    for case in (
        IntelCase("tdx4"),
        IntelCase("tdx4", report_data=b"r" * 64, measurement=b"m" * 48),
        IntelCase("tdx4", report_data=b"r" * 64, debug=True),
    ):
        with pytest.raises(EvidenceError) as e:
            require_same_td(REPORT, INTEL.mint(case).quote)
        assert e.value.code == "evidence.parts"
    with pytest.raises(MalformedError):
        require_same_td(REPORT, QUOTE[:-700])


@pytest.mark.spec("AZ-5")
def test_every_byte_but_those_of_the_processor_is_compared() -> None:
    """One bit after the other."""
    whole = REPORT + bytes(160)
    passed = set()
    for at in range(len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        try:
            require_same_td(changed, QUOTE)
        except EvidenceError:
            continue
        passed.add(at)
    assert passed == UNJUDGED


def test_a_report_that_is_cut_is_refused() -> None:
    """No slice of it is taken for more than it has."""
    for size in (0, 16, 300, 495, 1000, 1023):
        with pytest.raises(EvidenceError):
            require_same_td(REPORT[:size], QUOTE)
