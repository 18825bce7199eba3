"""How levels are chosen and statuses made one."""

from __future__ import annotations

import pytest

from cloister.errors import EndorsementError, MalformedError
from cloister.tee.intel.statement import Statement
from cloister.tee.intel.tcb import (
    Level,
    SvnLevel,
    TcbStatus,
    choose_platform,
    choose_svn,
    converge,
    merge,
    read_status,
    read_svn_level,
    with_relaunch,
)


def _says(status: str, date: int = 1, *advisories: str) -> TcbStatus:
    return TcbStatus(status, date, advisories)


NEW = Level((5,) * 16, 10, (0, 0, *(5,) * 14), _says("UpToDate"))
OLD = Level((3,) * 16, 9, (4, 0, *(3,) * 14), _says("OutOfDate"))
GONE = Level((0,) * 16, 0, (0,) * 16, _says("Revoked"))
LEVELS = (NEW, OLD, GONE)


@pytest.mark.parametrize(
    ("components", "pcesvn", "tee", "status"),
    [
        ((5,) * 16, 10, None, "UpToDate"),
        ((255,) * 16, 99, None, "UpToDate"),
        ((5,) * 15 + (4,), 10, None, "OutOfDate"),
        ((5,) * 16, 9, None, "OutOfDate"),
        ((5,) * 16, 10, bytes([0, 1, *(5,) * 14]), "UpToDate"),
        ((5,) * 16, 10, bytes([0, 1, *(5,) * 13, 4]), "OutOfDate"),
        ((5,) * 16, 10, bytes([4, 0, *(4,) * 14]), "OutOfDate"),
    ],
)
@pytest.mark.spec("INTEL-40", "INTEL-43")
def test_the_first_level_that_is_reached_counts(
    components: tuple[int, ...], pcesvn: int, tee: bytes | None, status: str
) -> None:
    """All components, the PCE, and a TD's components."""
    assert choose_platform(LEVELS, components, pcesvn, tee).status == status


@pytest.mark.spec("INTEL-41")
def test_revoked_levels_and_none_at_all_are_refused() -> None:
    """For platforms, and for what has an SVN of its own."""
    with pytest.raises(EndorsementError) as e:
        choose_platform(LEVELS, (2,) * 16, 10, None)
    assert e.value.code == "endorsement.revoked"
    with pytest.raises(EndorsementError) as e:
        choose_platform((NEW, OLD), (2,) * 16, 10, None)
    assert e.value.code == "endorsement.mismatch"
    parts = (SvnLevel(8, _says("UpToDate")), SvnLevel(4, _says("Revoked")))
    assert choose_svn(parts, 9, "it").status == "UpToDate"
    with pytest.raises(EndorsementError) as e:
        choose_svn(parts, 7, "it")
    assert e.value.code == "endorsement.revoked"
    with pytest.raises(EndorsementError) as e:
        choose_svn(parts, 3, "it")
    assert e.value.code == "endorsement.mismatch"


@pytest.mark.parametrize(
    ("platform", "status"),
    [
        ("UpToDate", "OutOfDate"),
        ("SWHardeningNeeded", "OutOfDate"),
        ("OutOfDate", "OutOfDate"),
        ("ConfigurationNeeded", "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "OutOfDateConfigurationNeeded"),
        ("OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded"),
    ],
)
@pytest.mark.spec("INTEL-44")
def test_parts_out_of_date_worsen_the_platforms_status(platform: str, status: str) -> None:
    """And parts that are up to date leave it."""
    assert converge(platform, ["UpToDate", "OutOfDate"]) == status
    assert converge(platform, ["UpToDate", "UpToDate"]) == platform


@pytest.mark.spec("INTEL-46")
def test_all_parts_advisories_count_and_the_oldest_date() -> None:
    """Sorted, each once."""
    merged = merge(_says("UpToDate", 30, "B", "A"), [_says("OutOfDate", 20, "C", "A")])
    assert merged == TcbStatus("OutOfDate", 20, ("A", "B", "C"))


@pytest.mark.parametrize(
    ("launched", "running", "status"),
    [
        ("UpToDate", "UpToDate", "UpToDate"),
        ("OutOfDate", "UpToDate", "TDRelaunchAdvised"),
        ("OutOfDate", "SWHardeningNeeded", "TDRelaunchAdvised"),
        ("OutOfDate", "ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
        ("OutOfDateConfigurationNeeded", "UpToDate", "TDRelaunchAdvisedConfigurationNeeded"),
        ("OutOfDate", "OutOfDate", "OutOfDate"),
        ("UpToDate", "OutOfDate", "OutOfDate"),
        ("SWHardeningNeeded", "UpToDate", "SWHardeningNeeded"),
    ],
)
@pytest.mark.spec("INTEL-45")
def test_a_module_updated_under_a_td_advises_a_relaunch(
    launched: str, running: str, status: str
) -> None:
    """Only where what runs now is better than what it began with."""
    both = with_relaunch(_says(launched, 5, "A"), _says(running, 9, "B"))
    assert both == TcbStatus(status, 5, ("A", "B"))


@pytest.mark.spec("INTEL-22")
def test_levels_are_read() -> None:
    """Known words only; parts have fewer."""
    level = {
        "tcb": {"isvsvn": 3},
        "tcbStatus": "SWHardeningNeeded",
        "tcbDate": "2024-03-13T00:00:00Z",
    }
    assert read_status(Statement(level, "x")).status == "SWHardeningNeeded"
    with pytest.raises(MalformedError) as e:
        read_svn_level(Statement(level, "x"), 255)
    assert e.value.code == "endorsement.malformed"
    with pytest.raises(MalformedError) as e:
        read_status(Statement(level | {"tcbStatus": "Fine"}, "x"))
    assert e.value.code == "endorsement.malformed"
    read = read_svn_level(Statement(level | {"tcbStatus": "UpToDate"}, "x"), 255)
    assert read == SvnLevel(3, TcbStatus("UpToDate", 1710288000, ()))
