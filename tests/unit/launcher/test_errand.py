"""Errands: bytes come back whole or not at all, and no process stays."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from cloister.launcher.errand import Errand


def _children() -> set[str]:
    """This process's children, whoever started them."""
    me = os.getpid()
    return set(Path(f"/proc/{me}/task/{me}/children").read_text(encoding="ascii").split())


def test_the_bytes_come_back() -> None:
    """As often as they are asked for; and the process is gone afterwards."""
    before = _children()
    with Errand(lambda: b"abc", size=3) as errand:
        assert errand.value() == b"abc"
        assert errand.value() == b"abc"
    assert _children() <= before


def test_what_fails_gives_nothing() -> None:
    """An error, a death, nothing, and another size than was agreed: None, never other bytes."""

    def fail() -> bytes:
        raise ValueError

    def die() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b"abc"

    for compute in (fail, die, lambda: None, lambda: b"ab", lambda: b"abcd"):
        with Errand(compute, size=3) as errand:
            assert errand.value() is None


def test_it_can_be_ended_early() -> None:
    """Closing it, twice if need be, leaves no process, and no value."""

    def dawdle() -> bytes:
        time.sleep(60)
        return b"abc"

    before = _children()
    errand = Errand(dawdle, size=3)
    errand.close()
    errand.close()
    assert errand.value() is None
    assert _children() <= before
