"""The key service's own process, whose clock and whose last moment a test chooses.

`python clocked_server.py OFFSETS …` is `python -m cloister.keyservice.server …`, but for what it
reads as the time: each reading adds the two numbers that the file OFFSETS holds at that moment. And
where a file OFFSETS.die holds a point of a commit, the next commit is killed there.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cloister.keyservice import server
from cloister.keyservice.clock import Moment, read_clock
from cloister.keyservice.state.freshness import PlatformFreshness, SharedFreshness
from cloister.keyservice.state.postgres import PostgresBackend
from cloister.keyservice.state.sqlcipher import SQLCipherBackend

__all__ = ["OFFSETS", "POINTS", "shifted"]

OFFSETS: Final = struct.Struct("=qd")
POINTS: Final = {
    "before the record": False,
    "behind the record": True,
    "before the witness": True,
    "behind the witness": True,
}
"""Where a commit can be killed, and whether what it says is there then."""


def shifted(fd: int) -> Moment:
    """Read the clocks, moved by the offsets in a file."""
    genuine = read_clock()
    at, uptime = OFFSETS.unpack(os.pread(fd, OFFSETS.size, 0))
    return Moment(genuine.at + at, genuine.uptime + uptime)


def mortal(genuine: Callable[..., None], what: str, wish: Path) -> Callable[..., None]:
    """Wrap a step of a commit: the process dies before or behind it where a file says so."""

    def die(where: str) -> None:
        if wish.exists() and wish.read_text() == f"{where} the {what}":
            wish.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def step(*arguments: Any) -> None:
        die("before")
        genuine(*arguments)
        die("behind")

    return step


def main(arguments: list[str]) -> int:
    """Run the server."""
    offsets = Path(arguments[0])
    fd = os.open(offsets, os.O_RDONLY | os.O_CLOEXEC)
    server.read_clock = lambda: shifted(fd)
    wish = offsets.with_suffix(".die")
    for backend in (SQLCipherBackend, PostgresBackend):
        backend.append = mortal(backend.append, "record", wish)
    for witness in (PlatformFreshness, SharedFreshness):
        witness.committed = mortal(witness.committed, "witness", wish)
    return server.main(arguments[1:], get=None)


if __name__ == "__main__":
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # shells have background jobs ignore it
    sys.exit(main(sys.argv[1:]))
