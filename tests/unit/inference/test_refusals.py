"""What is told of answers of a middle that were refused, and how often."""

from __future__ import annotations

import logging

import pytest

from cloister.errors import CloisterError, MalformedError, RefusedError, UnavailableError
from cloister.inference.metrics import Metrics
from cloister.inference.refusals import Refusals

WRONG = RefusedError("the middle's answer is wrong", code="middle.wrong", detail="h2")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    assert all(each.levelno == logging.WARNING for each in caplog.records)
    return [each.getMessage() for each in caplog.records]


@pytest.mark.spec("SRV-91", "PQ-54")
def test_each_is_counted_and_the_log_has_where(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    refusals = Refusals("digits", counter=metrics)
    refusals.note(WRONG)
    refusals.note(MalformedError("something\nelse", code="middle.malformed"))
    begin = "an answer of the middle was refused model=digits"
    assert lines(caplog) == [
        f"{begin} code=middle.wrong at='h2' count=1",
        f"{begin} code=middle.malformed at='something\\nelse' count=1",
    ]
    page = metrics.page({}).decode()
    for code in ("middle.wrong", "middle.malformed"):
        assert f'cloister_middle_refused_total{{model="digits",code="{code}"}} 1' in page


@pytest.mark.spec("PQ-54")
def test_nobody_fills_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Of each code a line at once, and one every ten seconds; what is counted is all."""
    now = [100.0]
    metrics = Metrics()
    refusals = Refusals("m", counter=metrics, clock=lambda: now[0])
    for step in range(1001):
        now[0] = 100.0 + step * 0.02
        refusals.note(WRONG)
    assert [line.rpartition("=")[2] for line in lines(caplog)] == ["1", "501", "1001"]
    refusals.note(MalformedError("x" * 5000, code="wire.malformed"))
    assert len(lines(caplog)) == 4
    assert len(lines(caplog)[-1]) < 400
    assert b'code="middle.wrong"} 1001' in metrics.page({})


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("gone", code="middle.unavailable", detail="it hung up"),
        UnavailableError("no", code="middle.failed", detail="words of the middle"),
        MalformedError("not finite", code="message.malformed", detail="h2"),
    ],
)
def test_other_errors_are_no_lies(error: CloisterError, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    Refusals("m", counter=metrics).note(error)
    assert lines(caplog) == []
    assert b"middle_refused" not in metrics.page({})
