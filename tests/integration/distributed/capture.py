"""What would give a job away on the wire, and the search for it in what was captured.

A tensor that is sent is filled with a row of numbers again and again. Whoever sees the traffic of
an unshielded job finds them as they lie in memory, whatever the framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from cloister.cli.demo.capture import Stream
from cloister.cli.demo.markers import search_streams

__all__ = ["MARKER", "PLAIN_PROTOCOLS", "found_on_the_wire", "marker_environment"]

MARKER: Final = np.random.default_rng(2026).normal(size=8).astype("<f4").tobytes()
"""Eight numbers; no other 32 bytes of a job are the same."""

PLAIN_PROTOCOLS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",),
    "tensorflow": (b"tensorflow.WorkerService", b"tensorflow.CoordinationService"),
    "names": (b"worker-0", b"/job:worker"),
}
"""What unshielded frameworks say of themselves."""


def marker_environment() -> dict[str, str]:
    """Return what the programs called marker_… take the marker from."""
    return {"MARKER": MARKER.hex()}


def found_on_the_wire(streams: Iterable[Stream]) -> frozenset[str]:
    """Return which of the marker (as "tensor") and the plain protocols any stream has."""
    # Twice in a row: a coincidence of 32 bytes would be one, and a tensor has it a thousand times.
    return search_streams(streams, {"tensor": (2 * MARKER,), **PLAIN_PROTOCOLS}).secrets_found
