"""The key service's own process, with a clock that a test sets back and forth.

`python clocked_server.py OFFSETS …` is `python -m cloister.keyservice.server …`, but for what it
reads as the time: each reading adds the two numbers that OFFSETS holds at that moment.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Final

from cloister.keyservice import server
from cloister.keyservice.clock import Moment, read_clock

__all__ = ["OFFSETS", "shifted"]

OFFSETS: Final = struct.Struct("=qd")


def shifted(fd: int) -> Moment:
    """Read the clocks, moved by the offsets in a file."""
    genuine = read_clock()
    at, uptime = OFFSETS.unpack(os.pread(fd, OFFSETS.size, 0))
    return Moment(genuine.at + at, genuine.uptime + uptime)


if __name__ == "__main__":
    opened = os.open(Path(sys.argv[1]), os.O_RDONLY | os.O_CLOEXEC)
    server.read_clock = lambda: shifted(opened)
    sys.exit(server.main(sys.argv[2:]))
