"""Reports: the terms' numbers, rounded, at their rounds, in a file of one size."""

from __future__ import annotations

import json

import pytest

from cloister.cleanroom.report import Report, read_report
from cloister.errors import MalformedError
from rounds_bench import RULES


@pytest.mark.spec("TR-60", "TR-61")
def test_entries_come_at_rounds_that_the_terms_fix() -> None:
    report = Report(RULES, digits=2, every_rounds=2)
    ticks = {}
    for tick in range(RULES.schedule.ticks):
        if (closed := report.due(tick)) is not None:
            ticks[tick] = closed
            report.add(closed, {"loss": tick / 10})
    # After round 2 of 4; and at the last tick, where the last numbers are there.
    assert ticks == {20: 2, 33: 4}
    assert [number for number, _ in report.entries] == [2, 4]
    report.add(4, {"loss": 99.0})
    assert report.entries[-1] == (4, {"loss": "3.30", "accuracy": None})


@pytest.mark.spec("TR-61")
def test_a_tick_that_was_missed_makes_no_entry_fall_out() -> None:
    report = Report(RULES, digits=2, every_rounds=1)
    assert report.due(19) == 1
    report.add(1, {})
    assert report.due(19) is None
    assert report.due(26) == 3
    report.add(3, {})
    assert report.due(100) == 4


@pytest.mark.spec("TR-62", "TR-63")
def test_a_report_has_one_size_and_says_nothing_else() -> None:
    report = Report(RULES, digits=3, every_rounds=2)
    sizes = {len(report.to_bytes())}
    report.add(2, {"loss": 0.12345, "accuracy": None, "secret": 4.0})
    sizes.add(len(report.to_bytes()))
    report.add(4, {"loss": -1e300, "accuracy": float("nan")})
    sizes.add(len(report.to_bytes()))
    assert sizes == {1024 + 2 * 1024}
    assert json.loads(report.to_bytes()) == {
        "format": "cloister/cleanroom-training/v1",
        "terms": "sha256:" + RULES.room.hex(),
        "rounds": 4,
        "entries": [
            {"round": 2, "metrics": {"loss": "0.123", "accuracy": None}},
            {"round": 4, "metrics": {"loss": "-1000000000000.000", "accuracy": None}},
        ],
    }


def test_an_owner_reads_what_was_written() -> None:
    """And nothing else: another room's, other names, or what is no number."""
    report = Report(RULES, digits=2, every_rounds=2)
    report.add(2, {"loss": 0.5, "accuracy": None})
    data = report.to_bytes()
    names = RULES.metrics
    assert read_report(data, room=RULES.room, metrics=names) == {
        "rounds": 4,
        "entries": [{"round": 2, "metrics": {"loss": "0.50", "accuracy": None}}],
    }
    for wrong in (
        b"",
        b"[]",
        data.replace(b"cleanroom", b"elsewhere"),
        data.replace(b'"0.50"', b"0.50"),
        data.replace(b'"0.50"', b'"\\u001b[2J"'),
        data.replace(b'"round":2', b'"round":true'),
        data.replace(b'"loss"', b'"more"'),
        data.replace(b'"rounds":4', b'"rounds":"4"'),
    ):
        with pytest.raises(MalformedError):
            read_report(wrong, room=RULES.room, metrics=names)
    with pytest.raises(MalformedError):
        read_report(data, room=bytes(32), metrics=names)
