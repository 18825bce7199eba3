"""Counters and their text."""

from __future__ import annotations

import re

import pytest

from cloister.keyservice.messages import CHALLENGE_PATH, RELEASE_PATH
from cloister.keyservice.metrics import Gauges, Histogram, Metrics, TimedFreshness
from cloister.keyservice.state.record import FIRST_HEAD, Head

GAUGES = Gauges(connections=3, sequence=17, log_size=5, policies=1, volumes=2)


@pytest.mark.spec("KH-17")
def test_nothing_untrusted_becomes_a_label() -> None:
    """Paths and codes that are not registered are counted together."""
    metrics = Metrics()
    metrics.add_view_paths(["/v1/volumes"])
    metrics.answered(CHALLENGE_PATH, "")
    metrics.answered(RELEASE_PATH, "release.fenced")
    metrics.answered('/evil"} 7', 'evil"} 7')
    metrics.viewed("/v1/volumes", 200)
    metrics.viewed("/../etc", 404)
    text = metrics.text(GAUGES)
    assert "evil" not in text
    assert "etc" not in text
    lines = text.splitlines()
    prefix = "cloister_keyservice_"
    for line in (
        'requests_total{path="/v1/challenge",code="ok"} 1',
        'requests_total{path="/v1/release",code="release.fenced"} 1',
        'requests_total{path="other",code="other"} 1',
        'releases_total{code="release.fenced"} 1',
        'views_total{path="/v1/volumes",status="200"} 1',
        'views_total{path="other",status="404"} 1',
        "connections 3",
        "state_sequence 17",
        "log_size 5",
    ):
        assert prefix + line in lines


@pytest.mark.spec("KH-17")
def test_the_text_has_the_format() -> None:
    """Every line is a comment or a sample; every family is introduced once, before its samples."""
    metrics = Metrics()
    metrics.groups.observe(3)
    metrics.commits.observe(0.002)
    text = metrics.text(GAUGES)
    assert text.endswith("\n")
    introduced: list[str] = []
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            introduced.append(line.split()[2])
        elif not line.startswith("# HELP "):
            found = re.fullmatch(r'([a-z_]+)(\{([a-z]+="[^"\\]*",?)+\})? [0-9.]+', line)
            assert found is not None, line
            assert re.sub(r"_(bucket|sum|count)$", "", found[1]) == introduced[-1]
    assert len(introduced) == len(set(introduced))


def test_a_histogram_counts_up() -> None:
    """A value on a bound belongs to it; one beyond all is in the total only."""
    histogram = Histogram((1, 2))
    for value in (1, 1.5, 2, 3):
        histogram.observe(value)
    assert list(histogram.lines("h")) == [
        'h_bucket{le="1"} 1',
        'h_bucket{le="2"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum 7.500000",
        "h_count 4",
    ]


def test_a_timed_witness_passes_everything_on() -> None:
    """And tells how long a commit took, once the witness has agreed."""
    calls: list[str] = []

    class Witness:
        """Notes what it is asked."""

        def opened(self, head: Head) -> None:
            calls.append(f"opened {head.sequence}")

        def committing(self, head: Head) -> None:
            calls.append(f"committing {head.sequence}")

        def committed(self, before: Head, head: Head) -> None:
            calls.append(f"committed {before.sequence} {head.sequence}")

        def close(self) -> None:
            calls.append("close")

    times, took = iter([10.0, 10.25]), []
    timed = TimedFreshness(Witness(), clock=lambda: next(times), observe=took.append)
    timed.opened(FIRST_HEAD)
    timed.committing(FIRST_HEAD)
    timed.committed(FIRST_HEAD, FIRST_HEAD)
    timed.close()
    assert calls == ["opened 0", "committing 0", "committed 0 0", "close"]
    assert took == [0.25]
