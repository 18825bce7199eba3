"""The key service's own server with a clock that goes faster; `hour.py` starts it.

Everything that has a lifetime (challenges, leases, memberships, certificates) ends after as many
seconds as ever, by this clock. Limits of connections stay in real seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from cloister.keyservice import server
from cloister.keyservice.clock import Clock, Moment


def hastened(*, start_at: float, start_uptime: float, times: float) -> Clock:
    """Return a clock that reads what this machine's clocks did at the start, and goes faster."""

    def read() -> Moment:
        passed = (time.monotonic() - start_uptime) * times
        return Moment(int(start_at + passed), start_uptime + passed)

    return read


def main() -> None:
    """Serve a domain until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start-at", type=float, required=True)
    parser.add_argument("--start-uptime", type=float, required=True)
    parser.add_argument("--times", type=float, required=True)
    parser.add_argument("--domain", type=Path, required=True)
    options = parser.parse_args()
    server.read_clock = hastened(
        start_at=options.start_at, start_uptime=options.start_uptime, times=options.times
    )
    settings = server.ServerSettings(options.domain, "127.0.0.1:0", 0, server.LEASE_TTL_S)
    server.serve(settings, ready=lambda facts: print(json.dumps(facts), flush=True), get=None)


if __name__ == "__main__":
    main()
