"""Requests to stop."""

from __future__ import annotations

import os
import select
import signal

from cloister.launcher.supervision import StopRequests


def test_signals_become_requests_and_handlers_come_back() -> None:
    """Inside the context SIGTERM is a request; outside everything is as before."""
    before = signal.getsignal(signal.SIGTERM)
    with StopRequests() as stops:
        assert stops.take() == []
        os.kill(os.getpid(), signal.SIGTERM)
        stops.request(signal.SIGINT)
        assert select.select([stops.fileno()], [], [], 5)[0]
        assert stops.take() == [signal.SIGTERM, signal.SIGINT]
        assert stops.take() == []
    assert signal.getsignal(signal.SIGTERM) == before
