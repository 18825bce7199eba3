"""Signals and limits as a fresh program expects them; in a child, so that the tests keep theirs."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable

from cloister.confinement import namespaces


def _in_child(check: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        result = 1
        try:
            result = 0 if check() else 1
        finally:
            os._exit(result)
    return os.waitpid(pid, 0)[1] == 0


def test_signals_are_as_in_a_fresh_program() -> None:
    """Ignored and blocked signals of the launcher do not reach the workload."""

    def check() -> bool:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        namespaces.reset_signals()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, set())
        return signal.getsignal(signal.SIGTERM) == signal.SIG_DFL and not blocked

    assert _in_child(check)


def test_core_dumps_are_off_also_for_handlers() -> None:
    """A limit of one byte stops files and programs; no mapping is marked for dumping."""

    def check() -> bool:
        namespaces.forbid_core_dumps()
        return resource.getrlimit(resource.RLIMIT_CORE) == (1, 1)

    assert _in_child(check)
