"""The relay's loop: what is broken is told once, deadlines come in order, posts from any thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from cloister.network.loop import READ, WRITE, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that is closed afterwards."""
    found = Loop()
    yield found
    found.close()


def test_a_socket_that_is_broken_is_told_once(loop: Loop) -> None:
    """Though nobody waits for it: the kernel would tell it again and again."""
    ours, theirs = socket.socketpair()
    told: list[int] = []

    def ready(events: int) -> None:
        told.append(events)
        loop.want(ours, 0)  # as a connection does that waits for its other side

    with ours:
        loop.watch(ours, ready, 0)
        theirs.close()
        loop.later(0.05, loop.stop)
        loop.run()
        assert len(told) == 1
        loop.forget(ours)


def test_deadlines_come_in_their_order_and_can_be_called_off(loop: Loop) -> None:
    """Whoever was first to be asked for."""
    came: list[str] = []
    loop.later(0.03, lambda: came.append("second"))
    loop.later(0.01, lambda: came.append("first"))
    loop.later(0.02, lambda: came.append("never")).cancel()
    loop.later(0.04, loop.stop)
    loop.run()
    assert came == ["first", "second"]


def test_other_threads_post_and_what_waits_is_done_aside(loop: Loop) -> None:
    """The result comes back to the loop's own thread."""
    came: list[object] = []

    def done(future: Future[int]) -> None:
        came.extend((future.result(), threading.current_thread()))
        loop.stop()

    poster = threading.Thread(target=lambda: loop.post(lambda: loop.aside(lambda: 7, done)))
    poster.start()
    loop.run()
    poster.join()
    assert came == [7, threading.current_thread()]


def test_a_closed_loop_takes_no_posts() -> None:
    """Its descriptor may be somebody else's by then."""
    loop = Loop()
    loop.stop()
    loop.run()
    loop.close()
    loop.post(lambda: pytest.fail("nobody runs this"))
    loop.stop()


def test_a_socket_is_watched_for_what_is_wanted_last(loop: Loop) -> None:
    """Writing is possible at once, reading is not."""
    ours, theirs = socket.socketpair()
    told: list[int] = []

    def ready(events: int) -> None:
        told.append(events)
        loop.want(ours, READ)

    with ours, theirs:
        loop.watch(ours, ready, WRITE)
        loop.later(0.02, loop.stop)
        loop.run()
        assert told == [WRITE]
        loop.forget(ours)
        loop.forget(ours)
