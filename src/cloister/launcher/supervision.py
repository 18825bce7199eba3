"""While the workload runs: its end, the servers' health, and the operator's wish to stop.

One loop waits for all of them. The first request to stop becomes a signal to the workload; after
the grace period, or at the second request, everything inside is killed. A volume server that
ends early also ends the workload: what it would compute from then on could not be kept.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Final

from cloister.errors import CloisterError, ConfinementError

if TYPE_CHECKING:
    from cloister.confinement.sandbox import Exit, Sandbox
    from cloister.launcher.relaying import RunRelay
    from cloister.launcher.renewer import Renewer
    from cloister.launcher.volumes import VolumeServers

__all__ = ["StopRequests", "supervise"]

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KILL_TIMEOUT_S: Final = 20.0
_UNMOUNT_TIMEOUT_S: Final = 120.0


class StopRequests:
    """Signals that ask this process to stop, as a descriptor and a queue; use as a context.

    Outside of the main thread, where Python allows no signal handlers, only `request` counts.
    """

    def __init__(self) -> None:
        """Make the descriptor; handlers are set on entering the context."""
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequests:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as signal() returned it
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Return a descriptor that is readable while requests wait."""
        return self._reader

    def request(self, number: int) -> None:
        """Ask to stop, as if signal `number` had come."""
        self._note(number, None)

    def take(self) -> list[int]:
        """Return the signals that came since the last call."""
        try:
            return list(os.read(self._reader, 64))
        except BlockingIOError:
            return []

    def _note(self, number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._writer, bytes((number,)))


def supervise(
    sandbox: Sandbox,
    servers: VolumeServers,
    stops: StopRequests,
    renewer: Renewer,
    *,
    relay: RunRelay | None,
    grace_s: float,
    place: Callable[[bytes], None],
) -> tuple[Exit, CloisterError | None]:
    """Wait until the workload has ended and its volumes are unmounted.

    Args:
        sandbox: Let go already.
        servers: Of its volumes.
        stops: What asks us to stop.
        renewer: Has new certificates now and then.
        relay: Of the workload's network; its end ends the workload, as that of a server does.
        grace_s: Seconds between asking the workload to stop and killing it.
        place: Gives the workload a new certificate.

    Returns:
        How it ended, and what ended it where that was a volume's failure.

    Raises:
        ConfinementError: The sandbox died, or could not be ended.
    """
    failure: CloisterError | None = None
    deadline: float | None = None
    poll = select.poll()
    watched = [*servers.filenos(), *(() if relay is None else (relay.fileno(),))]
    ours = {stops.fileno(), renewer.fileno()}
    for descriptor in (sandbox.fileno(), *ours, *watched):
        poll.register(descriptor, select.POLLIN)
    while True:
        wait_ms = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        ready = {descriptor for descriptor, _ in poll.poll(wait_ms)}
        if sandbox.fileno() in ready:
            return _ended(sandbox, servers), failure
        for number in stops.take():
            if deadline is None:
                sandbox.signal(number)
                deadline = time.monotonic() + grace_s
            else:
                deadline = time.monotonic()
        _pass_on(renewer, place)
        if failure is None and ready - ours:
            try:
                _require_well(sandbox, servers, relay)
            except CloisterError as e:
                failure = e
                deadline = time.monotonic()
                for descriptor in watched:
                    poll.unregister(descriptor)
        if deadline is not None and time.monotonic() >= deadline:
            return _kill(sandbox, servers), failure


def _require_well(sandbox: Sandbox, servers: VolumeServers, relay: RunRelay | None) -> None:
    servers.check(over=sandbox.has_ended)
    if relay is not None:
        relay.check()


def _pass_on(renewer: Renewer, place: Callable[[bytes], None]) -> None:
    certificate = renewer.take()
    if certificate is not None:
        place(certificate)


def _kill(sandbox: Sandbox, servers: VolumeServers) -> Exit:
    """Kill everything inside; a server that no longer answers must not hold up the unmounting."""
    sandbox.kill()
    found = sandbox.wait(timeout_s=_KILL_TIMEOUT_S)
    return _ended(sandbox, servers) if found is None else found


def _ended(sandbox: Sandbox, servers: VolumeServers) -> Exit:
    """Wait for the unmounting, which writes back what the kernel still holds."""
    found = sandbox.wait(timeout_s=_UNMOUNT_TIMEOUT_S)
    if found is None:
        servers.abandon()
        found = sandbox.wait(timeout_s=_KILL_TIMEOUT_S)
    if found is None:
        raise ConfinementError("the workload could not be ended", code="confinement.setup")
    return found
