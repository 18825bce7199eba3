"""Certificates are asked for in time, and again after what may pass."""

from __future__ import annotations

import dataclasses
import logging
import select
import threading

import pytest

from cloister.errors import CloisterError, ReleaseDeniedError, UnavailableError
from cloister.keyservice.log import Receipt
from cloister.keyservice.member_messages import MemberGrant
from cloister.keyservice.renewal import Renewal
from cloister.launcher.renewer import Renewer
from cloister.testing.keyservice import HandClock


class Service:
    """Renews for 60 seconds each time, or raises what it was given."""

    def __init__(self, clock: HandClock, *errors: CloisterError) -> None:
        """Nobody has asked yet."""
        self.clock = clock
        self.errors = list(errors)
        self.asked: list[int] = []
        self.called = threading.Event()

    def __call__(self) -> Renewal:
        """Answer."""
        self.asked.append(self.clock.at)
        self.called.set()
        if self.errors:
            raise self.errors.pop(0)
        grant = MemberGrant("d", "lab", "digits", 1, self.clock.at + 60, b"s" * 32)
        pem = f"certificate {len(self.asked)}".encode()
        return Renewal(pem, b"", Receipt(b"", 0, (), ""), grant)


def renewer(service: Service, *, lifetime_s: int = 60) -> Renewer:
    """A renewer of a certificate that was made now."""
    at = service.clock.at
    return Renewer(service, granted=at, expires=at + lifetime_s, clock=service.clock)


def wait(renewing: Renewer) -> bytes | None:
    """Take the next certificate."""
    assert select.select([renewing.fileno()], [], [], 10)[0]
    return renewing.take()


def test_half_of_the_lifetime_is_time_to_ask() -> None:
    """Not before; and then again by the new certificate's own lifetime."""
    clock = HandClock()
    service = Service(clock)
    with renewer(service, lifetime_s=2_000_000_000) as renewing:
        assert not service.called.wait(0.2)
        assert renewing.take() is None
    clock.move(30)
    service = Service(clock)
    late = Renewer(service, granted=clock.at - 30, expires=clock.at + 30, clock=clock)
    with late as renewing:
        assert wait(renewing) == b"certificate 1"
        assert renewing.take() is None
    assert service.asked == [clock.at]


def test_what_may_pass_is_asked_again() -> None:
    """A service that is down for a moment costs a pause."""
    clock = HandClock()
    service = Service(clock, UnavailableError("down", code="keyservice.unreachable"))
    late = Renewer(service, granted=clock.at - 10, expires=clock.at, clock=clock)
    with late as renewing:
        assert wait(renewing) == b"certificate 2"


def test_a_refusal_is_the_end_of_asking(caplog: pytest.LogCaptureFixture) -> None:
    """The operator is told why, by its code."""
    clock = HandClock()
    service = Service(clock, ReleaseDeniedError("over", code="release.not-member"))
    late = Renewer(service, granted=clock.at - 60, expires=clock.at, clock=clock)
    with caplog.at_level(logging.ERROR), late as renewing:
        assert service.called.wait(10)
        renewing._thread.join(10)
        assert not renewing._thread.is_alive()
        assert renewing.take() is None
    assert "renewal.refused code=release.not-member" in caplog.text
    assert len(service.asked) == 1


def test_an_answer_that_comes_after_the_end_is_left_alone() -> None:
    """The run does not wait for it longer than a moment."""
    clock = HandClock()
    go_on = threading.Event()

    class Slow(Service):
        def __call__(self) -> Renewal:
            renewal = super().__call__()
            go_on.wait(10)
            return dataclasses.replace(renewal)

    service = Slow(clock)
    renewing = Renewer(service, granted=clock.at - 60, expires=clock.at, clock=clock)
    with renewing:
        assert service.called.wait(10)
    go_on.set()
    renewing._thread.join(10)
    assert not renewing._thread.is_alive()
    assert renewing._newest == b""
