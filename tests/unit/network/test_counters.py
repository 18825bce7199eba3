"""Counts have no end; reports do."""

from cloister.network.counters import Counters, Event


def test_each_place_and_reason_is_reported_once_and_counted_always() -> None:
    """A program that asks again and again fills no log."""
    counters = Counters()
    event = Event("port", "ps-0:1", "workloads.worker.connections.ps: [1]")
    assert [counters.is_news(event) for _ in range(3)] == [True, False, False]
    assert counters.refused == {"port": 3}


def test_reports_are_bounded() -> None:
    """Names are of the program's choosing; nothing that it chose becomes a key of the counts."""
    counters = Counters()
    news = [counters.is_news(Event("name", f"n{i}.example")) for i in range(5000)]
    assert sum(news) == 1024
    assert counters.refused == {"name": 5000}
    assert counters.snapshot()["refused"] == {"name": 5000}
